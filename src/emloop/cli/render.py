"""Output for people at a terminal and for programs behind a pipe: tables, boxes, durations, sizes, JSON.

Plain characters only, the same wherever they go, so that output can be compared, cut and searched.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import zip_longest
from typing import Any

from emloop._support.printable import folded, printable
from emloop._yaml.flow import one_line

__all__ = [
    "aligned",
    "boxed",
    "complain",
    "duration",
    "file_size",
    "fitted",
    "grid",
    "in_yaml",
    "number",
    "plain",
    "say",
    "say_json",
    "span",
    "text_width",
]

_UNITS = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


def say(text: str = "") -> None:
    """Write a line, or several, to standard output, folded on a terminal; control characters are spelt out."""
    print(folded(printable(text, keep="\n\t"), sys.stdout))


def complain(text: str) -> None:
    """Write a line, or several, to standard error, folded on a terminal; control characters are spelt out."""
    print(folded(printable(text, keep="\n\t"), sys.stderr), file=sys.stderr)


def say_json(data: Any) -> None:
    """Write data to standard output as strict JSON, in ASCII; of a list, an item a line. See :func:`plain`."""
    data = plain(data)
    if isinstance(data, list):  # indentation is not written in C, and there may be thousands
        items = ",\n ".join(json.dumps(item, allow_nan=False) for item in data)
        print(f"[{items}]")
    else:
        print(json.dumps(data, indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Replace what strict JSON cannot hold: dates and numbers that are not finite by text, sets by sorted lists."""
    match value:
        case None | str() | bool() | int():  # first, because most are
            return value
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case set():
            return sorted(map(str, value))
        case date():
            return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def in_yaml(value: Any) -> str:
    """Write a value on one line, as a config would have it."""
    if isinstance(value, set):
        return f"!!set {{{', '.join(sorted(map(one_line, value)))}}}"
    try:
        return one_line(value)
    except TypeError:  # a set somewhere in a list
        return repr(value)


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Format a table without lines: columns two spaces apart, the last one ragged."""
    cells = _cells(rows)
    widths = _widths(cells)
    return "\n".join("  ".join(map(_padded, row, widths)).rstrip() for row in cells)


def grid(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table with lines around every cell and a double line below the headers."""
    cells = _cells([headers, *rows])
    widths = _widths(cells)
    rule, double = ("+" + "+".join(line * (width + 2) for width in widths) + "+" for line in "-=")
    lines = [f"| {' | '.join(map(_padded, row, widths))} |" for row in cells]
    body = [text for line in lines[1:] for text in (line, rule)]
    return "\n".join([rule, lines[0], double, *body])


def boxed(title: str) -> str:
    """Draw a box around a title."""
    rule = f"+{'-' * (text_width(title) + 2)}+"
    return f"{rule}\n| {title} |\n{rule}"


def duration(seconds: float) -> str:
    """Format a duration in its largest unit, e.g. ``2 hours``; negative ones count as 0."""
    for unit, length in _UNITS:
        # 85 % of a unit are called one, so that 3500 seconds are "1 hour".
        if seconds >= 0.85 * length:
            return _counted(max(round(seconds / length), 1), unit)
    return _counted(max(round(seconds), 0), "second")


def number(value: Any) -> str:
    """Format a result: a float with six digits, anything else as it is, nothing for ``None``."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def span(seconds: float) -> str:
    """Format a duration briefly, as filters write it, in the largest unit of which there are two, e.g. ``36h``."""
    for unit, length in (("w", 7 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)}{unit}"
    return f"{max(int(seconds), 0)}s"


def fitted(text: str, columns: int) -> str:
    """Cut characters out of the middle of a text that takes more columns than there are."""
    text = printable(text)
    kept = min(len(text), columns)
    while text_width(text) > columns and kept > 1:
        kept -= 1
        cut = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if text_width(cut) <= columns:
            return cut
    return text if text_width(text) <= columns else "…"


def file_size(size: int) -> tuple[str, str]:
    """Format a number of bytes: the number with one decimal, and its unit, a power of 1024."""
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
    return [max(map(text_width, column)) for column in zip_longest(*rows, fillvalue="")]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - text_width(cell))


def text_width(text: str) -> int:
    """Count the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
