"""What ``train --dry-run`` shows of the batches that it has run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from emloop._contracts import AbstractHook, Stateful
from emloop.saved_models import saved_model_path, write_saved_model
from emloop.types import Batch, EpochData, TimeProfile

from ..render import aligned

__all__ = ["FirstBatches", "save_state"]


class FirstBatches(AbstractHook):
    """Remembers what the streams of the last epoch were like."""

    stateless = True
    reads = writes = ()
    only_sums_times = True

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, Batch] = {}
        self._counts: dict[str, list[int]] = {}
        self._reading: dict[str, float] = defaultdict(float)
        self._running: dict[str, float] = {}

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Count the batch; keep the first one."""
        self._first.setdefault(stream_name, dict(batch_data))
        counts = self._counts.setdefault(stream_name, [0, 0])
        counts[0] += 1
        counts[1] += len(next(iter(batch_data.values())))

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:  # noqa: ARG002 - an event
        """Forget the zeroth epoch, which the first one repeats."""
        if epoch_id == 0:
            self._first.clear()
            self._counts.clear()

    def after_epoch_profile(self, epoch_id: int, profile: TimeProfile, streams: Sequence[str]) -> None:  # noqa: ARG002
        """Keep the times; batches are read once, whichever epoch that is in."""
        for name in streams:
            self._reading[name] += sum(profile.get(f"read_batch_{name}", ()))
            self._running[name] = sum(profile.get(f"eval_batch_{name}", ()))

    def told(self) -> str:
        """A table of the streams, and one of the variables in their first batches, outputs included."""
        streams = [
            (
                *(name, str(batches), str(examples), _loss(self._first[name])),
                *(f"{seconds[name]:.3f} s" for seconds in (self._reading, self._running)),
            )
            for name, (batches, examples) in self._counts.items()
        ]
        variables = [
            (stream, name, *_described(value)) for stream, batch in self._first.items() for name, value in batch.items()
        ]
        heads = ("stream", "batches", "examples", "first loss", "reading", "running")
        return f"{aligned([heads, *streams])}\n\n{aligned([('stream', 'variable', 'dtype', 'shape'), *variables])}"


def save_state(model: Stateful, output_dir: str, name_suffix: str) -> str:
    """Save no more of a model than its state, in place of its own ``save``."""
    return write_saved_model(
        saved_model_path(output_dir, name_suffix),
        backend=type(model).__module__.partition(".")[0],
        restore_fallback=None,
        inputs={},
        outputs={},
        tree=model.state_dict(),
        rung="weights",
    )


def _loss(batch: Batch) -> str:
    if "loss" not in batch:
        return ""
    loss: Any = batch["loss"]
    try:
        return f"{np.mean([float(value) for value in loss]):.4g}"
    except (TypeError, ValueError):
        return ""


def _described(value: Any) -> tuple[str, str]:
    """Dtype and shape; of what is no array, the class of the first example, and their number."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return str(value.dtype).removeprefix("torch."), str([*value.shape])
    return type(value[0]).__name__ if len(value) else type(value).__name__, str([len(value)])
