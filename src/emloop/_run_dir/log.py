"""``train.log``: what every logger of the process says while a run is open, and what is printed and warned of.

The handler sits on the root logger, so that the records of user code arrive too, and goes when the run ends.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

from emloop._support.printable import printable
from emloop.constants import EL_LOG_DATE_FORMAT, EL_LOG_FILE, EL_LOG_FORMAT

from .append import AppendFile, open_append
from .said import Overhearing

logger = logging.getLogger(__name__)


class RunLog(logging.StreamHandler[AppendFile]):
    """Writes the process's log records to a run's ``train.log`` from :meth:`attach` to :meth:`detach`.

    A record may have several lines, but nothing in a message breaks one. A log that cannot be written does not stop a
    run: it says so once, and the log tells how many records are missing when it can be written again.

    Args:
        directory: The run directory.
    """

    _attached: ClassVar[list[RunLog]] = []
    _level_before: ClassVar[int | None] = None
    _overhearing: ClassVar[Overhearing | None] = None

    def __init__(self, directory: Path) -> None:
        super().__init__(open_append(directory / EL_LOG_FILE))
        self.setFormatter(logging.Formatter(EL_LOG_FORMAT, EL_LOG_DATE_FORMAT))
        self._missing = 0

    def attach(self) -> None:
        """Start to write; from now on emloop's own loggers speak at least at level ``INFO``."""
        emloop = logging.getLogger("emloop")
        if not RunLog._attached and emloop.getEffectiveLevel() > logging.INFO:
            RunLog._level_before = emloop.level
            emloop.setLevel(logging.INFO)
        RunLog._attached.append(self)
        _Early.hand_over(self)
        logging.getLogger().addHandler(self)
        if RunLog._overhearing is None:
            RunLog._overhearing = Overhearing(_write_to_all)

    def detach(self) -> None:
        """Stop to write, and give loggers back as they were; a second call does nothing."""
        if self not in RunLog._attached:
            return
        if RunLog._attached == [self] and RunLog._overhearing is not None:
            RunLog._overhearing.stop()
            RunLog._overhearing = None
        logging.getLogger().removeHandler(self)
        self.acquire()
        try:
            RunLog._attached.remove(self)
            self.stream.close()
        finally:
            self.release()
        self.close()
        if not RunLog._attached and RunLog._level_before is not None:
            logging.getLogger("emloop").setLevel(RunLog._level_before)
            RunLog._level_before = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if self not in RunLog._attached:
            # Another thread was about to log when the run ended.
            return
        self.write(record)
        if RunLog._attached[:1] == [self]:
            _show_unheard(record)

    def write(self, record: logging.LogRecord) -> None:
        """Write a record that nobody else need show."""
        missing = self._missing
        super().emit(record)
        if missing == self._missing:
            self._missing = 0

    def format(self, record: logging.LogRecord) -> str:
        """The record with control characters spelt out."""
        gap = f"({self._missing} records are missing here: they could not be written)\n" if self._missing else ""
        return gap + printable(super().format(record), keep="\n\t")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """Count what a full disk has swallowed; what is wrong with the record itself is left to ``logging``."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._missing += 1
        # Of a directory that was moved or deleted, the run itself speaks.
        if self._missing == 1 and self.stream.is_in_place():
            logger.error("%s cannot be written, records will be missing in it: %s", EL_LOG_FILE, error)


class _Early(logging.Handler):
    """Keeps what is said while a run is made."""

    _current: ClassVar[_Early | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._overhearing = Overhearing(self.records.append)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        _show_unheard(record)

    def stop(self) -> None:
        _Early._current = None
        logging.getLogger().removeHandler(self)
        self._overhearing.stop()

    @staticmethod
    def hand_over(log: RunLog) -> None:
        if early := _Early._current:
            early.stop()
            for record in early.records:
                log.write(record)


@contextmanager
def logged_later() -> Generator[None]:
    """Around the making of a run: what is said before it has a log, as by modules at their import, is kept for it."""
    if RunLog._attached or _Early._current is not None:
        yield  # a run within another, which hears all this
        return
    early = _Early._current = _Early()
    logging.getLogger().addHandler(early)
    try:
        yield
    finally:
        if _Early._current is early:
            early.stop()


def _write_to_all(record: logging.LogRecord) -> None:
    for log in RunLog._attached:
        with log.lock or nullcontext():
            log.write(record)


def _show_unheard(record: logging.LogRecord) -> None:
    """Show a warning that only logs of runs have heard on the terminal, as Python does where there is no handler."""
    fallback = logging.lastResort
    if fallback is None or record.levelno < fallback.level:
        return
    hearer: logging.Logger | None = logging.getLogger(record.name)
    while hearer is not None:
        if any(not isinstance(handler, (RunLog, _Early)) for handler in hearer.handlers):
            return
        hearer = hearer.parent
    fallback.handle(record)
