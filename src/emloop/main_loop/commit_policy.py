"""When a commit is made, and which are kept: ``main_loop.commit``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated, Any, Literal, Self, TypeAlias

from emloop._settings.reading import read_settings
from emloop._state import commit as checkpoints
from emloop._support.intervals import Interval, parse_interval
from emloop.declare import Every, Limits
from emloop.types import Objective

__all__ = ["Best", "Commit", "CommitPolicy", "Keep", "Looks", "value_of"]

_SHARE = 100
"""A commit may take a hundredth of the time."""

_SOONEST = 1.0
"""Seconds from one commit to the next within an epoch."""

_PACE = 0.2
"""Seconds between two looks at the clock."""


_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

Epochs: TypeAlias = Annotated[str, Limits(pattern=r"0*[1-9][0-9]*ep", words="a number of epochs such as 10ep")]
Size: TypeAlias = Annotated[
    int | str,
    Limits(
        pattern=r"([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)(kB|MB|GB|TB)?",
        words="a number of bytes such as 20GB",
    ),
]


@dataclass(frozen=True)
class Best:
    """The section ``main_loop.commit.keep.best``: by which value of ``epoch_data`` a commit is the best.

    Args:
        variable: Name of the variable.
        condition: Whether smaller (``min``) or larger (``max``) is better.
        stream: Name of the stream.
        aggregation: Which of the variable's aggregations counts; a plain number counts as any.
    """

    variable: str = "loss"
    condition: Objective = "min"
    stream: str = "valid"
    aggregation: str = "mean"

    def value(self, metrics: Mapping[str, Any]) -> float | None:
        """The value after an epoch, the smaller the better; ``None`` if there is none.

        Args:
            metrics: The scalars of the epoch: stream → variable → number, or aggregation → number.
        """
        found = metrics.get(self.stream, {}).get(self.variable)
        value = found.get(self.aggregation) if isinstance(found, Mapping) else found
        if not isinstance(value, (int, float)) or math.isnan(value):
            return None
        return float(value) if self.condition == "min" else -float(value)


@dataclass(frozen=True)
class Keep:
    """The section ``main_loop.commit.keep``.

    Args:
        last: Number of newest commits to keep.
        every: Of so many epochs, the first commit is kept.
        best: By which value the best commit is chosen, which is kept. An epoch that is better than all before is always
            committed.
        bytes: What all commits together may take: of those kept for good the oldest go first, the best one last. The
            two newest stay in any case, and while one is written, it is there in addition.
    """

    last: Annotated[int, Limits(minimum=2)] = 2
    every: Epochs | None = None
    best: Best | None = None
    bytes: Size | None = None

    def chosen(self, commits: Sequence[checkpoints.Commit]) -> list[checkpoints.Commit]:
        """The commits to keep, of those there are, newest first."""
        best = min(
            (commit for commit in reversed(commits) if value_of(commit) is not None),
            key=lambda commit: value_of(commit) or 0.0,
            default=None,
        )
        stays = {commit.seq for commit in commits[: self.last]}
        if self.best is not None and best is not None:
            stays.add(best.seq)
        if self.every is not None:
            period = int(self.every.removesuffix("ep"))
            first = {commit.entry("epoch", int) // period: commit.seq for commit in commits}  # the oldest comes last
            first.pop(0, None)
            stays.update(first.values())
        kept = [commit for commit in commits if commit.seq in stays]
        excess = sum(commit.own_bytes for commit in kept) - self.limit
        for commit in sorted(kept[2:], key=lambda commit: (commit is best, commit.seq)):
            if excess <= 0:
                break
            kept.remove(commit)
            excess -= commit.own_bytes
        return kept

    @property
    def limit(self) -> float:
        """``bytes`` as a number."""
        if self.bytes is None:
            return math.inf
        number = str(self.bytes).rstrip("".join(_UNITS))
        return float(number) * _UNITS[str(self.bytes).removeprefix(number)]


@dataclass(frozen=True)
class Commit:
    """The section ``main_loop.commit``.

    Args:
        every: Interval between two commits. ``auto``: when the time since the last one exceeds a hundred times what a
            commit takes, so that at most 1 % goes into commits.
        keep: Number of newest commits to keep, or which commits: ``{last: 2, every: 10ep, best: {}, bytes: 20GB}``.
    """

    every: Literal["auto"] | Every = "auto"
    keep: Annotated[int, Limits(minimum=2)] | Keep = 2


@dataclass(frozen=True)
class CommitPolicy:
    """When to commit, and which commits to keep.

    Args:
        every: Interval between two commits; ``None`` for ``auto``.
        keep: Which commits to keep.
    """

    every: Interval | None = None
    keep: Keep = field(default_factory=Keep)

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
            commit.keep if isinstance(commit.keep, Keep) else Keep(commit.keep),
        )

    def due(self, *, epochs: int, batches: int, samples: int, seconds: float, cost: float) -> bool:
        """Whether to commit now.

        Args:
            epochs: Epochs since the last commit; within one, 0 count.
            batches: Training batches since the last commit.
            samples: Examples in them; only counted where the interval does.
            seconds: Time since the last commit.
            cost: Seconds of the loop that the last commit took; 0 before the first.
        """
        if self.every is None:
            return seconds >= max(_SHARE * cost, 0 if epochs else _SOONEST)
        done = {"epochs": epochs, "batches": batches, "samples": samples, "seconds": seconds}
        return done[self.every.unit] >= self.every.amount


def value_of(commit: checkpoints.Commit) -> float | None:
    """What :meth:`Best.value` said of a commit; ``None`` if nothing."""
    value = commit.info.get("value")
    return value if isinstance(value, float) else None


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
