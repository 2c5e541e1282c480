"""What do later saves of a PyTorch model cost, beside writing the same bytes?

For a perceptron with Adam, about 100 MB of state: saves after the first, each with other weights, and a durable write
of the bytes that they leave behind (files and directory, both synchronised), in turn.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop_torch

from ..figures import Figure, figure

CONFIG = {
    "inputs": ["points", "labels"],
    "outputs": ["loss"],
    "device": "cpu",
    "optimizer": {"class": "Adam", "learning_rate": 1e-3},
    "saved_model": {"shadow": 0},
}


class Perceptron(nn.Module):
    """Eight layers of a width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Linear(width, width) for _ in range(8)))

    def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """A loss for every example."""
        return {"loss": functional.cross_entropy(self.body(points), labels, reduction="none")}


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall time and CPU time of a call."""
    started = perf_counter(), process_time()
    call()
    return perf_counter() - started[0], process_time() - started[1]


def written(path: Path, content: bytes) -> None:
    """Write a file that a power cut leaves whole or not there."""
    handle, scratch = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def measure(quick: bool) -> list[Figure]:
    """Saves and writes in turn."""
    width, turns = (16, 1) if quick else (1024, 5)
    rng = np.random.default_rng(0)
    batch = {"points": rng.normal(size=(4, width)).astype("float32"), "labels": rng.integers(0, width, 4)}
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: Perceptron(width)})
    with tempfile.TemporaryDirectory() as directory, patch.dict(os.environ, EMLOOP_CACHE=f"{directory}/cache"):
        model = model_class(None, directory, **CONFIG)
        model.run(batch, train=True)
        saved = Path(model.save("best"))
        saves, writes = [], []
        for _ in range(turns):
            model.run(batch, train=True)
            saves.append(seconds(lambda: model.save("best")))
            contents = {Path(directory, path.name): path.read_bytes() for path in saved.glob("model-*")}
            writes.append(seconds(lambda: [written(*one) for one in contents.items()]))  # noqa: B023 - called at once
    size = sum(map(len, contents.values())) / 1e6
    return [
        figure(f"save of {size:.3g} MB, {clock}", "s", [one[at] for one in saves], "write", [one[at] for one in writes])
        for at, clock in enumerate(("wall", "CPU"))
    ]
