"""What does it cost to make a PyTorch model independent of its source?

For a perceptron, a convolutional network and a transformer, in seconds: what the first save of a run pays for its
program (exporting it and comparing it with the live module); every save; restoring with and without source, and the
first batch of the model restored without. Then, in milliseconds, a training step of the live module and of the restored
program, interleaved, and their ratio; and the size of the program.

    python benchmarks/torch_programs.py [--steps 60]

Measured on two cores, PyTorch 2.13.0 on the CPU, one thread: see the table in ``RESULTS``.
"""

from __future__ import annotations

import argparse
import os
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
               export  compare  save  with source  without source  first batch  step ms  program ms  ratio  KiB
perceptron       0.44     0.11 0.005        0.004           0.005        0.036     0.59        0.77   1.29   41
convolutional    0.68     0.30 0.010        0.006           0.008        0.067     9.18        9.68   1.05  104
transformer      1.60     1.20 0.010        0.008           0.020         0.27    19.92       20.45   1.03  415
"""

SECONDS = ("export", "compare", "save", "with source", "without source", "first batch")
COLUMNS = (*SECONDS, "step ms", "program ms", "ratio", "KiB")

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
    """Takes the rows of an image as tokens; 110k parameters."""

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
    """Duration of a call in seconds, and what it returns."""
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
        live, second = (model_class(None, directory, **CONFIG) for _ in range(2))
        for model in (live, second):
            model.run(batch, train=True)
        first, path = seconds(lambda: live.save("first"))
        save = statistics.median(seconds(lambda: live.save("later"))[0] for _ in range(5))
        # As after a resume: the program exists and is compared again.
        verified, _ = seconds(lambda: second.save("later"))
        with_source, _ = seconds(lambda: model_class(None, None, path, **CONFIG))
        without, restored = seconds(lambda: emloop_torch.BaseModel(None, None, path, **CONFIG))
        loaded, _ = seconds(lambda: restored.run(batch, train=True))
        times: dict[Any, list[float]] = {live: [], restored: []}
        for _ in range(steps):
            for model, taken in times.items():
                taken.append(seconds(lambda model=model: model.run(batch, train=True))[0])
        size = sum(file.stat().st_size for file in Path(path, "program").iterdir())
    step, restored_step = (1000 * statistics.median(taken) for taken in times.values())
    numbers = (first - verified, verified - save, save, with_source, without, loaded, step, restored_step)
    shown = [f"{number:.{3 if number < 0.1 else 2}f}" for number in numbers]
    return line(name, *shown, f"{restored_step / step:.2f}", f"{size / 1024:.0f}")


def line(name: str, *values: str) -> str:
    """One line of the table, or its head."""
    return f"{name:13}" + "".join(f"{value:>{len(column) + 2}}" for column, value in zip(COLUMNS, values, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="training steps to take the median of")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    os.environ["EMLOOP_CACHE"] = "off"
    print(line("", *COLUMNS))
    for name in MODELS:
        print(measure(name, steps), flush=True)


if __name__ == "__main__":
    main()
