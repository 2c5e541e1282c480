"""Rows as CSV that any reader can parse and, on request, that no spreadsheet runs as a program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Iterable[Any]], *, escape_formulas: bool = False) -> str:
    """Rows of cells as CSV: commas between cells, quotes only where needed, a newline after every row.

    ``None`` is an empty cell; a number has the fewest digits that give it back in its own precision; a list or an array
    is one cell, as JSON writes it.

    Args:
        rows: The rows.
        escape_formulas: Whether text that a spreadsheet would run as a formula gets a leading ``'``.
    """
    as_cell = partial(cell, escape_formulas=escape_formulas)
    text = _NewlineTerminated(newline="")
    # Before Python 3.13, the writer quotes a line break only if it occurs in the line terminator.
    csv.writer(text, lineterminator="\r\n").writerows(map(as_cell, row) for row in rows)
    return text.getvalue()


def cell(value: Any, *, escape_formulas: bool = False) -> Any:
    """What a CSV writer is given for a value; see :func:`csv_text`."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return _as_json(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if escape_formulas and isinstance(value, str) and value.startswith(_STARTS_FORMULA):
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    return value


def _as_json(value: Any) -> str:
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        return f"[{', '.join(map(_as_json, value))}]"
    if isinstance(value, (np.ndarray, np.generic)):
        # As Python's float, a number of less precision would show digits that it does not have.
        value = float(str(value)) if value.dtype.kind == "f" else value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return json.dumps(value, ensure_ascii=False, default=str)


class _NewlineTerminated(io.StringIO):
    r"""Takes rows ending in ``\r\n``, one per call, and ends them with ``\n``."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix("\r\n") + "\n")
