"""How far a stream is, how fast, and how long it will take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from emloop._support.printable import printable
from emloop.types import Batch

from .reporter import Reading
from .wording import Cells, number, per_second

__all__ = ["Bar", "announced_total", "get_formatted_time"]


def get_formatted_time(seconds: float) -> str:
    """A duration as ``H:MM:SS``."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


class Bar:
    """What there is to draw of a stream in progress.

    Args:
        reading: The stream.
        total: Number of its batches, as far as it is known.
        clock: Seconds since some moment, never going back.
        noted: Running means to begin with, see :attr:`noted`.
    """

    def __init__(
        self, reading: Reading, total: int | None, clock: Callable[[], float], noted: Cells | None = None
    ) -> None:
        self.stream = printable(reading.stream)
        self._reading = reading
        self._total = total
        self._clock = clock
        self._first, self._began = reading.count(), clock()
        self._seen: Any = None
        self._loss: float | None = None
        self.noted = noted or {}
        """The newest running means; those of this stream, if it trains the model, are shown."""

    def saw(self, outputs: Batch) -> None:
        """Take up the loss of the batch that was seen before: a device has computed it meanwhile."""
        if self._seen is not None:
            self._loss = _mean(self._seen)
        self._seen = outputs.get("loss")

    @property
    def done(self) -> int:
        """Number of batches that were run."""
        return self._reading.count()

    @property
    def total(self) -> int | None:
        """Number of batches; what cannot be, since more were run, is not known."""
        return None if self._total is None or self.done > self._total else self._total

    @property
    def run(self) -> int:
        """How many of them were run since the stream was begun here."""
        return self.done - self._first

    @property
    def seconds(self) -> float:
        """Seconds since then."""
        return self._clock() - self._began

    @property
    def rate(self) -> float | None:
        """Batches a second since then."""
        run, seconds = self.run, self.seconds
        return run / seconds if seconds > 0 and run > 0 else None

    @property
    def time_left(self) -> str:
        """``ETA H:MM:SS``, at the average speed; empty where nothing tells."""
        total, done, rate = self.total, self.done, self.rate
        return "" if total is None or rate is None else f"ETA {get_formatted_time(max(total - done, 0) / rate)}"

    def details(self) -> list[str]:
        """What belongs beside a bar, most important first."""
        done, total, rate = self.done, self.total, self.rate
        amount = [f"{done}/{total}" if total is not None else str(done)]
        speed = [] if rate is None else [f"{per_second(rate)}/s"]
        means = self._means()
        if self._loss is not None and not any(mean.startswith("loss ") for mean in means):
            means.insert(0, f"loss {number(self._loss)}")
        return [*amount, *means[:1], *([self.time_left] if self.time_left else []), *speed, *means[1:]]

    def text(self) -> str:
        """The same in one plain line."""
        done, total = self.done, self.total
        share = "" if total is None else f"/{total}={done / total if total else 1.0:.1%} {self.time_left}".rstrip()
        return " ".join([f"{self.stream}: {done}{share}", *self._means()])

    def _means(self) -> list[str]:
        is_shown = self._reading.trains
        return [
            f"{of.label} {number(mean)}"
            for of, mean in self.noted.items()
            if is_shown and of.stream == self._reading.stream
        ]


def announced_total(dataset: object, stream_name: str) -> int | None:
    """What a dataset says of a stream's number of batches, by ``num_batches``: a mapping, or a method."""
    announced: Any = getattr(dataset, "num_batches", None)
    if callable(announced):
        announced = announced(stream_name) if inspect.signature(announced).parameters else announced()
    if isinstance(announced, Mapping):
        announced = announced.get(stream_name)
    return None if announced is None else int(announced)


def _mean(values: Any) -> float | None:
    import numpy as np  # noqa: PLC0415 - here, since commands without numbers start without it

    try:
        return float(np.mean(np.asarray(values, dtype=float)))
    except (TypeError, ValueError):  # no numbers, which is nothing that a bar should end a training for
        return None
