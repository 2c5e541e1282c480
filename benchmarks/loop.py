"""What does the main loop cost per batch, compared with a bare ``for`` over the same stream and model?

Prints microseconds of CPU per batch (best of many interleaved repetitions) for a model that does nothing, with two
inputs, two outputs and batches of 32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import process_time
from typing import Any

import numpy as np

from emloop.hooks import ComputeStats
from emloop.main_loop import MainLoop

BATCHES = 5000
REPETITIONS = 15
BATCH = {"x": np.zeros((32, 4), np.float32), "y": np.zeros(32, np.int64)}
OUTPUTS = {"loss": np.zeros(32, np.float32), "accuracy": np.zeros(32, np.float32)}


class Stream:
    """A dataset with one stream that repeats the same batch."""

    def train_stream(self) -> Sequence[Any]:
        """A sequence of batches."""
        return [BATCH] * BATCHES


class Nothing:
    """A model that computes nothing."""

    input_names = ("x", "y")
    output_names = ("loss", "accuracy")

    def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
        """Precomputed outputs."""
        return OUTPUTS


def bare() -> float:
    """The bare minimum: run the model on every batch."""
    model, batches = Nothing(), Stream().train_stream()
    started = process_time()
    for batch in batches:
        model.run(batch=batch, train=True)
    return process_time() - started


def loop(*hooks: Callable[[], Any], **arguments: Any) -> Callable[[], float]:
    """One epoch of the main loop."""

    def measure() -> float:
        main_loop = MainLoop(Nothing(), Stream(), [hook() for hook in hooks], **arguments)  # type: ignore[arg-type]
        main_loop.streams.get("train", training=True).open()
        started = process_time()
        main_loop.epoch(["train"])
        return process_time() - started

    return measure


VARIANTS: dict[str, Callable[[], float]] = {
    "bare for": bare,
    "main loop": loop(),
    "fixed epochs": loop(fixed_epoch_size=BATCHES),
    "fixed batch size": loop(fixed_batch_size=32),
    "two means": loop(lambda: ComputeStats(["loss", "accuracy"])),
}


def main() -> None:
    """Measure all variants in turn, again and again, and print the best of each."""
    best = dict.fromkeys(VARIANTS, float("inf"))
    for _ in range(REPETITIONS):
        for name, variant in VARIANTS.items():
            best[name] = min(best[name], variant() / BATCHES * 1e6)
    for name, cost in best.items():
        print(f"{name:18} {cost:6.2f} µs a batch, {cost - best['bare for']:5.2f} over the bare for")


if __name__ == "__main__":
    main()
