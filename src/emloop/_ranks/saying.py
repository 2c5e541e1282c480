"""Warnings of several processes in one log: each once, with the name of a process where rank 0 has not said it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["keeping_warnings", "warnings_so_far"]


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
    """Those of the block that :func:`keeping_warnings` surrounds."""
    return _CURRENT.get() or Warnings()


@contextmanager
def keeping_warnings(*, shown: bool) -> Iterator[None]:
    """Keep the warnings of the block.

    Args:
        shown: Whether they are shown here as well; errors always are.
    """
    root, kept = logging.getLogger(), Warnings()
    others = list(root.handlers)

    def only_errors(record: logging.LogRecord) -> bool:
        return shown or record.levelno >= logging.ERROR

    root.addHandler(kept)
    for handler in others:
        handler.addFilter(only_errors)
    token = _CURRENT.set(kept)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        root.removeHandler(kept)
        for handler in others:
            handler.removeFilter(only_errors)
