"""Show how far an epoch is: one line on a terminal, elsewhere a plain line in the log now and then.

The line is redrawn in place on standard error and leaves the cursor at its start, where a line of the log may begin.
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO

from emloop._contracts import AbstractHook
from emloop._state.kinds import check_state
from emloop.types import Batch, EpochData, StateTree

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
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def erase_line(output: TextIO | None = None) -> None:
    """Erase the line of a terminal (standard error by default) that the cursor is in."""
    _write(output, _ERASE_LINE)


def print_progress_bar(done: int, total: int, prefix: str = "", suffix: str = "", output: TextIO | None = None) -> None:
    """Draw a progress bar in the line of a terminal that the cursor is in; a narrow terminal gets less than a bar.

    Args:
        done: How much is done.
        total: How much there is to do; 0 is done from the start.
        prefix: What to write before the bar.
        suffix: What to write behind the numbers, e.g. how long it will take.
        output: The terminal; standard error by default.
    """
    # The last column stays free, since some terminals break the line after it.
    width = shutil.get_terminal_size().columns - 1
    share = min(done / total, 1.0) if total else 1.0
    # The widest text decides, so that the bar keeps its length.
    widest = len(f"{prefix}: ||  {total}/{total}=100.0% ") + max(len(suffix), len("ETA 0:00:00"))
    room = min(_WIDEST_BAR, width - widest)
    line = f"{prefix}: {done}/{total}"
    if room >= _NARROWEST_BAR:
        line = f"{prefix}: |{'=' * int(share * room):-<{room}}|  {done}/{total}={share:.1%} {suffix}".rstrip()
    elif len(line) > width:
        line = _SPINNER[done % len(_SPINNER)]
    _write(output, f"{_ERASE_LINE}{line}\r")


def _write(output: TextIO | None, text: str) -> None:
    output = sys.stderr if output is None else output
    with suppress(OSError):  # a terminal that was closed must not turn a stop into a failure
        output.write(text)
        output.flush()


class ShowProgress(AbstractHook):
    """Show the number of batches done, and of those to do if known, with an estimate of the time left.

    What is to do is known from ``main_loop.fixed_epoch_size``, from ``dataset.num_batches`` (a mapping of stream to
    number, or a method that returns one or that takes the name of a stream), and after the first epoch from that. Put
    it first in the list, so that its line is erased before other hooks log.

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
        self._started = "", 0, 0.0
        self._next_look = float("-inf")
        self._drawn = False

    def after_batch(self, stream_name: str, batch_data: Batch | None = None) -> None:
        """Count the batch, and show the progress if it is time to."""
        self._counts[stream_name] = count = self._counts.get(stream_name, 0) + 1
        now = self._clock()
        if self._started[0] != stream_name:
            self._started = stream_name, count, now
        if now >= self._next_look:
            self._show(stream_name, count, now)

    def _show(self, stream_name: str, count: int, now: float) -> None:
        total = self._total(stream_name)
        output = sys.stderr if self._output is None else self._output
        # At the average speed since the first batch that this process saw of the stream.
        _, first_count, first_time = self._started
        time_left = ""
        if total is not None and first_count < count < total:
            seconds = (now - first_time) / (count - first_count) * (total - count)
            time_left = f"ETA {get_formatted_time(seconds)}"
        if output.isatty() and os.environ.get("TERM") != "dumb":
            self._next_look = now + _SECONDS_BETWEEN_DRAWINGS
            self._drawn = True
            if total is None:
                _write(output, f"{_ERASE_LINE}{stream_name}: {count}\r")
            else:
                print_progress_bar(count, total, stream_name, time_left, output)
            return
        # A short epoch needs no line: the first one comes half a minute after the first batch.
        if self._next_look > float("-inf"):
            text = "" if total is None else f"/{total}={count / total if total else 1.0:.1%} {time_left}".rstrip()
            _LOGGER.info("%s: %d%s", stream_name, count, text)
        self._next_look = now + _SECONDS_BETWEEN_LOGS

    def _total(self, stream_name: str) -> int | None:
        loop = self._main_loop
        trains = loop is not None and loop.is_training and stream_name == loop.train_stream_name
        total = (loop.fixed_epoch_size if loop is not None and trains else None) or self._totals.get(stream_name)
        if total is None:
            if stream_name not in self._announced:
                self._announced[stream_name] = _announced_total(self._dataset, stream_name)
            total = self._announced[stream_name]
        # More than there is to do cannot be done: then the number was wrong.
        return total if total is None or self._counts[stream_name] <= total else None

    def after_epoch(self, epoch_id: int = 0, epoch_data: EpochData | None = None) -> None:
        """Erase the line, and learn how many batches the streams have."""
        self._erase()
        self._totals.update(self._counts)
        self._counts.clear()
        self._started = "", 0, 0.0

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
        check_state(self, state, {"counts": {str: int}, "totals": {str: int}})
        self._counts = dict(state["counts"])
        self._totals = dict(state["totals"])
        self._started = "", 0, 0.0


def _announced_total(dataset: object, stream_name: str) -> int | None:
    """What a dataset says of a stream's number of batches."""
    announced: Any = getattr(dataset, "num_batches", None)
    if callable(announced):
        announced = announced(stream_name) if inspect.signature(announced).parameters else announced()
    if isinstance(announced, Mapping):
        announced = announced.get(stream_name)
    return None if announced is None else int(announced)
