"""Show how far something is: a bar on a terminal, elsewhere a line of the log every half minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def progress(
    name: str, *, unit: str = "bytes", clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int | None], None]]:
    """Show progress on standard error, or in the log.

    Args:
        name: What is downloaded, or read.
        unit: What is counted, ``bytes`` or a word for other things.
        clock: Seconds since some moment, never going back.

    Yields:
        A function to call with the number so far and in total (``None``: unknown) whenever that changes.
    """
    # Imported only when something is drawn.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    amount = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(), TextColumn(unit))
    columns = TextColumn("{task.description}", markup=False), BarColumn(), *amount
    due = clock() + _SECONDS_BETWEEN_LINES
    with Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task(name, total=None)

        def report(size: int, total: int | None) -> None:
            nonlocal due
            bar.update(task, completed=size, total=total)
            if not console.is_interactive and clock() >= due:
                due = clock() + _SECONDS_BETWEEN_LINES
                done, of = (f"{n / 1e6:.1f} MB" if unit == "bytes" else f"{n} {unit}" for n in (size, total or 0))
                logger.info("%s: %s%s", name, done, f" of {of} ({size / total:.0%})" if total else "")

        yield report
