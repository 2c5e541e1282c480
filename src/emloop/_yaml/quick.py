"""Reading the YAML that we write ourselves without a YAML parser, ten times as fast.

What ``documents.dump`` makes of nearly all data are lines of ``key: value``, ``key:`` and ``- value``,
indented by their depth. Only such text is read here, and only where every reader of YAML would agree; whatever else
there is (quotes with escapes, comments, anchors, flow style, texts of several lines, mistakes) goes to the real reader,
which is not even imported before.
"""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

from .scalars import Scalar, plain_value

__all__ = ["load"]

_LONGEST = 16_000  # characters; far from the limits of the real reader, of nodes and of anything else
_DEEPEST = 20

_KEY = r"[A-Za-z_][\w./-]{0,100}"
_PLAIN = r"(?:[\w$(/]|-?\.?[0-9])(?:[^:#]|:(?=[^ ])|(?<! )#)*(?<! )"
_LINE = re.compile(
    r"(?P<indent> *)(?P<items>(?:- )*)"
    rf"(?:(?P<key>{_KEY}):(?= |$) ?)?"
    rf"""(?:"(?P<quoted>[^"\\]*)"|(?P<empty>{{}}|\[\])|(?P<plain>{_PLAIN}))?"""
)
_NOTHING: Final = object()


class _Line(NamedTuple):
    """A line that is understood.

    Args:
        indent: Number of spaces before it.
        items: Number of dashes that open items of lists.
        key: Key of the value, if there is one.
        value: The value; :data:`_NOTHING` if it stands in the lines below.
    """

    indent: int
    items: int
    key: str | None
    value: Any


class _OtherText(Exception):
    """Not the kind of text that is read here."""


def load(text: bytes, origin: str) -> Any:
    """What a YAML text says, exactly as :func:`emloop._yaml.documents.load` tells it, errors included."""
    try:
        return _read(text)
    except (_OtherText, ValueError):
        return importlib.import_module("emloop._yaml.documents").load(text, origin)


def _read(text: bytes) -> Any:
    lines = text.decode("utf-8").split("\n")
    if len(text) > _LONGEST or lines.pop():
        raise _OtherText
    reader = _Reader([_parse(line) for line in lines])
    data = reader.block(0, 0)
    reader.expect_end()
    return data


@lru_cache(maxsize=4096)  # runs have most of their lines in common
def _parse(line: str) -> _Line:
    match = _LINE.fullmatch(line)
    if match is None or not line.isprintable():
        raise _OtherText
    key, quoted, empty, plain = match.group("key", "quoted", "empty", "plain")
    if key is not None and not isinstance(plain_value(key), str):
        raise _OtherText
    value: Scalar | object = _NOTHING
    if quoted is not None:
        value = quoted
    elif plain is not None:
        value = plain_value(plain)
    elif empty is not None:
        value = _EMPTY[empty]
    elif key is None or line.endswith(" "):
        raise _OtherText
    return _Line(len(match["indent"]), len(match["items"]) // 2, key, value)


class _Reader:
    """Puts lines together."""

    def __init__(self, lines: list[_Line]) -> None:
        lines.reverse()
        self._left = lines

    def block(self, indent: int, depth: int) -> Any:
        """The mapping or list whose first line comes next, indented as given."""
        if depth > _DEEPEST or not self._left:
            raise _OtherText
        return self._list(indent, depth) if self._left[-1].items else self._mapping(indent, depth)

    def expect_end(self) -> None:
        """See to it that nothing is left."""
        if self._left:
            raise _OtherText

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        left = self._left
        while left and left[-1].indent == indent:
            _, items, key, value = left.pop()
            if items or key is None or key in data:
                raise _OtherText
            data[key] = self._value(value, indent, depth)
        self._expect_outer(indent)
        return data

    def _list(self, indent: int, depth: int) -> list[Any]:
        data: list[Any] = []
        left = self._left
        while left and left[-1].indent == indent:
            line = left.pop()
            if not line.items:
                raise _OtherText
            if line.items == 1 and line.key is None:
                data.append(self._value(line.value, indent, depth))
            else:
                # What follows the dash is the first line of a block that stands two columns further right.
                left.append(_Line(indent + 2, line.items - 1, line.key, line.value))
                data.append(self.block(indent + 2, depth + 1))
        self._expect_outer(indent)
        return data

    def _value(self, value: Any, indent: int, depth: int) -> Any:
        if value is not _NOTHING:
            return value() if isinstance(value, type) else value
        if self._left and self._left[-1].indent > indent:
            return self.block(self._left[-1].indent, depth + 1)
        return None

    def _expect_outer(self, indent: int) -> None:
        """See to it that a block ends where one further left goes on."""
        if self._left and self._left[-1].indent > indent:
            raise _OtherText


_EMPTY: Final = {"{}": dict, "[]": list}
