"""Context managers that silence, interrupt and release.

All return themselves when entered, can be nested, and restore what they found.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from threading import Semaphore
from types import TracebackType
from typing import Self

from emloop.main_loop.interrupts import CaughtInterrupts

__all__ = ["CaughtInterrupts", "DisabledLogger", "DisabledPrint", "ReleasedSemaphore"]


class DisabledPrint:
    """Discard what is written to standard output."""

    def __init__(self) -> None:
        self._entered: list[ExitStack] = []

    def __enter__(self) -> Self:
        stack = ExitStack()
        stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        self._entered.append(stack)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.pop().close()


class DisabledLogger:
    """Disable a logger.

    Args:
        name: The logger's name; ``None`` for the root logger.
    """

    def __init__(self, name: str | None = None) -> None:
        self._logger = logging.getLogger(name)
        self._were_disabled: list[bool] = []

    def __enter__(self) -> Self:
        self._were_disabled.append(self._logger.disabled)
        self._logger.disabled = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._logger.disabled = self._were_disabled.pop()


class ReleasedSemaphore:
    """Hold a semaphore released for the duration of a block.

    Args:
        semaphore: Released when the block starts, acquired when it ends.
    """

    def __init__(self, semaphore: Semaphore) -> None:
        self._semaphore = semaphore

    def __enter__(self) -> Self:
        self._semaphore.release()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._semaphore.acquire()
