"""Signals that ask a training to stop.

The handler of the first SIGINT or SIGTERM only leaves a mark, which the loop reads between batches. The second signal
raises ``SystemExit(128 + n)``. Outside the main thread, where Python cannot install handlers, the loop runs without.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

from emloop.types import TrainingTerminated

__all__ = ["CaughtInterrupts", "TrainingInterrupted"]

logger = logging.getLogger(__name__)


class TrainingInterrupted(TrainingTerminated):
    """A signal asked the training to stop."""


class CaughtInterrupts:
    """Context that remembers the first interrupt signal and ends the process at the second."""

    INTERRUPT_SIGNALS: ClassVar[Sequence[signal.Signals]] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._signals: list[int] = []
        self._previous: dict[signal.Signals, Any] = {}

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
            raise TrainingInterrupted(f"interrupted by {signal.Signals(self._signals[0]).name}")

    def __enter__(self) -> Self:
        self._signals.clear()
        if threading.current_thread() is threading.main_thread():
            for number in self.INTERRUPT_SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            # ``None`` is a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self._signals.append(number)
        name = signal.Signals(number).name
        if len(self._signals) > 1:
            logger.error("%s: the second signal, stopping at once", name)
            raise SystemExit(128 + number)
        logger.warning("%s: stopping as soon as the batch in progress is done", name)
        logger.warning("A second signal stops at once")
