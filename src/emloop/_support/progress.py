"""Telling how far something large is: a bar on a terminal, otherwise a line of the log every half minute."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]

logger = logging.getLogger(__name__)

_DRAWINGS_PER_SECOND = 10
_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def progress(
    name: str, total: int | None, done: int = 0, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Show the progress of something that is counted in bytes, on standard error.

    Args:
        name: What it is.
        total: Its size; ``None`` where nobody knows.
        done: How much of it is there already.
        clock: Seconds since some moment, never going back.

    Yields:
        What to call with the number of bytes that are there now, as often as that changes.
    """
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar(name, total, done) as report:
            yield report
    else:
        yield _lines(name, total, clock)


@contextmanager
def _bar(name: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # noqa: PLC0415 - imported only when something is drawn
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, refresh_per_second=_DRAWINGS_PER_SECOND
    ) as shown:
        task = shown.add_task(name, total=total, completed=done)
        yield lambda now: shown.update(task, completed=now)


def _lines(name: str, total: int | None, clock: Callable[[], float]) -> Callable[[int], None]:
    due = clock() + _SECONDS_BETWEEN_LINES

    def report(now: int) -> None:
        nonlocal due
        if clock() >= due:
            due = clock() + _SECONDS_BETWEEN_LINES
            share = f" of {_megabytes(total)} ({now / total:.0%})" if total else ""
            logger.info("%s: %s%s", name, _megabytes(now), share)

    return report


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
