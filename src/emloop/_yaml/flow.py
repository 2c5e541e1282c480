"""Data as YAML on one line, for command lines and table cells."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from .scalars import plain_value

_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
_HALF = re.compile("[\ud800-\udfff]")
_READERS_DIFFER = re.compile("yes|no|on|off|y|n", re.IGNORECASE)


def one_line(value: Any) -> str:
    """Write plain data on one line; :func:`emloop._yaml.documents.load` gives it back, tuples as lists.

    Args:
        value: ``None``, ``bool``, ``int``, ``float``, ``str``, dates, and lists, tuples and mappings of them.

    Raises:
        TypeError: If it holds anything else, or half of a character.
    """
    match value:
        case Mapping():
            return f"{{{', '.join(f'{one_line(key)}: {one_line(item)}' for key, item in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(one_line, value))}]"
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"{value!r} of type {type(value).__name__!r} cannot be written as YAML")


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    return repr(value).replace("inf", ".inf")


def _text(text: str) -> str:
    if _HALF.search(text):
        raise TypeError(f"{text!r} cannot be written as YAML, it holds half of a character")
    if _PLAIN.fullmatch(text) and isinstance(plain_value(text), str) and not _READERS_DIFFER.fullmatch(text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08x}"


_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: repr,
    float: _float,
    str: _text,
    datetime: lambda value: value.isoformat(" "),
    date: date.isoformat,
}
"""The first match counts: a ``bool`` is an ``int`` too, a ``datetime`` a ``date``."""
