"""Which reporter a run gets: a terminal's, a notebook's, one of plain lines, or none."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

from . import records
from .areas import Area, Notebook, Plain, Terminal
from .reporter import Reporter
from .shown import Shown

__all__ = ["open_reporter", "reporter_of_run", "reporter_on"]

_current: Shown | None = None


@contextmanager
def open_reporter(doing: str) -> Generator[None]:
    """Around a command's work: the reporter that its runs get.

    Args:
        doing: What takes long until the first run begins.
    """
    global _current  # noqa: PLW0603
    if records.quiet:
        yield
        return
    _current = Shown(_area())
    try:
        _current.open(doing)
        yield
    finally:
        _current.close()
        _current = None


def reporter_of_run() -> Reporter:
    """The reporter of a new run: that of the command, or one of its own where a program makes the run."""
    return _current or reporter_on(None)


def reporter_on(output: TextIO | None, clock: Callable[[], float] = time.monotonic) -> Reporter:
    """A reporter on an output of one's own; by default, on standard error.

    Where a program's handlers hear what runs log, plain lines there would say everything twice.

    Args:
        output: The output.
        clock: Seconds since some moment, never going back.
    """
    if records.quiet:
        return Reporter()
    area = _area() if output is None else _area_on(output)
    return Shown(Plain(None) if output is None and isinstance(area, Plain) and _is_heard() else area, clock)


def _area() -> Area:
    if _in_notebook():
        return Notebook()
    return Plain(None) if sys.stderr is None else _area_on(sys.stderr)


def _area_on(output: TextIO) -> Area:
    return Terminal(output) if output.isatty() and os.environ.get("TERM") != "dumb" else Plain(output)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _is_heard() -> bool:
    """Whether a handler that is not of ours hears what a run logs."""
    handlers = [*logging.getLogger().handlers, *logging.getLogger("emloop").handlers]
    return any(not type(handler).__module__.startswith("emloop.") for handler in handlers)
