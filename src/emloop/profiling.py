"""Traces of single training batches, in the run directory; for backends, which say how their framework traces.

.. code-block:: python

    self._profiling = Profiling.asked_for(settings.profile, log_dir, jax.profiler.trace)

    with self._profiling.of(batch):
        outputs = step(batch)
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from emloop.declare import Positive

__all__ = ["Profile", "Profiling", "Tracer"]

Tracer: TypeAlias = Callable[[str], AbstractContextManager[Any]]
"""Traces what happens inside the block into a path, which may get a suffix, and be a file or a directory."""


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
    """Writes ``profile/trace-<batch>`` into the run directory every so many training batches.

    Args:
        log_dir: The run directory.
        profile: How many to keep, and how often.
        trace: How the framework traces.
    """

    def __init__(self, log_dir: str, profile: Profile, trace: Tracer) -> None:
        self._directory = Path(log_dir, "profile")
        self._profile, self._trace = profile, trace

    @classmethod
    def asked_for(cls, profile: bool | Profile | None, log_dir: str | None, trace: Tracer) -> Self | None:
        """What the key ``profile`` asks for; ``None`` for nothing, or without a run directory."""
        if not profile or log_dir is None:
            return None
        return cls(log_dir, profile if isinstance(profile, Profile) else Profile(), trace)

    @contextmanager
    def of(self, batch: int) -> Iterator[bool]:
        """Enter around the work of a training batch; tells whether it is traced, which most are not."""
        if batch % self._profile.every:
            yield False
            return
        self._directory.mkdir(exist_ok=True)
        with self._trace(str(self._directory / f"trace-{batch:08d}")):
            yield True
        for old in sorted(self._directory.glob("trace-*"))[: -self._profile.keep]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
