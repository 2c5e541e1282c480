"""Describe the first batch of every stream, for ``BaseDataset.stream_info``."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from emloop._streams import Pass, entered
from emloop.errors import BatchError
from emloop.types import Batch

__all__ = ["log_stream_info"]

logger = logging.getLogger(__name__)

_HEADER = ("name", "dtype", "shape", "range")


def log_stream_info(dataset: object) -> None:
    """Log a table of what the first batch of each stream holds, as the first training pass would see it.

    Raises:
        BatchError: If streams failed; raised after all have been read, and names them.
    """
    methods = _stream_methods(dataset)
    logger.info("Found %d stream candidates: %s", len(methods), list(methods))
    failed = [name for name, method in methods.items() if not _log_first_batch(name, method)]
    if failed:
        raise BatchError(f"{', '.join(failed)}: no batch could be read; the log has the reasons")


def _stream_methods(dataset: object) -> dict[str, Callable[[], Iterable[Batch]]]:
    names = (name for name in dir(dataset) if name.endswith("_stream") and not name.startswith("_"))
    # Statically: a property may fail or do work.
    static = ((name, inspect.getattr_static(dataset, name)) for name in names)
    return {
        name: getattr(dataset, name)
        for name, attribute in static
        if callable(attribute) or isinstance(attribute, (classmethod, staticmethod))
    }


def _log_first_batch(name: str, method: Callable[[], Iterable[Batch]]) -> bool:
    logger.info(name)
    try:
        with entered(Pass(training=True, index=0)):
            batch = next(iter(method()), None)
        if batch is None:
            logger.warning("*** stream `%s` has no batches ***", name)
            return True
        rows = [_row(source, value) for source, value in batch.items()]
    except Exception:  # noqa: BLE001 - a user's stream may raise anything; reported after all streams
        logger.warning(
            "Exception was raised during checking stream `%s`, (stack trace is displayed only with --verbose flag)",
            name,
        )
        logger.debug(traceback.format_exc())
        return False
    for line in _grid(rows):
        logger.info(line)
    return True


def _row(source: str, value: Any) -> list[str]:
    """Name, dtype and shape of a source, and its range if it has one."""
    try:
        array = np.asarray(value)
    except ValueError:
        _warn_ragged(source)
        return [source, type(value[0]).__name__, f"({len(value)},)"]
    if array.dtype == object and len(array) and np.shape(value[0]) != array.shape[1:]:
        _warn_ragged(source)
    row = [source, str(array.dtype), str(array.shape)]
    if array.size and array.dtype.kind in "bui":
        row.append(f"{array.min()} - {array.max()}")
    elif array.size and array.dtype.kind == "f":
        row.append(f"{array.min():.2f} - {array.max():.2f}")
    return row


def _warn_ragged(source: str) -> None:
    logger.warning("*** stream source `%s` appears to be ragged (non-rectangular) ***", source)


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; a column that no row fills is left out, unless there are no rows at all."""
    count = max(map(len, rows), default=len(_HEADER))
    header = _HEADER[:count]
    cells = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(len(title) + 2, *(len(row[i]) for row in cells), 0) for i, title in enumerate(header)]

    def line(cells: Sequence[str], border: str = "|", padding: str = " ") -> str:
        filled = (cell.ljust(width, padding) for cell, width in zip(cells, widths, strict=True))
        return border + border.join(f"{padding}{cell}{padding}" for cell in filled) + border

    rule = line([""] * count, "+", "-")
    lines = [rule, line(header), line([""] * count, "+", "=")]
    for row in cells:
        lines += [line(row), rule]
    return lines if cells else [*lines, rule]
