"""Numbers, times and lines in few characters, none of which is broken in the middle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from emloop._support.printable import printable

__all__ = ["Cells", "Line", "Value", "cells_of", "fold", "number", "per_second", "plain", "short_time"]

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of a line, each with its style in the words of rich; empty: none."""


class Value(NamedTuple):
    """Which scalar of an epoch: a variable of a stream, and its aggregation; empty for a plain number."""

    stream: str
    variable: str
    aggregation: str = ""

    @property
    def label(self) -> str:
        """The variable, and the aggregation if it is not the mean."""
        return printable(self.variable if self.aggregation in ("", "mean") else f"{self.variable} {self.aggregation}")


Cells: TypeAlias = dict[Value, float]

_LONGEST = 8


def cells_of(epoch_data: Mapping[str, Any]) -> Cells:
    """All numbers of an epoch: those of variables, and those of aggregations of variables."""
    cells: Cells = {}
    for stream, variables in epoch_data.items():
        for variable, value in variables.items() if isinstance(variables, Mapping) else ():
            parts = value.items() if isinstance(value, Mapping) else [("", value)]
            for aggregation, part in parts:
                scalar = _scalar(part)
                if scalar is not None:
                    cells[Value(str(stream), str(variable), str(aggregation))] = scalar
    return cells


def _scalar(value: Any) -> float | None:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):  # as in a line of metrics
        return float(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def number(value: float) -> str:
    """A number in at most eight characters."""
    if isinstance(value, int) and abs(value) < 10 ** (_LONGEST - 1):
        return str(value)
    try:
        value = float(value)
    except OverflowError:  # an integer that no float can hold
        value = math.inf if value > 0 else -math.inf
    size = abs(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if 1e-3 <= size < 1e5:
        return f"{value:.{4 if size < 10 else 3 if size < 100 else 2 if size < 1000 else 1}f}"
    return next(text for digits in (2, 1, 0) if len(text := f"{value:.{digits}e}") <= _LONGEST)


def per_second(rate: float) -> str:
    """A rate in three digits or so."""
    return f"{rate:.0f}" if 1000 <= rate < 1e8 else f"{rate:.3g}"


def short_time(seconds: float) -> str:
    """A duration as ``9.5s``, ``1:05`` or ``1:00:05``."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def plain(line: Line) -> str:
    """The text of a line."""
    return "".join(text for text, _ in line).rstrip()


def fold(items: Iterable[Line], width: int, separator: str = " · ") -> Iterator[Line]:
    """Join items to lines no longer than ``width``; one that is longer stands alone. Later lines are indented."""
    line: Line = []
    for item in items:
        length, more = len(plain(line)), len(plain(item))
        if line and length + len(separator) + more > width:
            yield line
            line = [("    ", "")]
        elif line:
            line.append((separator, "dim"))
        line += item
    if line:
        yield line
