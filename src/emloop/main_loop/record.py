"""What a main loop reports to its recorder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from emloop._reporter.reporter import Facts
from emloop._run_dir.trace import EndStatus
from emloop._streams import StreamWrapper
from emloop.constants import EXIT_FAILED, EXIT_STOPPED
from emloop.errors import EmloopError
from emloop.types import EpochData, TrainingTerminated

from .facts import ShownLoop, facts_of_loop
from .fingerprint import Watch
from .interrupts import STOPPED

__all__ = ["Record", "outcome"]

logger = logging.getLogger(__name__)


class Record:
    """Keeps nothing: the record of a loop without a run directory.

    Attributes:
        nan: Where the loss was not a number first; ``None`` if it never was.
    """

    nan: str | None = None

    @property
    def has_failed(self) -> bool:
        """Whether :meth:`between_batches` has an error to raise."""
        return False

    def begin(self) -> None:
        """Called first thing in an attempt."""

    def start(self, streams: Mapping[str, StreamWrapper]) -> None:
        """Called when the hooks are ready, before the first batch.

        Args:
            streams: The streams to train on, by name.
        """

    def facts(self, loop: ShownLoop) -> Facts:
        """Called before the first epoch of an attempt; returns what a person should know of it."""
        return facts_of_loop(loop)

    def watch(self, stream: StreamWrapper) -> Watch | None:  # noqa: ARG002 - for those who keep something
        """Called before a stream is read; returns what looks at the first batch, if anything does."""
        return None

    def between_batches(self, batches: int, *, interrupted: bool) -> int:  # noqa: ARG002 - for those who keep something
        """Called between two batches or streams when that was asked for.

        Args:
            batches: How many were run since the last call.
            interrupted: Whether a signal asks the training to stop, now.

        Returns:
            After how many batches to ask again.
        """
        return sys.maxsize

    def terminated_inside(self) -> None:
        """Called when a hook has ended the training within an epoch, once all hooks have seen the batch."""

    def epoch_done(self, epoch_data: EpochData, *, complete: bool) -> None:
        """Called when all hooks have seen an epoch.

        Args:
            epoch_data: What the hooks have left there.
            complete: Whether the training has ended with this epoch.
        """

    def epoch_interrupted(self) -> None:
        """Called after that, where a signal asks the training to stop."""

    def note(self, batches: int, epoch_id: int, data: EpochData) -> None:
        """Called when something is noted inside an epoch.

        Args:
            batches: Batches that were trained on so far.
            epoch_id: Number of the epoch in progress.
            data: Stream → variable → value.
        """

    def found_nan(self, stream: str, batch: int, epoch_id: int) -> None:
        """Called at the end of an epoch for every stream with a loss that was not a number.

        Args:
            stream: Name of the stream.
            batch: Number of its first such batch in the epoch, from 1.
            epoch_id: Number of the epoch.
        """
        if self.nan is None:
            self.nan = f"first in batch {batch} of stream {stream!r} in epoch {epoch_id}"
            logger.warning("The loss is NaN, %s", self.nan)

    def finish(self, error: BaseException | None) -> None:
        """Called at the end of an attempt, with the exception that ended it, if any."""


def outcome(error: BaseException | None) -> tuple[EndStatus, str, int]:
    """Status, reason and exit code of an attempt that an error, or nothing, has ended."""
    if error is None:
        return "done", "", 0
    if isinstance(error, STOPPED):
        return "stopped", str(error) or type(error).__name__, EXIT_STOPPED
    if isinstance(error, TrainingTerminated):
        return "done", str(error), 0
    if isinstance(error, SystemExit):
        return "stopped", "stopped at once", error.code if isinstance(error.code, int) else EXIT_FAILED
    code = error.exit_code if isinstance(error, EmloopError) else EXIT_FAILED
    return "failed", f"{type(error).__name__}: {error}", code
