"""The text of an annotation → the :class:`~emloop._settings.hints.Hint` that it means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emloop._source.ancestry import Ancestry, dataclass_fields, is_dataclass, origin
from emloop._source.library import ClassSource, Library, Module, Value
from emloop._source.summaries import ClassSummary, Expression
from emloop._source.values import value_of
from emloop.declare import Limits

from .hints import ANYTHING, CONTAINERS, NOTHING, PLAIN, Field, Hint, Kind, as_key, union

__all__ = ["fields_of", "hint_in"]

_DEEPEST = 20
_TYPING = ("typing.", "typing_extensions.")
_ENUMS = ("enum.Enum", "enum.IntEnum", "enum.StrEnum")
_DECLARE = "emloop.declare"


def hint_in(library: Library, module: Module, expression: Expression | None, depth: int = 0) -> Hint:
    """What an annotation in a module says.

    Args:
        library: Where names are looked up.
        module: The module.
        expression: The annotation; ``None`` if there is none.
        depth: How many names it was behind.
    """
    if depth > _DEEPEST or expression is None:
        return ANYTHING
    if isinstance(expression, str):
        return _named(library, module, expression, depth)
    if expression == ["value", None]:
        return NOTHING
    if expression[0] == "or":
        return union(hint_in(library, module, part, depth + 1) for part in expression[1:])
    if expression[0] == "of" and isinstance(expression[1], str):
        return _generic(library, module, expression[1], expression[2:], depth)
    return ANYTHING


def fields_of(library: Library, cls: ClassSource, depth: int = 0) -> tuple[Field, ...] | None:
    """The fields of a data class, with those of its bases; ``None`` if it is none, or they are unclear."""
    ancestry = Ancestry(library, cls)
    if not ancestry.is_complete or not all(is_dataclass(library, base) for base in ancestry.order):
        return None
    found: dict[str, Field] = {}
    for base in reversed(ancestry.order):
        for name, annotation, default in dataclass_fields(library, base):
            found[name] = _field(library, base.module, name, annotation, default, depth)
    return tuple(found.values())


def _field(
    library: Library, module: Module, name: str, annotation: Expression, default: Expression | None, depth: int
) -> Field:
    value = None if default is None else value_of(library, module, default)
    return Field(as_key(name), hint_in(library, module, annotation, depth + 1), default is None, value)


def _named(library: Library, module: Module, path: str, depth: int) -> Hint:
    name = library.origin(module, path)
    if name in PLAIN or name in CONTAINERS:
        return PLAIN.get(name) or CONTAINERS[name]
    if name.startswith((*_TYPING, "builtins.", "collections.", "numpy.")):
        return ANYTHING._replace(name=name.rpartition(".")[2])
    thing = library.lookup(module, path)
    if isinstance(thing, Value):
        # An alias; NewType and type variables are calls, and say nothing that helps.
        return hint_in(library, thing.module, thing.expression, depth + 1)
    return _of_class(library, thing, depth) if isinstance(thing, ClassSource) else ANYTHING


def _of_class(library: Library, cls: ClassSource, depth: int) -> Hint:
    fields = fields_of(library, cls, depth) if is_dataclass(library, cls) else None
    if fields is not None:
        return Hint("fields", fields=fields, name=cls.name)
    bases = [origin(library, cls.module, base) for base in cls.summary["bases"]]
    if bases and bases[-1] in _ENUMS and not cls.summary.get("unsure"):
        members = _members(cls.summary)
        if members is not None:
            return Hint("enum", values=(*members, *members.values()), name=cls.name)
    return ANYTHING._replace(name=cls.name)


def _members(summary: ClassSummary) -> dict[str, Any] | None:
    """The members of an enumeration; ``None`` if the value of one is unclear."""
    values = {name: value for name, value in summary.get("values", {}).items() if not name.startswith("_")}
    if not values or any(value[0] != "value" or isinstance(value, str) for value in values.values()):
        return None
    return {name: value[1] for name, value in values.items()}


def _generic(library: Library, module: Module, base: str, arguments: list[Expression], depth: int) -> Hint:
    name = library.origin(module, base)
    word = name.rpartition(".")[2] if name.startswith(_TYPING) else ""
    if word == "Literal":
        values = tuple(argument[1] for argument in arguments if argument[0] == "value")
        return Hint("literal", values=values) if len(values) == len(arguments) else ANYTHING
    if word == "Annotated":
        hint = hint_in(library, module, arguments[0], depth + 1)
        return hint._replace(limits=next(_limits(library, module, arguments[1:]), hint.limits))
    if word in ("Final", "Required", "NotRequired"):
        return hint_in(library, module, arguments[0], depth + 1)
    if word in ("Union", "Optional"):
        parts = [hint_in(library, module, argument, depth + 1) for argument in arguments]
        return union((*parts, NOTHING) if word == "Optional" else parts)
    if name not in CONTAINERS and _is_declared(library, module, base, "Component"):
        family = library.lookup(module, arguments[0]) if isinstance(arguments[0], str) else None
        return _component(library, family, depth) if isinstance(family, ClassSource) else ANYTHING
    return _container(library, module, name, arguments, depth)


def _container(library: Library, module: Module, name: str, arguments: list[Expression], depth: int) -> Hint:
    known = CONTAINERS.get(name, ANYTHING)
    is_tuple = name in ("builtins.tuple", "typing.Tuple")
    if is_tuple and arguments[-1] != ["..."]:
        return Hint("tuple", tuple(hint_in(library, module, argument, depth + 1) for argument in arguments))
    if len(known.parts) == len(arguments) - is_tuple:
        parts = tuple(hint_in(library, module, argument, depth + 1) for argument in arguments[: len(known.parts)])
        return known._replace(parts=parts)
    return known


def _is_declared(library: Library, module: Module, path: str, word: str) -> bool:
    """Whether a name in a module is one of the words of ``emloop.declare``."""
    thing = library.lookup(module, path)
    return isinstance(thing, ClassSource) and thing.full_name == f"{_DECLARE}.{word}"


def _limits(library: Library, module: Module, metadata: list[Expression]) -> Iterator[Limits]:
    for item in metadata:
        if item[0] == "call" and isinstance(item[1], str) and _is_declared(library, module, item[1], "Limits"):
            known = {
                **{str(index): name for index, name in enumerate(Limits._fields)},
                **{n: n for n in Limits._fields},
            }
            values = {known[name]: value_of(library, module, value) for name, value in item[2].items() if name in known}
            yield Limits(**{name: value[0] for name, value in values.items() if value is not None})


def _component(library: Library, family: ClassSource, depth: int) -> Hint:
    ancestry = Ancestry(library, family)

    def told(name: str, otherwise: Any) -> Any:
        found = ancestry.value(name)
        value = None if found is None else value_of(library, found.module, found.expression)
        return otherwise if value is None else value[0]

    fields = {}
    for cls in reversed([cls for cls in ancestry.order if cls.module.name != _DECLARE]):
        for name, annotation, default in dataclass_fields(library, cls):
            fields[name] = _field(library, cls.module, name, annotation, default, depth)
    kind = Kind(
        told("word", family.name.lower()),
        told("home", ""),
        tuple(told("methods", ())),
        injected=tuple(told("given", ())),
        base=told("base", ""),
        names=told("names", {}),
        refused=told("refused", {}),
        variants=_variants(library, ancestry, depth),
        old_names=told("old_names", False),
        shared=told("shared", None),
        nested=told("nested", False),
        fields=tuple(fields.values()),
        needs_class=told("needs_class", True),
        functions=told("functions", False),
        called=told("called", {}),
    )
    return Hint("component", name=family.name, component=kind)


def _variants(library: Library, ancestry: Ancestry, depth: int) -> dict[str, tuple[Field, ...]]:
    declared = ancestry.value("variants")
    named: dict[str, tuple[Field, ...]] = {}
    for key, beside in () if declared is None else declared.expression[1:]:
        cls = library.lookup(declared.module, beside) if declared is not None and isinstance(beside, str) else None
        named[key[1]] = (fields_of(library, cls, depth) if isinstance(cls, ClassSource) else None) or ()
    return named
