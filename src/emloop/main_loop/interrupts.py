"""Signals that ask a training to stop.

The handler of the first SIGINT, SIGTERM or SIGHUP leaves a mark, which the loop reads between batches, and ends what
can be thrown away at once. The second signal raises ``SystemExit(128 + n)``. Outside the main thread, where Python
cannot install handlers, the loop runs without.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

from emloop._support.interrupting import Watchdog, arrived, raise_if_interruptible
from emloop.types import TrainingTerminated

__all__ = ["STOPPED", "CaughtInterrupts", "TrainingInterrupted"]

logger = logging.getLogger(__name__)


class TrainingInterrupted(TrainingTerminated):
    """A signal asked the training to stop."""


STOPPED = (TrainingInterrupted, KeyboardInterrupt)
"""What ends a training that can be resumed; user code may raise the latter itself."""


class CaughtInterrupts:
    """Context that remembers the first interrupt signal and ends the process at the second.

    A block inside another one goes on with the signals of that.
    """

    INTERRUPT_SIGNALS: ClassVar[Sequence[signal.Signals]] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    _outermost: ClassVar[CaughtInterrupts | None] = None
    _entered: ClassVar[list[CaughtInterrupts]] = []
    _heard: ClassVar[bool] = False

    def __init__(self) -> None:
        self._signals: list[int] = []
        self._previous: dict[signal.Signals, Any] = {}
        self._watchdog = Watchdog(self.INTERRUPT_SIGNALS)
        self._process = 0
        self._owns: list[bool] = []  # one entry for every time that it was entered

    @property
    def interrupted(self) -> bool:
        """Whether a signal has arrived since the context was entered."""
        return bool(self._signals)

    def raise_check_interrupt(self) -> None:
        """
        Raises:
            TrainingTerminated: If a signal has arrived since the context was entered.
        """
        if self._signals:
            if CaughtInterrupts._outermost is not None:
                CaughtInterrupts._outermost._watchdog.heard()
            raise TrainingInterrupted(f"interrupted by {_name(self._signals[0])}")

    @staticmethod
    def hear(number: int) -> None:
        """Note a signal that another process of the training has got, unless one has arrived here; no second one."""
        if not arrived:
            arrived.append(number)
            CaughtInterrupts._heard = True
            logger.warning("%s in another process: stopping as soon as the batch in progress is done", _name(number))
            for entered in CaughtInterrupts._entered:
                entered.look_soon()

    def look_soon(self) -> None:
        """Called by the handler of the first signal; to be overridden."""

    def __enter__(self) -> Self:
        self._signals = []
        self._owns.append(False)
        if threading.current_thread() is not threading.main_thread():
            return self
        self._signals = arrived
        CaughtInterrupts._entered.append(self)
        outer = CaughtInterrupts._outermost
        self._owns[-1] = outer is None or outer._process != os.getpid()
        if not self._owns[-1]:
            return self
        arrived.clear()
        CaughtInterrupts._outermost, self._process = self, os.getpid()
        for number in self.INTERRUPT_SIGNALS:
            # What was started by nohup is to outlive its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._on_signal)
        self._watchdog.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in CaughtInterrupts._entered:
            CaughtInterrupts._entered.remove(self)
        if not self._owns.pop():
            return
        CaughtInterrupts._outermost = None
        self._watchdog.stop()
        while self._previous:
            number, handler = self._previous.popitem()
            # ``None`` is a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._signals = list(arrived)
        arrived.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A worker that was forked from this process ends with it; only what is meant for it alone counts.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if CaughtInterrupts._heard:
            # Launchers send it to all processes, one after the other.
            CaughtInterrupts._heard = False
            return
        arrived.append(number)
        name = _name(number)
        if len(arrived) > 1:
            logger.error("%s: the second signal, stopping at once", name)
            raise SystemExit(128 + number)
        for entered in CaughtInterrupts._entered:
            entered.look_soon()
        logger.warning("%s: stopping as soon as the batch in progress is done", name)
        logger.warning("A second signal stops at once")
        raise_if_interruptible(frame)


def _name(number: int) -> str:
    return signal.Signals(number).name
