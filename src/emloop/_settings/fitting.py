"""Whether what a configuration gives fits what a class accepts, as deep as it nests.

The same judgement serves what was read from source and what live classes say; only a :class:`Resolver` tells them
apart. Problems carry the keys that lead to them; where these stand in the text is looked up later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, Protocol, TypeAlias

from emloop._support import moved
from emloop._support.problems import (
    missing_argument,
    missing_class,
    refused,
    reserved,
    unknown_argument,
    wrong_value,
)
from emloop._support.suggest import nearest
from emloop.errors import Problem, dotted

from .hints import ANYTHING, Accepted, Field, Hint, Kind

__all__ = [
    "Resolver",
    "argument_problems",
    "component_parts",
    "components_in",
    "describe",
    "inner_places",
    "value_problems",
]

Keys: TypeAlias = tuple[Any, ...]

_WORDS = {
    "null": "null",
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "path": "path",
    "list": "list",
    "tuple": "list",
    "mapping": "mapping",
    "fields": "mapping",
}


_MOST_LISTED = 8
"""Choices that a message lists for the elements of a value."""

_NESTING = frozenset({"union", "component", "list", "tuple", "mapping", "fields"})
"""Kinds of hints that look into a value."""


class Resolver(Protocol):
    """Looks up what the class of a component accepts."""

    def accepted(self, name: str, kind: Kind) -> Accepted | Problem | None:
        """What a class accepts, what is wrong with its name, or ``None`` if that is unclear."""


def argument_problems(
    accepted: Accepted, given: Mapping[Any, Any], resolver: Resolver | None, keys: Keys = (), *, loose: bool = False
) -> Iterator[Problem]:
    """All that is wrong with the arguments that a class is given.

    Args:
        accepted: What it takes.
        given: What the configuration gives.
        resolver: Looks up the classes of components; ``None`` leaves them unchecked.
        keys: Where the arguments stand.
        loose: Whether numbers of any type do for one another, as classes that were not made for emloop may mean.
    """
    meant = set()
    for name, value in given.items():
        if name in accepted.hints:
            yield from value_problems(value, accepted.hints[name], resolver, (*keys, name), loose=loose)
        elif not accepted.open:
            similar = nearest(str(name), accepted.hints)
            meant.add(similar)
            places = [] if similar else [dotted((*keys, place)) for place in inner_places(str(name), accepted.hints)]
            yield unknown_argument(accepted.name, name, accepted.hints, keys, places)
    # A misspelt argument is one mistake, not two.
    for name in sorted(accepted.required - set(given) - meant):
        yield missing_argument(accepted.name, name, keys)


def value_problems(  # noqa: C901 - a case for each kind of hint
    value: Any, hint: Hint, resolver: Resolver | None, keys: Keys = (), *, loose: bool = False
) -> Iterator[Problem]:
    """The innermost parts of a value that are not what a hint asks for.

    ``int`` is accepted for ``float``; ``bool`` is not accepted for ``int``; text is accepted for paths and for the
    names or values of an enumeration; a mapping of its fields is accepted for a data class.
    """
    if hint.kind == "union":
        yield from _of_union(value, hint, resolver, keys, loose=loose)
    elif hint.kind == "component":
        yield from _of_component(value, hint, resolver, keys)
    elif hint.kind in ("list", "tuple") and isinstance(value, (list, tuple, set)):
        items = list(value)
        parts = hint.parts * len(items) if hint.kind == "list" else hint.parts
        if len(parts) != len(items) or (hint.limits.unique and _repeats(items)):
            yield _misfit(value, hint, keys)
            return
        for index, (item, part) in enumerate(zip(items, parts, strict=True)):
            yield from value_problems(item, part, resolver, (*keys, index), loose=loose)
    elif hint.kind == "mapping" and isinstance(value, Mapping):
        for key, item in value.items():
            if any(value_problems(key, hint.parts[0], resolver)):
                yield wrong_value(describe(hint.parts[0]), key, (), (*keys, key), is_key=True)
            yield from value_problems(item, hint.parts[1], resolver, (*keys, key), loose=loose)
    elif hint.kind == "fields" and isinstance(value, Mapping):
        yield from argument_problems(_accepted_fields(hint.name, hint.fields), value, resolver, keys)
    elif not (_is(value, hint, loose=loose) and _within(value, hint)):
        yield _misfit(value, hint, keys)


def describe(hint: Hint) -> str:
    """A hint in the words of a message."""
    if hint.limits.words:
        return hint.limits.words
    if hint.kind == "union":
        return " or ".join(dict.fromkeys(describe(option) for option in hint.parts))
    if hint.kind in ("literal", "enum"):
        return f"one of {', '.join(map(repr, _choices(hint)))}"
    if hint.component is not None:
        article = "an" if hint.component.word[0] in "aeiou" else "a"
        return f"{article} {hint.component.word}, by its name or as {_example(hint.component)}"
    word = _WORDS.get(hint.kind, hint.name or "anything")
    if hint.kind in ("list", "tuple", "mapping") and all(part.kind != "any" for part in hint.parts[-1:]):
        return f"{word} of {(' to ' if hint.kind == 'mapping' else ', ').join(map(_describe_part, hint.parts))}"
    limits = {">=": hint.limits.minimum, ">": hint.limits.above, "<=": hint.limits.maximum}
    bounds = " and ".join(f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None)
    return f"{word} {bounds}" if bounds else word


def inner_places(key: str, hints: Mapping[str, Hint]) -> Iterator[str]:
    """Where among the keys of components and data classes a misplaced key belongs: ``optimizer.learning_rate``."""
    for name, hint in hints.items():
        for part in (hint, *hint.parts):
            fields = [field.name for field in part.fields]
            kind = part.component
            known = fields if kind is None else [*kind.names, *kind.variants, *(field.name for field in kind.beside)]
            if match := nearest(key, known):
                yield f"{name}.{match}"


def component_parts(value: Any, kind: Kind) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The class that a component names, the arguments for it, and the keys beside them, as they are called today."""
    if isinstance(value, str):
        value = {"class": value}
    own = {*kind.variants, *(field.name for field in kind.beside)}
    rest = {key: item for key, item in value.items() if key != "class"}
    beside = {key: rest.pop(key) for key in list(rest) if key in own}
    name = value.get("class")
    if kind.old_names and isinstance(name, str) and (new := moved.replaced("class", name)):
        return new, moved.replaced_arguments(f"{kind.word} argument", rest), beside
    return name, rest, beside


