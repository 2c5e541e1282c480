"""What does it cost that a PyTorch model needs no source?

For a perceptron, a convolutional network and a transformer, in seconds: the first save (export, verification), later
saves, restoring with and without source, and the first batch of what was restored; and the time of a training step of
the live module and of the restored program, interleaved, as a ratio.

    python benchmarks/torch_programs.py [--steps 60]

Measured on two busy cores, PyTorch 2.13.0 on the CPU, one thread: see the table in ``RESULTS``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop_torch

RESULTS = """
              first save later save with source without source first batch  step ms  program ms   ratio      KiB
perceptron           0.69      0.024        0.004           0.009         0.05      0.59        0.77    1.30       41
convolutional        1.03      0.025        0.006           0.012         0.07     11.18       10.99    0.98      104
transformer          3.29      0.024        0.012           0.029         0.29     20.38       20.88    1.02      414
"""

CONFIG = {"inputs": ["images", "labels"], "outputs": ["loss", "accuracy"], "device": "cpu"}


class Classifier(nn.Module):
    """Ten classes of images of 28 × 28 pixels."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores and classes."""
        logits = self.body(images)
        return {"logits": logits, "predictions": logits.argmax(1)}

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same, with loss and accuracy."""
        outputs = self.predict(images)
        loss = functional.cross_entropy(outputs["logits"], labels, reduction="none")
        return {**outputs, "loss": loss, "accuracy": (outputs["predictions"] == labels).float()}


def perceptron() -> nn.Module:
    """85k parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 106), nn.ReLU(), nn.Dropout(0.2), nn.Linear(106, 10))


def convolutional() -> nn.Module:
    """207k parameters."""
    first = [nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Dropout(0.5), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10))


class Transformer(nn.Module):
    """Rows of an image as tokens; 110k parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(28, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of ten classes."""
        return self.head(self.layers(self.into(images)).mean(1))


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "perceptron": perceptron,
    "convolutional": convolutional,
    "transformer": Transformer,
}


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call takes, and what it returns."""
    started = perf_counter()
    result = call()
    return perf_counter() - started, result


def measure(name: str, steps: int) -> str:
    """One line of the table."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(32, 28, 28)).astype(np.float32)
    batch = {"images": images, "labels": rng.integers(0, 10, 32)}
    with tempfile.TemporaryDirectory() as directory:
        model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: Classifier(MODELS[name]())})
        live = model_class(None, directory, **CONFIG)
        live.run(batch, train=True)
        first, path = seconds(lambda: live.save("first"))
        later = statistics.median(seconds(lambda: live.save("later"))[0] for _ in range(5))
        with_source, _ = seconds(lambda: model_class(None, None, path, **CONFIG))
        without, restored = seconds(lambda: emloop_torch.BaseModel(None, None, path, **CONFIG))
        loaded, _ = seconds(lambda: restored.run(batch, train=True))
        times: dict[Any, list[float]] = {live: [], restored: []}
        for _ in range(steps):
            for model, taken in times.items():
                taken.append(seconds(lambda model=model: model.run(batch, train=True))[0])
        size = sum(file.stat().st_size for file in Path(path, "program").iterdir())
    step, restored_step = (1000 * statistics.median(taken) for taken in times.values())
    return (
        f"{name:14}{first:11.2f}{later:11.3f}{with_source:13.3f}{without:16.3f}{loaded:13.2f}"
        f"{step:10.2f}{restored_step:12.2f}{restored_step / step:8.2f}{size / 1024:9.0f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="training steps to take the median of")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    columns = ("first save", "later save", "with source", "without source", "first batch")
    print(" " * 13, *columns, " step ms  program ms   ratio      KiB")
    for name in MODELS:
        print(measure(name, steps), flush=True)


if __name__ == "__main__":
    main()
