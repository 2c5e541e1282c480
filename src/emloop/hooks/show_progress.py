"""Show how far an epoch is: the reporter's bar on a terminal or in a notebook, elsewhere a plain line now and then."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from emloop._contracts import AbstractHook
from emloop._reporter.bar import get_formatted_time
from emloop._reporter.choosing import reporter_on
from emloop._reporter.reporter import Reporter
from emloop._reporter.shown import Shown
from emloop._state.kinds import check_state
from emloop.constants import EL_LOG_ONLY
from emloop.types import StateTree

__all__ = ["ShowProgress", "erase_line", "get_formatted_time", "print_progress_bar"]

_LOGGER = logging.getLogger(__name__)

_WIDEST_BAR = 50
_NARROWEST_BAR = 5
_SPINNER = "|/-\\"
_ERASE_LINE = "\r\x1b[K"


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

    A run shows that by itself; the hook adds a line to ``train.log`` every half minute where there is no terminal,
    and shows the progress of a main loop that a program has made without a run directory.

    What is to do is known from ``main_loop.fixed_epoch_size``, from the length of a sequence, from
    ``dataset.num_batches`` (a mapping of stream to number, or a method that returns one or that takes the name of a
    stream), and after the first epoch from that.

    Args:
        dataset: Not needed; the main loop's own is asked.
        clock: Seconds since some moment, never going back.
        output: Where to draw; standard error by default.
    """

    reads = writes = ()

    def __init__(
        self,
        dataset: object = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        output: TextIO | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._output = output
        self._totals: dict[str, int] = {}

    def before_training(self) -> None:
        """Let the reporter know what earlier attempts have learned, or give the loop one."""
        loop = self._main_loop
        if loop is None:
            return
        reporter: Reporter = loop.reporter
        if self._output is not None or type(reporter) is Reporter:
            loop.reporter = reporter = reporter_on(self._output, self._clock)
        if isinstance(reporter, Shown):
            reporter.totals = self._totals
            reporter.log = _log

    def state_dict(self) -> StateTree:
        """How many batches the streams had in the last epoch."""
        return {"counts": {}, "totals": dict(self._totals)}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on with the totals of another attempt."""
        check_state(self, state, {"counts": {str: int}, "totals": {str: int}})
        self._totals = dict(state["totals"])


def _log(line: str) -> None:
    _LOGGER.info("%s", line, extra=EL_LOG_ONLY)
