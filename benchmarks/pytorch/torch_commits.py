"""How long does a PyTorch training wait for a commit of its state?

Parameters and the moments of Adam, in trainings whose commits are timed from the call to the next batch; as share of a
plain durable write of as many bytes in the same turn. The memory of the first commit is touched in a thread before it
is due; later ones find it there. Asked: at most 0.2, of all of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

import emloop as el
import emloop_torch
from emloop.api import create_emloop_training
from emloop.main_loop.run_record import RunRecord

from ..figures import Figure, figure

COPIES = 3
"""Of every parameter: itself and two moments."""

LAYERS = 16


class Data(el.BaseDataset):
    """One batch, until enough was committed."""

    def _configure_dataset(self, output_dir: str | None = None, **kwargs: Any) -> None:
        self.ended = False

    def train_stream(self) -> Iterator[Any]:
        """Batches of one number."""
        while not self.ended:
            yield {"x": np.ones((2, 1), np.float32)}


class Layers(nn.Module):
    """So many megabytes of parameters in layers."""

    def __init__(self, megabytes: float) -> None:
        super().__init__()
        numbers = int(megabytes * 1e6 / 4 / LAYERS)
        self.layers = nn.ParameterList([nn.Parameter(torch.ones(numbers)) for _ in range(LAYERS)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A number for each example, of all parameters."""
        total: torch.Tensor = sum(layer.sum() for layer in self.layers)
        return x[:, 0] * total


class Model(emloop_torch.BaseModel):
    """Its loss is its output."""

    def create_model(self, megabytes: float = 1) -> nn.Module:
        """The layers."""
        return Layers(megabytes)

    def compute(self, batch: Any) -> Any:
        """The loss."""
        return {"loss": self.module(batch["x"])}


def config(megabytes: float, every: str) -> dict[str, Any]:
    """A training of one epoch."""
    return {
        "dataset": {"class": f"{__name__}.Data"},
        "model": {
            "class": f"{__name__}.Model",
            "name": "m",
            "inputs": ["x"],
            "outputs": ["loss"],
            "optimizer": {"class": "Adam", "learning_rate": 1e-7},
            "megabytes": megabytes / COPIES,
        },
        "main_loop": {"seed": 1, "epochs_count": 1, "skip_zeroth_epoch": True, "commit": {"every": every}},
    }


def stall(megabytes: float, every: str, repetitions: int, directory: Path) -> list[Figure]:
    """Train, and write as many bytes plainly before every commit."""
    stalls: list[float] = []
    writes: list[float] = []
    data = np.ones(int(megabytes * 1e6), np.uint8)
    training = create_emloop_training(config(megabytes, every), str(directory), output_dir_name=f"{megabytes:g}")
    dataset: Any = training.dataset
    committed = RunRecord._write

    def timed(record: RunRecord, **how: Any) -> None:
        if dataset.ended:
            committed(record, **how)
            return
        record._writer.wait()
        path, started = directory / "plain", monotonic()
        with path.open("wb") as file:
            file.write(data.data)
            file.flush()
            os.fsync(file.fileno())
        writes.append(monotonic() - started)
        path.unlink()
        started = monotonic()
        committed(record, **how)
        stalls.append(monotonic() - started)
        dataset.ended = len(stalls) > repetitions

    with mock.patch.object(RunRecord, "_write", timed):
        training.main_loop.run_training()
    of, write = f"{megabytes:g} MB", "a plain durable write"
    return [
        figure(f"stall of the first commit, {of}", "s", stalls[:1], write, writes[:1], 0.2),
        figure(f"stall of later ones, {of}", "s", stalls[1:], write, writes[1:], 0.2),
    ]


def measure(quick: bool) -> list[Figure]:
    """Small states and large ones."""
    sizes, every, repetitions = ((1,), "2", 1) if quick else ((50, 400), "3s", 5)
    with tempfile.TemporaryDirectory() as name:
        return [one for size in sizes for one in stall(size, every, repetitions, Path(name).resolve())]
