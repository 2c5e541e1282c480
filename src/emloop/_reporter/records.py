"""Log records on the screen: what they say, without what a log puts before it."""

from __future__ import annotations

import logging
import sys

from emloop._support.printable import folded, printable

__all__ = ["show_records"]

quiet = False
"""Whether reporters show nothing."""


class _Screen(logging.Handler):
    """Writes records to standard error, wherever that leads at the moment.

    Args:
        everything: Whether to show also what the reporter shows in another form, or what is of no interest.
    """

    def __init__(self, level: int, *, everything: bool) -> None:
        super().__init__(level)
        self._everything = everything

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "shown", False) or (getattr(record, "log_only", False) and not self._everything):
            return
        try:
            # Names and values come from files, maybe a stranger's.
            text = printable(self.format(record), keep="\n\t")
            text = f"{'warning: ' * (record.levelno == logging.WARNING)}{text.rstrip()}\n"
            sys.stderr.write(folded(text, sys.stderr))
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)


def show_records(*, verbose: bool, only_warnings: bool) -> None:
    """Show the records of all loggers on standard error, and by no other handler.

    Args:
        verbose: Whether to show debug messages, and what the reporter shows in another form.
        only_warnings: Whether to show only warnings and errors, and no reporter.
    """
    global quiet  # noqa: PLW0603 - there is one screen
    quiet = only_warnings
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    root = logging.getLogger()
    root.handlers[:] = [_Screen(level, everything=verbose)]
    # A run's log hears what the screen does not show.
    root.setLevel(min(level, logging.INFO))
