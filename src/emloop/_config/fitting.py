"""Whether a value from a configuration fits a type hint, and what does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias

from emloop._source.hints import ANYTHING, Hint
from emloop._support.printable import brief
from emloop._support.suggest import did_you_mean, nearest

__all__ = ["Misfit", "describe", "fits", "misfits"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a part of a value."""


class Misfit(NamedTuple):
    """A part of a value that is not what a hint asks for.

    Args:
        path: Where in the value.
        message: What was expected, and what was found.
        hints: How to mend it.
        is_key: Whether it is the key that is wrong, not what stands behind it.
    """

    path: Path
    message: str
    hints: tuple[str, ...] = ()
    is_key: bool = False


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


def fits(value: Any, hint: Hint) -> bool:
    """Whether a value is what a hint asks for.

    ``int`` is accepted for ``float``; ``bool`` is not accepted for ``int``; text is accepted for paths and for the
    names or values of an enumeration; a mapping of its fields is accepted for a data class.
    """
    return not misfits(value, hint)


def misfits(value: Any, hint: Hint) -> list[Misfit]:
    """The innermost parts of a value that are not what a hint asks for."""
    return list(_misfits(value, hint, ()))


def describe(hint: Hint) -> str:
    """A hint in the words of a message."""
    if hint.kind == "union":
        return " or ".join(dict.fromkeys(describe(option) for option in hint.parts))
    if hint.kind in ("literal", "enum"):
        return f"one of {', '.join(map(repr, _choices(hint)))}"
    word = _WORDS.get(hint.kind, hint.name or "anything")
    if hint.kind in ("list", "tuple", "mapping") and hint.parts[-1:] != (ANYTHING,):
        return f"{word} of {(' to ' if hint.kind == 'mapping' else ', ').join(map(_describe_part, hint.parts))}"
    return word


def _describe_part(hint: Hint) -> str:
    return f"({describe(hint)})" if hint.kind == "union" else describe(hint)


def _misfits(value: Any, hint: Hint, path: Path) -> Iterator[Misfit]:
    if hint.kind == "union":
        yield from _of_union(value, hint, path)
    elif hint.kind in ("list", "tuple") and isinstance(value, (list, tuple, set)):
        yield from _of_list(value, hint, path)
    elif hint.kind == "mapping" and isinstance(value, Mapping):
        for key, item in value.items():
            if any(_misfits(key, hint.parts[0], ())):
                yield Misfit((*path, key), f"expected {describe(hint.parts[0])} as key, got {brief(key)}", is_key=True)
            yield from _misfits(item, hint.parts[1], (*path, key))
    elif hint.kind == "fields" and isinstance(value, Mapping):
        yield from _of_fields(value, hint, path)
    elif not _is(value, hint):
        yield _misfit(value, hint, path)


def _of_union(value: Any, hint: Hint, path: Path) -> Iterator[Misfit]:
    if any(not misfits(value, option) for option in hint.parts):
        return
    # Where only one option is of the value's kind, its inside is what is wrong.
    alike = [option for option in hint.parts if _same_container(value, option)]
    if len(alike) == 1:
        yield from _misfits(value, alike[0], path)
    else:
        yield _misfit(value, hint, path)


def _of_list(value: Iterable[Any], hint: Hint, path: Path) -> Iterator[Misfit]:
    items = list(value)
    if hint.kind == "list":
        for index, item in enumerate(items):
            yield from _misfits(item, hint.parts[0], (*path, index))
    elif len(items) != len(hint.parts):
        yield _misfit(value, hint, path)
    else:
        for index, (item, part) in enumerate(zip(items, hint.parts, strict=True)):
            yield from _misfits(item, part, (*path, index))


def _of_fields(value: Mapping[Any, Any], hint: Hint, path: Path) -> Iterator[Misfit]:
    fields = {field.name: field for field in hint.fields}
    meant = set()
    for key, item in value.items():
        if key in fields:
            yield from _misfits(item, fields[key].hint, (*path, key))
        else:
            meant.add(nearest(str(key), fields))
            hints = (*did_you_mean(str(key), fields), f"{hint.name} takes: {', '.join(fields)}")
            yield Misfit((*path, key), f"unknown argument {brief(key)}", hints, is_key=True)
    for field in hint.fields:
        if field.required and field.name not in value and field.name not in meant:
            yield Misfit(path, f"{hint.name} needs the argument {field.name!r}")


def _misfit(value: Any, hint: Hint, path: Path) -> Misfit:
    choices = [choice for option in (hint.parts or (hint,)) for choice in _choices(option)]
    words = [choice for choice in choices if isinstance(choice, str)]
    similar = did_you_mean(value, words) if isinstance(value, str) else ()
    return Misfit(path, f"expected {describe(hint)}, got {brief(value)}", similar)


def _choices(hint: Hint) -> tuple[Any, ...]:
    """The values that are listed by a literal, or the names by an enumeration."""
    if hint.kind == "enum":
        return hint.values[: len(hint.values) // 2]
    return hint.values if hint.kind == "literal" else ()


def _same_container(value: Any, hint: Hint) -> bool:
    if isinstance(value, Mapping):
        return hint.kind in ("mapping", "fields")
    return isinstance(value, (list, tuple, set)) and hint.kind in ("list", "tuple")


def _is(value: Any, hint: Hint) -> bool:
    """Whether a value without parts, or an unsuitable one with parts, is of a kind."""
    if hint.kind in ("int", "float"):
        return isinstance(value, (int, float) if hint.kind == "float" else int) and not isinstance(value, bool)
    if hint.kind in ("literal", "enum"):
        return any(value == choice and type(value) is type(choice) for choice in hint.values)
    if hint.kind == "null":
        return value is None
    types: dict[str, Any] = {"bool": bool, "str": str, "path": (str, PurePath)}
    return isinstance(value, types[hint.kind]) if hint.kind in types else hint.kind == "any"
