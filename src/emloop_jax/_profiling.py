"""Looking closely at single training batches: traces for TensorBoard or https://ui.perfetto.dev."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jax

from emloop.declare import Positive

__all__ = ["Profile", "Profiling"]

_FOLDER = "profile"


@dataclass(frozen=True)
class Profile:
    """The key ``profile``.

    Args:
        keep: Number of traces to keep, the newest ones.
        every: Number of training batches from one to the next.
    """

    keep: Positive = 5
    every: Positive = 100


class Profiling:
    """Writes ``profile/trace-<batch>/`` into the run directory every so many training batches.

    Args:
        directory: The run directory.
        profile: How many to keep, and how often.
    """

    def __init__(self, directory: Path, profile: Profile) -> None:
        self._directory = directory / _FOLDER
        self._keep, self._every = profile.keep, profile.every

    @classmethod
    def asked_for(cls, profile: bool | Profile | None, log_dir: str | None) -> Self | None:
        """What the key ``profile`` asks for; ``None`` for nothing, or without a run directory."""
        if not profile or log_dir is None:
            return None
        return cls(Path(log_dir), profile if isinstance(profile, Profile) else Profile())

    @contextmanager
    def of(self, batch: int) -> Iterator[list[Any]]:
        """Around the work of a training batch; what is put into the list is waited for. Most are left alone."""
        results: list[Any] = []
        if batch % self._every:
            yield results
            return
        with jax.profiler.trace(str(self._directory / f"trace-{batch:08d}")):
            yield results
            jax.block_until_ready(results)
        for path in sorted(self._directory.glob("trace-*"))[: -self._keep]:
            shutil.rmtree(path)
