"""Rows as CSV that any reader can parse, and that no spreadsheet runs as a program."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows of cells as CSV: commas between cells, quotes only where needed, a newline after every row.

    ``None`` is an empty cell; a number has the fewest digits that give it back in its own precision.
    """
    text = _NewlineTerminated(newline="")
    # Before Python 3.13, the writer quotes a line break only if it occurs in the line terminator.
    csv.writer(text, lineterminator="\r\n").writerows(map(safe_cell, row) for row in rows)
    return text.getvalue()


def safe_cell(value: Any) -> Any:
    """A cell that a spreadsheet may show: text that it would run as a formula gets a leading ``'``."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str) and value.startswith(_STARTS_FORMULA):
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    return value


class _NewlineTerminated(io.StringIO):
    r"""Takes rows ending in ``\r\n``, one per call, and ends them with ``\n``."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix("\r\n") + "\n")
