"""Show how far a download is: a bar on a terminal, elsewhere a line of the log every half minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def progress(name: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[int, int | None], None]]:
    """Show progress in bytes on standard error, or in the log.

    Args:
        name: What is downloaded.
        clock: Seconds since some moment, never going back.

    Yields:
        A function to call with the number of bytes so far and in total (``None``: unknown) whenever that changes.
    """
    # Imported only when something is drawn.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    due = clock() + _SECONDS_BETWEEN_LINES
    with Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task(name, total=None)

        def report(size: int, total: int | None) -> None:
            nonlocal due
            bar.update(task, completed=size, total=total)
            if not console.is_interactive and clock() >= due:
                due = clock() + _SECONDS_BETWEEN_LINES
                share = f" of {total / 1e6:.1f} MB ({size / total:.0%})" if total else ""
                logger.info("%s: %.1f MB%s", name, size / 1e6, share)

        yield report
