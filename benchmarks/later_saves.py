"""What do later saves of a PyTorch model cost, beside writing the same bytes?

For a perceptron with Adam, about 100 MB of state: saves after the first, each with other weights, and a durable write
of the bytes that they leave behind (files and directory, both synchronised), in turn; medians.

    python benchmarks/later_saves.py [--rounds 5]

Measured on two cores, PyTorch 2.13.0 on the CPU, one thread: see ``RESULTS``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop_torch

RESULTS = """
101 MB: written in 300 ms, saved in 443 ms (1.47 x; CPU 218 ms beside 57 ms), of which the state's copy took 50, the
removal of the older state 77; 4.42 x where the parts of the state were joined, and hashed three times before a write
"""

CONFIG = {
    "inputs": ["points", "labels"],
    "outputs": ["loss"],
    "device": "cpu",
    "optimizer": {"class": "Adam", "learning_rate": 1e-3},
    "saved_model": {"shadow": 0},
}


class Perceptron(nn.Module):
    """Eight layers of a width."""

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Linear(width, width) for _ in range(8)))

    def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """A loss for every example."""
        return {"loss": functional.cross_entropy(self.body(points), labels, reduction="none")}


def seconds(call: Callable[[], Any]) -> np.ndarray[Any, Any]:
    """Wall time and CPU time of a call."""
    started = perf_counter(), process_time()
    call()
    return np.array([perf_counter() - started[0], process_time() - started[1]])


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


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    batch = {"points": rng.normal(size=(4, 1024)).astype("float32"), "labels": rng.integers(0, 1024, 4)}
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: Perceptron()})
    with tempfile.TemporaryDirectory() as directory:
        os.environ["EMLOOP_CACHE"] = str(Path(directory, "cache"))
        model = model_class(None, directory, **CONFIG)
        model.run(batch, train=True)
        saved = Path(model.save("best"))
        saves, writes = [], []
        for _ in range(rounds):
            model.run(batch, train=True)
            saves.append(seconds(lambda: model.save("best")))
            contents = [path.read_bytes() for path in saved.glob("model-*")]
            writes.append(
                seconds(lambda: [written(Path(directory, f"{n}.bin"), c) for n, c in enumerate(contents)])  # noqa: B023
            )
        size = sum(map(len, contents)) / 1e6
    one, other = ([median(column) for column in zip(*found, strict=True)] for found in (saves, writes))
    print(f"{size:.0f} MB: written in {other[0] * 1e3:.0f} ms, saved in {one[0] * 1e3:.0f} ms ", end="")
    print(f"({one[0] / other[0]:.2f} x; CPU {one[1] * 1e3:.0f} ms beside {other[1] * 1e3:.0f} ms)")


if __name__ == "__main__":
    main()
