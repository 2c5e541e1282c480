"""Show how far an epoch is: one line on a terminal, otherwise a plain line in the log now and then.

The line is redrawn in place on standard error and leaves the cursor at its start, so that a line of the log written
meanwhile begins there.
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from emloop._contracts import AbstractHook
from emloop.types import Batch, EpochData, StateTree

from ._checks.states import check_keys

__all__ = ["ShowProgress", "erase_line", "get_formatted_time", "print_progress_bar"]

_LOGGER = logging.getLogger(__name__)

_SECONDS_BETWEEN_DRAWINGS = 0.1
_SECONDS_BETWEEN_LOGS = 30.0
_WIDEST_BAR = 50
_NARROWEST_BAR = 5
_SPINNER = "|/-\\"
_ERASE_LINE = "\r\x1b[K"


def get_formatted_time(seconds: float) -> str:
    """A duration as ``H:MM:SS``."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def erase_line(output: TextIO | None = None) -> None:
    """Erase the line of the terminal that the cursor is in.

    Args:
        output: The terminal; standard error by default.
    """
    _write(sys.stderr if output is None else output, _ERASE_LINE)


def print_progress_bar(done: int, total: int, prefix: str = "", suffix: str = "", output: TextIO | None = None) -> None:
    """Draw a progress bar into the line of the terminal that the cursor is in; a narrow one gets less than a bar.

    Args:
        done: How much is done.
        total: How much there is to do; 0 is done from the start.
        prefix: What to write before the bar.
        suffix: What to write behind the numbers, e.g. how long it will take.
        output: The terminal; standard error by default.
    """
    # The last column stays free, since some terminals break the line after it.
    width = shutil.get_terminal_size().columns - 1
    _write(sys.stderr if output is None else output, f"{_ERASE_LINE}{_bar(done, total, prefix, suffix, width)}\r")


def _bar(done: int, total: int, prefix: str, suffix: str, width: int) -> str:
    share = min(done / total, 1.0) if total else 1.0
    # The widest text decides, so that the bar does not change its length on the way.
    widest = len(f"{prefix}: ||  {total}/{total}=100.0% ") + max(len(suffix), len("ETA 0:00:00"))
    room = min(_WIDEST_BAR, width - widest)
    if room >= _NARROWEST_BAR:
        return f"{prefix}: |{'=' * int(share * room):-<{room}}|  {done}/{total}={share:.1%} {suffix}".rstrip()
    shorter = f"{prefix}: {done}/{total}"
    return shorter if len(shorter) <= width else _SPINNER[done % len(_SPINNER)]


def _write(output: TextIO, text: str) -> None:
    output.write(text)
    output.flush()


class ShowProgress(AbstractHook):
    """Show the number of batches done, and of those to do where it is known, with an estimate of the time left.

    What is to do is known from ``main_loop.fixed_epoch_size``, from ``dataset.num_batches`` (a mapping of stream to
    number, or a method that returns one or that takes the name of a stream), and after the first epoch from what it
    had. Put it first in the list, so that its line is erased before other hooks log.

    Args:
        dataset: The dataset.
        clock: Seconds since some moment, never going back.
        output: Where to draw if it is a terminal; standard error by default.
    """

    reads = writes = ()

    def __init__(
        self, dataset: object = None, *, clock: Callable[[], float] = time.monotonic, output: TextIO | None = None
    ) -> None:
        super().__init__()
        self._dataset = dataset
        self._clock = clock
        self._output = output
        self._counts: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._announced: dict[str, int | None] = {}
        self._started: tuple[str, int, float] | None = None
        self._next_look = float("-inf")
        self._drawn = False

    def after_batch(self, stream_name: str, batch_data: Batch | None = None) -> None:
        """Count the batch, and show the progress if it is time to."""
        self._counts[stream_name] = count = self._counts.get(stream_name, 0) + 1
        now = self._clock()
        if self._started is None or self._started[0] != stream_name:
            self._started = stream_name, count, now
        if now >= self._next_look:
            self._show(stream_name, count, now)

    def _show(self, stream_name: str, count: int, now: float) -> None:
        total = self._total(stream_name)
        output = sys.stderr if self._output is None else self._output
        if _draws_in_place(output):
            self._next_look = now + _SECONDS_BETWEEN_DRAWINGS
            self._drawn = True
            if total is None:
                _write(output, f"{_ERASE_LINE}{stream_name}: {count}\r")
            else:
                print_progress_bar(count, total, stream_name, self._time_left(count, total, now), output)
            return
        # A short epoch needs no line: the first one comes half a minute after the first batch.
        if self._next_look > float("-inf"):
            if total is None:
                _LOGGER.info("%s: %d", stream_name, count)
            else:
                share = count / total if total else 1.0
                text = f"{count}/{total}={share:.1%} {self._time_left(count, total, now)}"
                _LOGGER.info("%s: %s", stream_name, text.rstrip())
        self._next_look = now + _SECONDS_BETWEEN_LOGS

    def _time_left(self, count: int, total: int, now: float) -> str:
        """The time for the rest, at the average speed since the first batch that this process saw of the stream."""
        if self._started is None or count <= self._started[1] or count >= total:
            return ""
        _, first_count, first_time = self._started
        return f"ETA {get_formatted_time((now - first_time) / (count - first_count) * (total - count))}"

    def _total(self, stream_name: str) -> int | None:
        total = self._fixed_total(stream_name) or self._totals.get(stream_name)
        if total is None:
            if stream_name not in self._announced:
                self._announced[stream_name] = _announced_total(self._dataset, stream_name)
            total = self._announced[stream_name]
        # More than there is to do cannot be done: then the number was wrong.
        return total if total is None or self._counts[stream_name] <= total else None

    def _fixed_total(self, stream_name: str) -> int | None:
        loop = self._main_loop
        trains = loop is not None and loop.is_training and stream_name == loop.train_stream_name
        return loop.fixed_epoch_size if loop is not None and trains else None

    def after_epoch(self, epoch_id: int = 0, epoch_data: EpochData | None = None) -> None:
        """Erase the line, and learn how many batches the streams have."""
        self._erase()
        self._totals.update(self._counts)
        self._counts.clear()
        self._started = None

    def after_training(self, success: bool) -> None:
        """Erase the line."""
        self._erase()

    def _erase(self) -> None:
        if self._drawn:
            erase_line(self._output)
            self._drawn = False

    def state_dict(self) -> StateTree:
        """How many batches the unfinished epoch has had, and how many the epochs before."""
        return {"counts": dict(self._counts), "totals": dict(self._totals)}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on counting where another attempt stopped."""
        check_keys(self, state, ["counts", "totals"])
        self._counts = dict(state["counts"])
        self._totals = dict(state["totals"])
        self._started = None


def _draws_in_place(output: TextIO) -> bool:
    return output.isatty() and os.environ.get("TERM") != "dumb"


def _announced_total(dataset: object, stream_name: str) -> int | None:
    """What a dataset says of a stream's number of batches."""
    announced: Any = getattr(dataset, "num_batches", None)
    if callable(announced):
        takes_name = bool(inspect.signature(announced).parameters)
        announced = announced(stream_name) if takes_name else announced()
    if isinstance(announced, Mapping):
        announced = announced.get(stream_name)
    return None if announced is None else int(announced)
