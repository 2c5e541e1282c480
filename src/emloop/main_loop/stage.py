"""How far an epoch has come: what a commit inside it keeps, beside the states of streams, model and hooks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from emloop._state.kinds import check_state
from emloop.errors import CannotResumeError, StateError
from emloop.types import StateTree

from .checks import StreamChecks

__all__ = ["Stage", "place_in"]

logger = logging.getLogger(__name__)


@dataclass
class Stage:
    """The streams of an epoch, and which of them have ended.

    Args:
        streams: Names of the streams, in the order in which they are run.
        trained: How many of them, the first ones, train the model.
        done: How many have ended.
        first_nans: Ended stream → number of its first batch whose loss was not a number.
        checks: Of the stream in progress; ``None`` between two streams.
        around: The epoch inside of which this is an evaluation; ``None`` for an epoch.
        random: The state of the global generators with which that epoch goes on.
    """

    streams: Sequence[str]
    trained: int
    done: int = 0
    first_nans: dict[str, int] = field(default_factory=dict)
    checks: StreamChecks | None = None
    _inside: StateTree = None
    around: Stage | None = None
    random: StateTree = None

    @property
    def epoch(self) -> Stage:
        """The epoch that this is, or is a part of."""
        return self if self.around is None else self.around

    kind: ClassVar = {
        "streams": [str, ...],
        "trained": int,
        "done": int,
        "nan": {str: int},
        "inside": ({"passed": int, "empty": int, "first_nan": int}, None),
        "around": object,
        "random": object,
    }
    """Of its state."""

    @property
    def in_progress(self) -> str | None:
        """Name of the stream that has begun and not ended; ``None`` between two."""
        return self.streams[self.done] if self.checks is not None or self._inside is not None else None

    @property
    def trains(self) -> bool:
        """Whether the stream in progress, or the next one, trains the model."""
        return self.done < self.trained

    @property
    def evaluated(self) -> str | None:
        """Name of the stream whose evaluation has begun and not ended."""
        return None if self.trains else self.in_progress

    def begin(self, checks: StreamChecks) -> None:
        """Begin with the next stream, or go on inside it."""
        self.checks = checks
        if self._inside is not None:
            checks.load(self._inside)
            self._inside = None

    def end(self) -> None:
        """End the stream in progress."""
        self.first_nans = self.nans()
        self.checks = None
        self.done += 1

    def nans(self) -> dict[str, int]:
        """``first_nans`` with that of the stream in progress."""
        number = int(self.checks.first_nan or 0) if self.checks is not None else 0
        return self.first_nans | ({self.streams[self.done]: number} if number else {})

    def state(self) -> StateTree:
        """As a state tree."""
        inside = self._inside if self.checks is None else self.checks.state()
        return {
            "streams": list(self.streams),
            "trained": self.trained,
            "done": self.done,
            "nan": dict(self.first_nans),
            "inside": inside,
            "around": None if self.around is None else self.around.state(),
            "random": self.random,
        }

    def where(self) -> tuple[str, int]:
        """The stream in progress, or else the next one, and how many of its batches were run."""
        checks = self.checks
        passed = checks.passed if checks is not None else 0 if self._inside is None else self._inside["passed"]
        return self.streams[self.done], passed

    @classmethod
    def restored(cls, state: StateTree) -> Stage:
        """What :meth:`state` returned.

        Raises:
            StateError: If it is something else, or there is no such place.
        """
        check_state("epoch", state, cls.kind)
        streams, trained, done = state["streams"], state["trained"], state["done"]
        if done >= len(streams) or trained > len(streams):
            raise StateError(f"there are {len(streams)} streams, of which {trained} train and {done} have ended")
        around = None if state["around"] is None else cls.restored(state["around"])
        return cls(streams, trained, done, state["nan"], None, state["inside"], around, state["random"])

    def require(self, streams: Sequence[str], trained: int) -> None:
        """
        Raises:
            CannotResumeError: If the epoch has other streams than it began with.
        """
        if (list(streams), trained) != (list(self.streams), self.trained):
            raise CannotResumeError(
                f"the run stopped inside an epoch over the streams {', '.join(self.streams)}, which cannot go on over "
                f"{', '.join(streams)}; finish it first, with the configuration as it was"
            )


def place_in(epochs_done: int, stage: Stage | None) -> str:
    """Where a training is, in words: between two epochs, or inside one."""
    if stage is None:
        return f"epoch {epochs_done}"
    stream, batches = stage.where()
    return f"batch {batches} of stream {stream!r} in epoch {epochs_done + bool(stage.epoch.trained)}"
