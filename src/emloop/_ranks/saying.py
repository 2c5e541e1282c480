"""Warnings of several processes in one log: each once, with the name of a process where rank 0 has not said it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Warnings", "use_warnings", "warnings_so_far"]


class Warnings(logging.Handler):
    """Keeps the texts of warnings.

    Attributes:
        texts: Those so far, in order.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: dict[str, None] = {}
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is no error."""
        if record.levelno < logging.ERROR:
            self.texts[record.getMessage()] = None

    def news(self) -> list[str]:
        """Those since the last call."""
        found = list(self.texts)[self._told :]
        self._told = len(self.texts)
        return found


_CURRENT: ContextVar[Warnings | None] = ContextVar("warnings", default=None)


def warnings_so_far() -> Warnings:
    """Those of the block that :func:`use_warnings` surrounds."""
    return _CURRENT.get() or Warnings()


@contextmanager
def use_warnings(kept: Warnings) -> Iterator[None]:
    """Let :func:`warnings_so_far` return these inside the block."""
    token = _CURRENT.set(kept)
    try:
        yield
    finally:
        _CURRENT.reset(token)
