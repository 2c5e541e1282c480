"""When a commit is made, and how many are kept: ``main_loop.commit``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from emloop._support.intervals import Interval, parse_interval
from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError, Problem

__all__ = ["CommitPolicy"]

_SHARE = 100
"""A commit may take a hundredth of the time."""


@dataclass(frozen=True)
class CommitPolicy:
    """When to commit, and how many commits to keep.

    Args:
        every: Interval between two commits; ``None`` for ``auto``: when the time since the last one exceeds a hundred
            times what a commit takes, so that at most 1 % goes into commits.
        keep: Number of commits to keep, at least 2.
    """

    every: Interval | None = None
    keep: int = 2

    @classmethod
    def parse(cls, config: Mapping[str, Any] | None) -> Self:
        """Read ``main_loop.commit``.

        Raises:
            ConfigError: If a key or a value is not understood.
        """
        config = config or {}
        if not isinstance(config, Mapping):
            raise ConfigError(f"main_loop.commit: expected a mapping such as {{every: 10min}}, got {config!r}")
        for key in config:
            if key not in _KEYS:
                hints = (*did_you_mean(str(key), _KEYS), f"main_loop.commit takes: {', '.join(_KEYS)}")
                raise ConfigError(Problem(f"unknown argument {key!r}", "main_loop.commit", hints=hints))
        every, keep = config.get("every", "auto"), config.get("keep", cls.keep)
        if not isinstance(keep, int) or keep < cls.keep:
            raise ConfigError(f"main_loop.commit.keep: expected a number of at least {cls.keep}, got {keep!r}")
        return cls(None if every == "auto" else parse_interval(every, argument="main_loop.commit.every"), keep)

    def due(self, *, epochs: int, batches: int, seconds: float, stall: float) -> bool:
        """Whether to commit now.

        Args:
            epochs: Epochs since the last commit.
            batches: Training batches since the last commit.
            seconds: Time since the last commit.
            stall: Seconds that the last commit took; 0 before the first.
        """
        if self.every is None:
            return seconds >= _SHARE * stall
        return {"epochs": epochs, "batches": batches, "seconds": seconds}[self.every.unit] >= self.every.amount


_KEYS = ("every", "keep")