def _of_component(value: Any, hint: Hint, resolver: Resolver | None, keys: Keys) -> Iterator[Problem]:
    kind = hint.component
    if kind is None or not isinstance(value, (str, Mapping)):
        yield _misfit(value, hint, keys)
        return
    name, arguments, beside = component_parts(value, kind)
    # The variants are checked with the class.
    arguments.update({key: beside.pop(key) for key in kind.variants if key in beside})
    yield from _of_beside(beside, kind, arguments, resolver, keys)
    if not isinstance(name, str | None):
        yield wrong_value("text", name, (), (*keys, "class"))
    elif name is None and not kind.needs_class:
        known = (Field("class", Hint("str"), required=False), *kind.fields)
        yield from argument_problems(_accepted_fields(kind.word, known), arguments, resolver, keys)
    elif name is None:
        yield missing_class(value, _example(kind), keys)
    else:
        at = (*keys, "class") if isinstance(value, Mapping) else keys
        short = name.rpartition(".")[2]
        if short in kind.refused:
            yield refused(f"{short} {kind.refused[short]}", at, on_key=False)
            return
        found = None if resolver is None else resolver.accepted(name, kind)
        if isinstance(found, Problem):
            yield found._replace(keys=at)
        elif found is not None:
            # Others may do with theirs what they like.
            of_home = "." not in name or name.partition(".")[0] == kind.package.partition(".")[0]
            yield from _of_class(found, kind if of_home else kind._replace(shared=None), arguments, resolver, keys)
            for key, taker in found.called.items():
                if isinstance(beside.get(key), Mapping):
                    hints = dict.fromkeys(taker.hints, ANYTHING)
                    rest = taker._replace(hints=hints, required=taker.required - set(arguments))
                    yield from argument_problems(rest, beside[key], None, (*keys, key))


