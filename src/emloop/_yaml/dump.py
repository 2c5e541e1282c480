"""Data → YAML in block style, which every safe loader of YAML 1.1 or 1.2 reads as the same data.

Text that any of them would take for something else (``yes``, ``12:30``, ``1e3``, a date) is quoted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from emloop.errors import ConfigError, Problem, dotted

from .nodes import MAX_DEPTH

_Path: TypeAlias = tuple[Any, ...]
_Block: TypeAlias = tuple[str, list[str]]
"""The text behind the key and the lines below it; without the former, the lines are the value."""

_LONGEST_SIMPLE_KEY = 1000  # parsers look 1024 characters ahead for the colon

# Words of YAML 1.1 or 1.2 that are no text, and whatever begins like a number or a date of either.
_NOT_TEXT = re.compile(
    r"null|true|false|yes|no|on|off|y|n|[-+]?\.(?:inf|nan)|[-+]?(?:[0-9]|\.[0-9_])[-+0-9a-fox_.:tz ]*", re.IGNORECASE
)
_STARTS_PLAIN = re.compile(r"\w|[$(/]|\.(?!\.\.)")
_ENDS_PLAIN = re.compile(r":(?: |$)| #| $")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump(data: Any) -> str:
    """Write data as YAML; :func:`~emloop._yaml.documents.load` gives it back.

    Mappings keep their order, sets are sorted, tuples become lists, paths text, and the scalars of array libraries
    ordinary numbers. Shared objects are written wherever they occur.

    Raises:
        ConfigError: If the data hold anything else, contain themselves, or are deeper than 50 levels; says where.
    """
    head, below = _Writer().block(data, ())
    lines = [head, *_indented(below)] if head else below
    return "".join(f"{line}\n" for line in lines)


class _Writer:
    def __init__(self) -> None:
        self._inside: set[int] = set()

    def block(self, value: Any, path: _Path) -> _Block:
        """A value as text; ``path`` is its place in the data."""
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return _literal(value) or (_scalar(value, path), [])
        if id(value) in self._inside:
            raise _error("contains itself", path)
        if len(path) >= MAX_DEPTH:
            raise _error(f"nested too deeply; at most {MAX_DEPTH} levels can be read back", path)
        self._inside.add(id(value))
        if isinstance(value, Mapping):
            block = self._mapping(value, path)
        elif isinstance(value, list | tuple):
            block = self._sequence(value, path)
        else:
            block = "!!set" if value else "!!set {}", [f"{key}: null" for key in sorted(_keys(value, path))]
        self._inside.remove(id(value))
        return block

    def _mapping(self, value: Mapping[Any, Any], path: _Path) -> _Block:
        lines: list[str] = []
        for (key, item), written in zip(value.items(), _keys(value, path), strict=True):
            head, below = self.block(item, (*path, key))
            start = [f"{written}:"] if len(written) <= _LONGEST_SIMPLE_KEY else [f"? {written}", ":"]
            if head:
                start[-1] += f" {head}"
            lines += [*start, *_indented(below)]
        return ("", lines) if lines else ("{}", [])

    def _sequence(self, value: Iterable[Any], path: _Path) -> _Block:
        lines: list[str] = []
        for index, item in enumerate(value):
            head, below = self.block(item, (*path, index))
            if not head:
                head, *below = below
            lines += [f"- {head}", *_indented(below)]
        return ("", lines) if lines else ("[]", [])


def _keys(value: Iterable[Any], path: _Path) -> list[str]:
    """The keys of a mapping or the members of a set as text, checked to be different."""
    keys: dict[str, None] = {}
    for key in value:
        written = _scalar(key, (*path, key))
        if written in keys:
            raise _error(f"the key {written} would be written twice", path)
        keys[written] = None
    return list(keys)


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]


def _literal(value: Any) -> _Block | None:
    """Text of several lines in literal style, if no reader could misunderstand it."""
    if not isinstance(value, str) or "\n" not in value:
        return None
    lines = value.removesuffix("\n").split("\n")
    if not lines[0] or lines[0].startswith(" ") or not lines[-1]:
        return None
    if not all(line.isprintable() and line == line.rstrip() for line in lines):
        return None
    return "|" if value.endswith("\n") else "|-", lines


def _scalar(value: Any, path: _Path) -> str:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            try:
                return write(value)
            except (ValueError, OverflowError) as error:
                raise _error(f"cannot be written as YAML: {error}", path) from error
    raise _error(f"a value of type {type(value).__name__!r} cannot be written as YAML", path)


def _float(value: float) -> str:
    text = float.__repr__(value)
    if text.endswith(("inf", "nan")):
        return text.replace("inf", ".inf").replace("nan", ".nan")
    # YAML 1.1 knows no exponent without a point.
    return text if "." in text else text.replace("e", ".0e")


def _datetime(value: datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and (offset.seconds % 60 or offset.microseconds):
        value = value.astimezone(UTC)  # YAML's offsets have no seconds
    return value.isoformat(" ")


def _text(text: str) -> str:
    is_plain = text.isprintable() and _STARTS_PLAIN.match(text) and not _ENDS_PLAIN.search(text)
    if is_plain and not _NOT_TEXT.fullmatch(text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError(f"{char!r} is half of a character")
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    float: _float,
    str: lambda value: _text(str.__str__(value)),
    datetime: _datetime,
    date: date.isoformat,
}
"""The first match counts: a ``bool`` is an ``int`` too, a ``datetime`` a ``date``."""


def _error(message: str, path: _Path) -> ConfigError:
    return ConfigError(Problem(message, path=dotted(path)))
