"""When a commit is made, and how many are kept: ``main_loop.commit``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Literal, Self

from emloop._settings.reading import read_settings
from emloop._support.intervals import Interval, parse_interval
from emloop.declare import Every, Limits

__all__ = ["Commit", "CommitPolicy", "Looks"]

_SHARE = 100
"""A commit may take a hundredth of the time."""

_SOONEST = 1.0
"""Seconds from one commit to the next within an epoch."""

_PACE = 0.2
"""Seconds between two looks at the clock."""


@dataclass(frozen=True)
class Commit:
    """The section ``main_loop.commit``.

    Args:
        every: Interval between two commits. ``auto``: when the time since the last one exceeds a hundred times what a
            commit takes, so that at most 1 % goes into commits.
        keep: Number of commits to keep.
    """

    every: Literal["auto"] | Every = "auto"
    keep: Annotated[int, Limits(minimum=2)] = 2


@dataclass(frozen=True)
class CommitPolicy:
    """When to commit, and how many commits to keep.

    Args:
        every: Interval between two commits; ``None`` for ``auto``.
        keep: Number of commits to keep, at least 2.
    """

    every: Interval | None = None
    keep: int = 2

    @classmethod
    def parse(cls, config: Commit | Mapping[str, Any] | None) -> Self:
        """Read ``main_loop.commit``.

        Raises:
            ConfigError: If a key or a value is not understood.
        """
        commit = config
        if not isinstance(commit, Commit):
            commit = read_settings(Commit, commit or {}, owner="main_loop.commit", keys=("main_loop", "commit"))
        return cls(
            None if commit.every == "auto" else parse_interval(commit.every, argument="main_loop.commit.every"),
            commit.keep,
        )

    def due(self, *, epochs: int, batches: int, seconds: float, cost: float) -> bool:
        """Whether to commit now.

        Args:
            epochs: Epochs since the last commit; within one, 0 count.
            batches: Training batches since the last commit.
            seconds: Time since the last commit.
            cost: Seconds of the loop that the last commit took; 0 before the first.
        """
        if self.every is None:
            return seconds >= max(_SHARE * cost, 0 if epochs else _SOONEST)
        return {"epochs": epochs, "batches": batches, "seconds": seconds}[self.every.unit] >= self.every.amount


class Looks:
    """After how many batches to look at the clock again, so that nobody asks for it after every single one."""

    def __init__(self) -> None:
        self._at = monotonic()

    def next(self, batches: int) -> int:
        """Number of batches that take about a fifth of a second, at most twice as many as the last ones.

        Args:
            batches: How many were run since the last look.
        """
        before, self._at = self._at, monotonic()
        return max(1, min(int(batches * _PACE / max(self._at - before, 1e-6)), 2 * batches))
