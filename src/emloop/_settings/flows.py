"""What a hook reads and writes, as its class declares it, for the arguments that a configuration gives."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from emloop import declare
from emloop._source.ancestry import Ancestry
from emloop._source.library import ClassSource, Library, Value
from emloop._source.values import value_of

from .signatures import parameters_of

__all__ = ["Flow", "Flows", "UnclearError", "declared", "flows_of"]

_WORDS = {word: getattr(declare, word) for word in ("Variable", "Scalar", "Statistics", "File", "SavedModel")}
_TEMPLATE = r"\{(\w+)(?::(\w+))?\}"

_SEES_EPOCHS = frozenset({"after_epoch", "after_evaluation", "_after_n_epoch", "_on_plateau_action"})
_SEES_BATCHES = frozenset({"after_batch"})


class Flow(NamedTuple):
    """One thing that a hook reads or writes.

    Args:
        word: Which word of ``emloop.declare`` says so.
        name: Its name.
        keys: The argument that names it, and where in it; empty where the class does.
        streams: For which streams; ``None`` for all.
        stream_keys: The argument that names them.
        aggregations: Those of statistics; of a scalar that is read, the one, the empty one for a plain value, or none
            for either a plain value or the mean.
        whole: Where what has no meaning without it stands; by default it stands for itself.
    """

    word: str
    name: str
    keys: tuple[Any, ...]
    streams: tuple[str, ...] | None = None
    stream_keys: tuple[Any, ...] = ()
    aggregations: tuple[str, ...] = ()
    whole: tuple[Any, ...] = ()


class Flows(NamedTuple):
    """All that a hook reads and writes.

    Args:
        reads: What it reads.
        writes: What it writes.
        hides_epochs: Whether it may read and write ``epoch_data`` beyond that.
        hides_batches: Whether it may add variables to batches beyond that.
    """

    reads: tuple[Flow, ...] = ()
    writes: tuple[Flow, ...] = ()
    hides_epochs: bool = True
    hides_batches: bool = True


def flows_of(library: Library, cls: ClassSource, given: Mapping[str, Any]) -> Flows:
    """What a hook reads and writes, as far as its class declares it.

    Args:
        library: Where names are looked up.
        cls: The hook's class.
        given: The arguments that the configuration gives.
    """
    ancestry = Ancestry(library, cls)
    found: dict[str, tuple[Flow, ...]] = {}
    unclear = False
    arguments = {**_defaults(ancestry), **given}
    for what in ("reads", "writes"):
        value = ancestry.value(what)
        try:
            found[what] = (
                ()
                if value is None
                else tuple(flow for word in declared(library, value, _WORDS) for flow in _expanded(word, arguments))
            )
        except UnclearError:
            found[what], unclear = (), True
    # A class that overrides an event behind the one that declares may do something else there.
    own = ancestry.order[:-1]  # the last class is the base of all hooks
    declaring = _first(own, "values", frozenset({"reads", "writes"}))
    front = own[:declaring] if declaring < len(own) else []
    unclear = unclear or not ancestry.is_plain or any(_is_private(name) for c in front for name in c.summary["methods"])
    return Flows(
        **found,
        hides_epochs=unclear or _first(own, "methods", _SEES_EPOCHS) < declaring,
        hides_batches=unclear or _first(own, "methods", _SEES_BATCHES) < declaring,
    )


_Item: TypeAlias = tuple[str, tuple[Any, ...], list[str] | None]
"""A name, the argument that holds it and where in it, and the list that a mapping has for it."""


class UnclearError(Exception):
    """A declaration is no literal, or an argument is not what it needs."""


def _is_private(name: str) -> bool:
    """Whether a method may replace one that the events of a base class call."""
    return name.startswith("_") and not name.startswith("__") and name not in _SEES_EPOCHS


def _first(order: list[ClassSource], part: str, names: frozenset[str]) -> int:
    """Index of the first class that has one of some names; their number if none has."""
    return next((i for i, cls in enumerate(order) if names & set(cls.summary.get(part, ()))), len(order))  # type: ignore[call-overload]


def _defaults(ancestry: Ancestry) -> dict[str, Any]:
    read = parameters_of(ancestry)
    found = {}
    for name, parameter in ({} if read is None else read[0]).items():
        default = None if parameter.default is None else value_of(ancestry.library, parameter.module, parameter.default)
        if default is not None:
            found[name] = default[0]
    return found


def declared(library: Library, value: Value, words: Mapping[str, Any]) -> Iterator[Any]:
    """The words of ``emloop.declare`` in a tuple that a class declares.

    Args:
        library: Where names are looked up.
        value: The tuple.
        words: The words that may stand there, by name.

    Raises:
        UnclearError: If it is no literal.
    """
    expression = value.expression
    if not isinstance(expression, list) or expression[0] not in ("tuple", "list"):
        raise UnclearError
    for item in expression[1:]:
        if item[0] != "call" or not isinstance(item[1], str):
            raise UnclearError
        word = words.get(library.origin(value.module, item[1]).rpartition(".")[2])
        if word is None:
            raise UnclearError
        given: dict[str, Any] = {}
        for key, part in item[2].items():
            literal = value_of(library, value.module, part)
            field = dict(enumerate(word._fields)).get(int(key), "") if key.isdigit() else key
            if literal is None or field not in word._fields:
                raise UnclearError
            given[field] = literal[0]
        if word._fields[0] not in given:
            raise UnclearError
        yield word(**given)


def _expanded(declared: Any, arguments: Mapping[str, Any]) -> Iterator[Flow]:
    """The flows that a declaration stands for."""
    if declared.when is not None:
        name, wanted = declared.when
        if arguments.get(name, ...) != wanted or type(arguments[name]) is not type(wanted):
            return
    streams, stream_keys = _streams(getattr(declared, "stream", ""), arguments)
    single = getattr(declared, "aggregation", None)
    aggregation = None if single is None else next((text for text, _, _ in _filled(single, arguments)), "")
    parts = {part for _, part in re.findall(_TEMPLATE, declared.name)} - {"", "values"}
    for text, keys, more in _filled(declared.name, arguments):
        several = tuple(getattr(declared, "aggregations", ()) if more is None else more)
        found = several if aggregation is None else (aggregation,)
        whole = keys[:2] if parts else ()  # the item of the mapping
        yield Flow(type(declared).__name__, text, keys, streams, stream_keys, found, whole)


def _streams(template: str, arguments: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, tuple[Any, ...]]:
    if not template:
        return None, ()
    names = re.findall(_TEMPLATE, template)
    if any(arguments.get(name, ...) is None for name, _ in names):
        return None, ()
    filled = list(_filled(template, arguments))
    return tuple(text for text, _, _ in filled), filled[0][1] if len(filled) == 1 else (names[0][0],) if names else ()


def _filled(template: str, arguments: Mapping[str, Any]) -> Iterator[_Item]:
    """Each text that a template stands for, the keys of the argument in it, and what a mapping says of it."""
    match = re.search(_TEMPLATE, template)
    if match is None:
        yield template, (), None
        return
    given, part = arguments.get(match[1], ...), match[2]
    found = [_items(given, (match[1],), values=bool(part))]
    if part not in (None, "values"):
        parts = given.items() if isinstance(given, Mapping) else ()
        below = [(key, item[part]) for key, item in parts if isinstance(item, Mapping) and part in item]
        found = [_items(item, (match[1], key, part), values=True) for key, item in below]
    for value, keys, more in chain.from_iterable(found):
        for rest, further, _ in _filled(template[match.end() :], arguments):
            yield template[: match.start()] + value + rest, keys or further, more


def _items(
    value: Any, keys: tuple[Any, ...], *, values: bool
) -> Iterator[tuple[str, tuple[Any, ...], list[str] | None]]:
    if isinstance(value, str):
        yield value, keys, None
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _items(item, (*keys, index), values=values)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if values:
                yield from _items(item, (*keys, key), values=values)
            elif isinstance(key, str):
                listed = isinstance(item, list) and all(isinstance(word, str) for word in item)
                yield key, (*keys, key), item if listed else None
            else:
                raise UnclearError
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value), keys, None
    elif value is not None:
        raise UnclearError
