"""Rows as CSV that any reader takes apart again, and that no spreadsheet takes for a program."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

__all__ = ["csv_text", "safe_cell"]

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows of cells as CSV: commas between cells, quotes only where needed, a newline after every row.

    ``None`` is an empty cell, a number is written with the fewest digits that give it back in its own precision.
    """
    text = _NewlineTerminated(newline="")
    # Before Python 3.13, the writer quotes a line break only if it occurs in the line terminator.
    csv.writer(text, lineterminator="\r\n").writerows(map(safe_cell, row) for row in rows)
    return text.getvalue()


def safe_cell(value: Any) -> Any:
    """A cell as it may be shown by a spreadsheet: text that would be run as a formula gets a leading ``'``."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str) and value.startswith(_STARTS_FORMULA) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _NewlineTerminated(io.StringIO):
    r"""Takes rows that end with ``\r\n``, one per call, and ends them with ``\n``."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix("\r\n") + "\n")