def _of_beside(
    beside: Mapping[str, Any], kind: Kind, arguments: Iterable[str], resolver: Resolver | None, keys: Keys
) -> Iterator[Problem]:
    """What is wrong with the keys of a family, of which some may be missing."""
    for field in kind.beside:
        if field.name in beside:
            yield from value_problems(beside[field.name], field.hint, resolver, (*keys, field.name))
        elif field.required and not nearest(field.name, arguments):
            yield missing_argument(f"each {kind.word}", field.name, keys)


def _of_class(
    found: Accepted, kind: Kind, arguments: Mapping[str, Any], resolver: Resolver | None, keys: Keys
) -> Iterator[Problem]:
    """What is wrong with the arguments of a component, in the names that the configuration uses."""
    called = {own: name for name, own in kind.names.items()}
    variants = [
        (key, (*keys, key, index), variant)
        for key in kind.variants
        for index, variant in enumerate(_mappings(arguments.get(key)))
    ]
    for at, mapping in ((keys, arguments), *(variant[1:] for variant in variants)):
        for name in mapping:
            if name in kind.injected:
                yield reserved(name, found.name, at)
            elif name in kind.refused:
                yield refused(kind.refused[name], (*at, name), on_key=True)
    left_out = {*kind.injected, *kind.refused}
    hints = {called.get(name, name): hint for name, hint in kind.hints(found).items() if name not in left_out}
    required = frozenset(called.get(name, name) for name in found.required - left_out)
    given = {name: value for name, value in arguments.items() if name not in left_out}
    inner = kind._replace(fields=(), needs_class=True, base="" if kind.functions else kind.base)
    for name, value in given.items() if kind.nested else ():
        for at, part in components_in(value, (*keys, name)):
            yield from _of_component(part, Hint("component", component=inner), resolver, at)
            hints = {**hints, name: ANYTHING} if name in hints else hints
    hints = {**dict.fromkeys(kind.shared or (), ANYTHING), **hints}
    accepted = found._replace(hints=hints, required=required, open=found.open and kind.shared is None)
    for key in kind.variants:
        yield from value_problems(given.pop(key, []), _VARIANTS, resolver, (*keys, key))
    for key, at, variant in variants:
        own = kind._replace(word=f"of the {key}", fields=kind.variants[key], names={})
        yield from _of_beside(variant, own, variant, resolver, at)
        of_own = dict.fromkeys((field.name for field in own.fields), ANYTHING)
        rest = {name: value for name, value in variant.items() if name not in left_out}
        known = Accepted(f"each {own.word}", {**of_own, **hints}, frozenset(), accepted.open)
        yield from argument_problems(known, rest, resolver, at, loose=True)
    beside = (*kind.variants, *(field.name for field in kind.beside))
    accepted = accepted._replace(hints={**hints, **dict.fromkeys((n for n in beside if n not in hints), ANYTHING)})
    yield from argument_problems(accepted, given, resolver, keys, loose=True)


