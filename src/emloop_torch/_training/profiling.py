"""Looking closely at a single training batch: a trace for ``chrome://tracing`` or https://ui.perfetto.dev."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.profiler import ProfilerActivity

__all__ = ["traced"]


@contextmanager
def traced(path: str) -> Iterator[None]:
    """Write ``<path>.json``, unless the work inside the block fails."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        yield
    profiler.export_chrome_trace(f"{path}.json")
