"""A line an epoch: columns that fit the width, values that hooks watch first, the best ones marked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from emloop._contracts import Monitored
from emloop._support.printable import printable

from .wording import Cells, Line, Value, fold, number, per_second, short_time

__all__ = ["Table"]

_NUMBER = 8  # characters that a number may take, see `number`
_LABEL = 14
_EPOCH, _TIME, _RATE = 5, 8, 9
_BEST = "*"


class Table:
    """The table of a run.

    Args:
        monitored: Values that hooks watch, the most important one first.
    """

    def __init__(self, monitored: Sequence[Monitored] = ()) -> None:
        self._monitored = monitored
        self._columns: list[Value] = []
        self.best: dict[Monitored, tuple[str, float]] = {}
        """What is watched → where it was best so far, such as ``in epoch 3``, and how good."""

    def learn(self, where: str, cells: Cells) -> set[Value]:
        """Take the values of an epoch, or of an evaluation inside one, into account; return the best ones so far."""
        best = set()
        for monitored in self._monitored:
            place = monitored.stream, monitored.variable
            value = next((v for v in (Value(*place, monitored.aggregation or ""), Value(*place)) if v in cells), None)
            if value is None or math.isnan(cells[value]):
                continue
            sign = 1 if monitored.condition == "min" else -1
            before = self.best.get(monitored)
            if before is None or sign * cells[value] < sign * before[1]:
                self.best[monitored] = where, cells[value]
                best.add(value)
        return best

    def rows(self, epoch_id: int, cells: Cells, seconds: float, rate: float | None, width: int) -> Iterator[Line]:
        """The line of an epoch, after a heading where the columns are new, or change with the width."""
        best = self.learn(f"in epoch {epoch_id}", cells)
        columns, left_out = self._fitting(cells, width)
        if not columns:
            yield from self.items(f"epoch {epoch_id}", cells, best, seconds, rate, width)
            return
        if columns != self._columns:
            self._columns = columns
            yield from self._heading(columns)
            if left_out:
                yield [(f"  {left_out} more in metrics.jsonl", "dim")]
        line: Line = [(f"{epoch_id:>{_EPOCH}}", "bold")]
        for value in columns:
            is_best = value in best
            text = number(cells[value]) if value in cells else ""
            line.append((f"  {text:>{_width(value)}}", "bold green" if is_best else ""))
            line.append((_BEST if is_best else " ", "bold green"))
        yield [
            *line,
            (f"{short_time(seconds):>{_TIME}}", "dim"),
            (f"{'' if rate is None else per_second(rate):>{_RATE}}", "dim"),
        ]

    def items(
        self, title: str, cells: Cells, best: set[Value], seconds: float | None, rate: float | None, width: int
    ) -> Iterator[Line]:
        """The same as one line, folded where it is longer than ``width``."""
        items: list[Line] = []
        stream = None
        for value in self._ordered(cells):
            name = f"{printable(value.stream)} {value.label}" if value.stream != stream else value.label
            stream = value.stream
            mark = _BEST if value in best else ""
            items.append([(f"{name} ", "dim"), (f"{number(cells[value])}{mark}", "bold green" if mark else "")])
        if seconds is not None:
            items.append([(short_time(seconds), "dim")])
        if rate is not None:
            items.append([(f"{per_second(rate)} batches/s", "dim")])
        items[:1] = [[(f"{title}  ", "bold"), *(items[0] if items else [])]]
        return fold(items, width)

    def _priority(self, value: Value) -> int:
        for rank, monitored in enumerate(self._monitored):
            watched = Value(monitored.stream, monitored.variable, monitored.aggregation or "")
            if value in (watched, watched._replace(aggregation="")):
                return rank - len(self._monitored)
        return 0 if value.aggregation in ("", "mean") else 1

    def _ordered(self, cells: Cells) -> list[Value]:
        """By stream, what is watched first within each."""
        streams = list(dict.fromkeys(value.stream for value in cells))
        return sorted(cells, key=lambda value: (streams.index(value.stream), self._priority(value)))

    def _fitting(self, cells: Cells, width: int) -> tuple[list[Value], int]:
        room = width - _EPOCH - _TIME - _RATE
        fitting = set()
        for value in sorted(cells, key=self._priority):
            room -= _width(value) + 3
            if room < 0:
                break
            fitting.add(value)
        return [value for value in self._ordered(cells) if value in fitting], len(cells) - len(fitting)

    def _heading(self, columns: Sequence[Value]) -> Iterator[Line]:
        streams, labels = f"{'':{_EPOCH}}", f"{'epoch':>{_EPOCH}}"
        shown = None
        for value in columns:
            width = _width(value)
            stream = "" if value.stream == shown else printable(value.stream)
            shown = value.stream
            streams += f"  {_cut(stream, width):>{width}} "
            labels += f"  {_cut(value.label, width):>{width}} "
        yield [(streams.rstrip(), "bold")]
        yield [(f"{labels}{'time':>{_TIME}}{'batch/s':>{_RATE}}", "bold")]


def _width(value: Value) -> int:
    return max(min(len(value.label), _LABEL), _NUMBER)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
