"""Architectures as people write them, small, each with batches to learn from.

They were collected before anything was done for them: what a saved model of each can do without its source is measured
by ``test_zoo.py``, and stands in ``results.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import emloop_torch

ARCHITECTURES: dict[str, Architecture] = {}

Batch = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A network and what it learns from.

    Args:
        make: Makes the network; called after PyTorch was seeded.
        batch: Makes a batch of so many examples.
        model: The class of the model, where a training step of its own belongs to the architecture.
        outputs: What to compare beside the loss.
        config: Keys of the model's configuration.
        everyday: Whether it is tried with every run of the tests, not only by ``make torture``.
    """

    make: Callable[[], Any]
    batch: Callable[[np.random.Generator, int], Batch]
    model: type[emloop_torch.BaseModel]
    outputs: Sequence[str]
    config: dict[str, Any]
    everyday: bool


def architecture(
    name: str,
    batch: Callable[[np.random.Generator, int], Batch],
    *,
    model: type[emloop_torch.BaseModel] = emloop_torch.BaseModel,
    outputs: Sequence[str] = (),
    everyday: bool = False,
    **config: Any,
) -> Callable[[Any], Any]:
    """Add the decorated class or function to the catalogue."""

    def add(make: Any) -> Any:
        ARCHITECTURES[name] = Architecture(make, batch, model, ("loss", *outputs), config, everyday)
        return make

    return add


def images(size: int = 16, channels: int = 3, classes: int = 4) -> Callable[[np.random.Generator, int], Batch]:
    """Pictures, ``[B, C, H, W]``, and their classes."""

    def batch(rng: np.random.Generator, examples: int) -> Batch:
        labels = rng.integers(0, classes, examples)
        pictures = rng.normal(size=(examples, channels, size, size)) + labels[:, None, None, None] / classes
        return {"images": pictures.astype(np.float32), "labels": labels}

    return batch


def texts(words: int = 30, classes: int = 3, shortest: int = 4, longest: int = 9) -> Callable[..., Batch]:
    """Numbers of words from 1, ``[B, T]``, padded by 0 to the longest text of the batch, and their classes."""

    def batch(rng: np.random.Generator, examples: int) -> Batch:
        lengths = rng.integers(shortest, rng.integers(longest - 3, longest) + 2, examples)
        tokens = rng.integers(1, words, (examples, lengths.max()))
        tokens[np.arange(lengths.max()) >= lengths[:, None]] = 0
        return {"tokens": tokens, "labels": rng.integers(0, classes, examples)}

    return batch


def rows(features: int = 6, targets: int = 1) -> Callable[[np.random.Generator, int], Batch]:
    """Features, ``[B, F]``, and numbers to predict, ``[B]`` or ``[B, targets]``."""

    def batch(rng: np.random.Generator, examples: int) -> Batch:
        values = rng.normal(size=(examples, features)).astype(np.float32)
        target = values[:, :targets] * 2 + rng.normal(size=(examples, targets)).astype(np.float32) / 10
        return {"features": values, "target": target[:, 0] if targets == 1 else target}

    return batch


def signals(length: int = 24, channels: int = 2, classes: int = 3) -> Callable[[np.random.Generator, int], Batch]:
    """Signals, ``[B, C, T]``, and their classes."""

    def batch(rng: np.random.Generator, examples: int) -> Batch:
        labels = rng.integers(0, classes, examples)
        waves = np.sin(np.arange(length) * (labels[:, None, None] + 1) / 4) + rng.normal(
            size=(examples, channels, length)
        )
        return {"signals": waves.astype(np.float32), "labels": labels}

    return batch