_VARIANTS = Hint("list", (Hint("mapping", (Hint("str"), ANYTHING)),))


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def components_in(value: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    """The outermost descriptions of objects in a value, with their keys."""
    if isinstance(value, Mapping):
        if "class" in value:
            yield keys, value
            return
        for key, item in value.items():
            yield from components_in(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from components_in(item, (*keys, index))


def _of_union(value: Any, hint: Hint, resolver: Resolver | None, keys: Keys, *, loose: bool) -> Iterator[Problem]:
    if any(
        option.kind not in _NESTING and _is(value, option, loose=loose) and _within(value, option)
        for option in hint.parts
    ):
        alike = None
    else:
        # Where only one option is of the value's form, its inside is what is wrong.
        nesting = [option for option in hint.parts if option.kind in _NESTING]
        found = [list(value_problems(value, option, resolver, keys, loose=loose)) for option in nesting]
        formed = [pair for pair in zip(found, nesting, strict=True) if _same_form(value, pair[1])]
        if len(formed) > 1 and isinstance(value, Mapping):
            formed = [pair for pair in formed if (pair[1].kind == "component") == ("class" in value)]
        same = [problems for problems, _ in formed]
        alike = None if found and not all(found) else same[0] if len(same) == 1 else []
    if alike:
        yield from alike
    elif alike is not None or not _within(value, hint):
        yield _misfit(value, hint, keys)


def _accepted_fields(name: str, fields: Iterable[Field]) -> Accepted:
    known = list(fields)
    return Accepted(name, {field.name: field.hint for field in known}, frozenset(f.name for f in known if f.required))


def _describe_part(hint: Hint) -> str:
    if len(_choices(hint)) > _MOST_LISTED:
        return "words"
    return f"({describe(hint)})" if hint.kind == "union" and not hint.limits.words else describe(hint)


def _example(kind: Kind) -> str:
    return f"{{class: {'' if kind.package and not kind.is_ours else 'package.module.'}Name, argument: value}}"


def _misfit(value: Any, hint: Hint, keys: Keys) -> Problem:
    choices = [choice for option in (hint.parts or (hint,)) for choice in _choices(option)]
    problem = wrong_value(describe(hint), value, choices, keys)
    lists = [option for option in (hint.parts if hint.kind == "union" else (hint,)) if option.kind == "list"]
    items = [option.parts[0] for option in lists if isinstance(value, str) and value.isprintable()]
    if not problem.hints and not all(any(value_problems(value, item, None)) for item in items):
        return problem._replace(hints=(f"write [{value}]",))
    return problem


def _choices(hint: Hint) -> tuple[Any, ...]:
    """The values that are listed by a literal, or the names by an enumeration."""
    if hint.kind == "enum":
        return hint.values[: len(hint.values) // 2]
    return hint.values if hint.kind == "literal" else ()


def _same_form(value: Any, hint: Hint) -> bool:
    if isinstance(value, Mapping):
        return hint.kind in ("mapping", "fields", "component")
    if isinstance(value, str):
        return hint.kind == "component"
    return isinstance(value, (list, tuple, set)) and hint.kind in ("list", "tuple")


def _is(value: Any, hint: Hint, *, loose: bool) -> bool:
    """Whether a value without parts, or an unsuitable one with parts, is of a kind."""
    if hint.kind in ("int", "float", "bool") and loose:
        return isinstance(value, (int, float))
    if hint.kind in ("int", "float"):
        return isinstance(value, (int, float) if hint.kind == "float" else int) and not isinstance(value, bool)
    if hint.kind in ("literal", "enum"):
        return any(value == choice and type(value) is type(choice) for choice in hint.values)
    if hint.kind == "null":
        return value is None
    types: dict[str, Any] = {"bool": bool, "str": str, "path": (str, PathLike)}
    return isinstance(value, types[hint.kind]) if hint.kind in types else hint.kind == "any"


def _within(value: Any, hint: Hint) -> bool:
    limits = hint.limits
    if limits.pattern and re.fullmatch(limits.pattern, str(value)) is None:
        return False
    if not isinstance(value, (int, float)):
        return True
    return (
        (limits.minimum is None or value >= limits.minimum)
        and (limits.above is None or value > limits.above)
        and (limits.maximum is None or value <= limits.maximum)
    )


def _repeats(items: list[Any]) -> bool:
    return len(set(map(repr, items))) < len(items)
