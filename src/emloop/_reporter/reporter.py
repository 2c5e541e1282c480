"""What a main loop tells a reporter; this one shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emloop._contracts import Monitored
from emloop.types import Batch, EpochData

__all__ = ["Facts", "Reading", "Reporter"]


@dataclass(frozen=True)
class Facts:
    """What is known when the first batch is about to be read.

    Args:
        directory: The run directory, if there is one.
        paragraphs: What to say of the run; the items of a paragraph are kept whole where its lines are folded.
        monitored: Values that hooks watch, the most important one first.
        history: What earlier attempts have measured, stream → variable → value: lines with ``epoch_id`` or, of
            evaluations inside epochs, ``batches``.
        evaluates: Whether nothing is trained.
        next_commands: For a status (``done``, ``stopped``, ``failed``), what to type next.
    """

    directory: Path | None = None
    paragraphs: Sequence[Sequence[str]] = ()
    monitored: Sequence[Monitored] = ()
    history: Iterable[Mapping[str, Any]] = ()
    evaluates: bool = False
    next_commands: Callable[[str], Sequence[str]] = lambda _: ()


@dataclass(frozen=True)
class Reading:
    """A stream in progress.

    Args:
        stream: Its name.
        epoch_id: Number of the epoch.
        trains: Whether its batches train the model.
        total: Number of its batches in this epoch, if that is known.
        count: Tells how many of them were run; may be called from any thread.
        look_soon: Asks for :meth:`Reporter.saw` after the batch in progress; may be called from any thread.
    """

    stream: str
    epoch_id: int
    trains: bool
    total: int | None
    count: Callable[[], int]
    look_soon: Callable[[], None]


class Reporter:
    """Shows nothing."""

    def begin(self, facts: Facts) -> None:
        """Called when the hooks are ready, before the first batch."""

    def reading(self, reading: Reading) -> None:
        """Called when a stream begins."""

    def saw(self, outputs: Batch) -> None:
        """Called after a batch that somebody asked for, by :attr:`Reading.look_soon`."""

    def read(self) -> None:
        """Called when a stream has ended, however."""

    def epoch_done(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Called when all hooks have seen an epoch."""

    def evaluated(self, batches: int, epoch_data: EpochData) -> None:
        """Called when all hooks have seen an evaluation inside an epoch.

        Args:
            batches: How many batches have trained the model.
            epoch_data: What the hooks have left there.
        """

    def noted(self, data: EpochData) -> None:
        """Called when numbers were noted inside an epoch, as ``LogEvery`` does."""

    def end(self, status: str, reason: str) -> None:
        """Called at the end of an attempt.

        Args:
            status: ``done``, ``stopped`` or ``failed``.
            reason: Why, in words; may be empty.
        """
