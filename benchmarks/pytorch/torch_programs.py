"""What does it cost to make a PyTorch model independent of its source?

For a perceptron, a convolutional network and a transformer, in seconds: what the first save of a run pays for its
program (exporting it and comparing it with the live module); every save; restoring with and without source, and the
first batch of the model restored without. Then, in milliseconds, a training step of the live module and of the restored
program, in turns, and their ratio; and the size of the program.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop_torch

from ..figures import Figure, compare, figure, repeated

CONFIG = {"inputs": ["images", "labels"], "outputs": ["loss", "accuracy"], "device": "cpu"}


wall = partial(repeated, clock=perf_counter)


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


def programs(name: str, turns: int) -> list[Figure]:
    """Save, restore and train a model."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(32, 28, 28)).astype(np.float32)
    batch = {"images": images, "labels": rng.integers(0, 10, 32)}
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: Classifier(MODELS[name]())})
    with tempfile.TemporaryDirectory() as directory, patch.dict(os.environ, EMLOOP_CACHE="off"):
        live, second = (model_class(None, directory, **CONFIG) for _ in range(2))
        for model in (live, second):
            model.run(batch, train=True)
        path = str(Path(directory, "model_first"))
        first = wall(lambda: live.save("first"))(1)
        saves = [wall(lambda: live.save("later"))(1) for _ in range(5)]
        save = median(saves)
        # As after a resume: the program exists and is compared again.
        verified = wall(lambda: second.save("later"))(1)
        with_source = wall(lambda: model_class(None, None, path, **CONFIG))(1)
        without = wall(lambda: emloop_torch.BaseModel(None, None, path, **CONFIG))(1)
        restored = emloop_torch.BaseModel(None, None, path, **CONFIG)
        step, restored_step = (partial(model.run, batch, train=True) for model in (live, restored))
        loaded = wall(restored_step)(1)
        steps = {"a step of the live module": wall(step), f"{name}, a step without source": wall(restored_step)}
        size = sum(file.stat().st_size for file in Path(path, "program").iterdir())
        return [
            figure(f"{name}, export", "s", [first - verified]),
            figure(f"{name}, comparing", "s", [verified - save]),
            figure(f"{name}, every save", "s", saves),
            figure(f"{name}, restoring with source", "s", [with_source]),
            figure(f"{name}, restoring without source", "s", [without]),
            figure(f"{name}, the first batch without source", "s", [loaded]),
            *compare([steps], 1, turns, "ms"),
            figure(f"{name}, size", "KiB", [size / 1024]),
        ]


def measure(quick: bool) -> list[Figure]:
    """All models; in the quick form, the smallest."""
    return programs("perceptron", 2) if quick else [one for name in MODELS for one in programs(name, 60)]
