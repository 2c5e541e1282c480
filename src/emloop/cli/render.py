"""Text for people at a terminal and for the programs behind a pipe: tables, boxes, durations, sizes.

Plain characters only, the same wherever they go, so that output can be compared, cut and searched.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from emloop._support.printable import printable

__all__ = ["aligned", "boxed", "complain", "duration", "file_size", "grid", "say"]

_UNITS = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


def say(text: str = "") -> None:
    """Write a line, or several, to standard output; control characters are spelt out."""
    sys.stdout.write(printable(text, keep="\n\t") + "\n")


def complain(text: str) -> None:
    """Write a line, or several, to standard error; control characters are spelt out."""
    sys.stderr.write(printable(text, keep="\n\t") + "\n")


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """A table without lines: columns two spaces apart, the last one ragged."""
    cells = _cells(rows)
    widths = _widths(cells)
    return "\n".join("  ".join(map(_padded, row, widths)).rstrip() for row in cells)


def grid(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with lines around every cell and a double one below the headers."""
    cells = _cells([headers, *rows])
    widths = _widths(cells)
    rule, double = ("+" + "+".join(line * (width + 2) for width in widths) + "+" for line in "-=")
    lines = [f"| {' | '.join(map(_padded, row, widths))} |" for row in cells]
    body = [text for line in lines[1:] for text in (line, rule)]
    return "\n".join([rule, lines[0], double, *body])


def boxed(title: str) -> str:
    """A title in a box."""
    rule = f"+{'-' * (_width(title) + 2)}+"
    return f"{rule}\n| {title} |\n{rule}"


def duration(seconds: float) -> str:
    """A span of time in its largest unit, e.g. ``2 hours``; what is negative counts as nothing."""
    for unit, length in _UNITS:
        # 85 % of a unit are called one, so that 3500 seconds are "1 hour".
        if seconds >= 0.85 * length:
            return _counted(max(round(seconds / length), 1), unit)
    return _counted(max(round(seconds), 0), "second")


def file_size(size: int) -> tuple[str, str]:
    """A number of bytes as a number with one decimal, and its unit, a power of 1024."""
    if size < 1024:
        return str(size), "B"
    amount = float(size)
    for unit in ("KB", "MB", "GB", "TB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f}", unit
    return f"{amount / 1024:.1f}", "PB"


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _cells(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[printable(cell) for cell in row] for row in rows]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(_width, column)) for column in zip_longest(*rows, fillvalue="")]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    """Columns that a terminal needs for a text."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
