"""Looking closely at single training batches: traces for ``chrome://tracing`` or https://ui.perfetto.dev."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from emloop.errors import ConfigError
from emloop_torch._classes import read_keys

__all__ = ["Profiling"]

_FOLDER = "profile"
_DEFAULTS = {"keep": 5, "every": 100}


class Profiling:
    """Writes ``profile/trace-<batch>.json`` into the run directory every so many training batches.

    Args:
        directory: The run directory.
        keep: Number of traces to keep, the newest ones.
        every: Number of training batches from one to the next.
    """

    def __init__(self, directory: Path, keep: int, every: int) -> None:
        self._directory = directory / _FOLDER
        self._keep = keep
        self._every = every

    @classmethod
    def read(cls, description: Any, log_dir: str | None) -> Profiling | None:
        """What the key ``profile`` describes: ``{keep: 5, every: 100}``; nothing without a run directory.

        Raises:
            ConfigError: If it describes nothing possible.
        """
        if description is None or description is False:
            return None
        described = {} if description is True else description
        accepted = dict.fromkeys(_DEFAULTS, False)
        values = {**_DEFAULTS, **read_keys("profile", described, accepted, "{keep: 5, every: 100}")}
        for key, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"profile: {key}: expected a number of at least 1, got {value!r}")
        return None if log_dir is None else cls(Path(log_dir), **values)

    def due(self, batch: int) -> bool:
        """Whether to look at this training batch."""
        return batch % self._every == 0

    @contextmanager
    def of(self, batch: int) -> Iterator[None]:
        """Around the work of a batch."""
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        with torch.profiler.profile(activities=activities) as profiler:
            yield
        self._directory.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(self._directory / f"trace-{batch:08d}.json"))
        for path in sorted(self._directory.glob("trace-*.json"))[: -self._keep]:
            path.unlink()
