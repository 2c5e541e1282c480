"""What does the first save of a PyTorch model cost, beside exporting the same network with PyTorch alone?

For a BERT of 12 layers of width 32, in seconds of CPU time: bare ``torch.export`` in both modes, the first save of a
run (which makes up to three views, stores, loads and verifies each), and that of a second run, which finds the program
in the cache and verifies it all the same. Ratios are to the bare export.

    python benchmarks/first_save.py [--layers 12]

Measured on two cores, PyTorch 2.13.0 on the CPU, one thread: see ``RESULTS``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional

import emloop_torch

RESULTS = """
12 layers: bare 12.4 s, first save 19.0 s (1.53 x), from the cache 3.2 s (0.26 x)
4 layers: bare 6.0 s, first save 7.4 s (1.23 x), from the cache 1.0 s (0.17 x)
"""

CONFIG = {"inputs": ["tokens", "mask", "labels"], "outputs": ["loss", "logits"], "device": "cpu"}


class Layer(nn.Module):
    """Attention and two linear layers, with the residuals around them normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second, self.drop = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(0.1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """From ``[B, T, width]`` to the same."""
        size, length, width = x.shape
        shape = (size, length, self.heads, width // self.heads)
        query, key, value = (part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / shape[-1] ** 0.5 + mask
        mixed = (self.drop(scores.softmax(-1)) @ value).transpose(1, 2).reshape(size, length, width)
        x = self.first(x + self.drop(self.out(mixed)))
        return self.second(x + self.drop(self.down(functional.gelu(self.up(x)))))


class Bert(nn.Module):
    """Classes of texts of up to 64 tokens."""

    def __init__(self, layers: int, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.places, self.norm = nn.Embedding(100, width), nn.Embedding(64, width), nn.LayerNorm(width)
        self.layers, self.head = nn.ModuleList(Layer(width, 4) for _ in range(layers)), nn.Linear(width, 5)

    def predict(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores of five classes."""
        x = self.norm(self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device)))
        unseen = (1.0 - mask.to(x.dtype))[:, None, None, :] * -1e4
        for layer in self.layers:
            x = layer(x, unseen)
        return {"logits": self.head(x[:, 0])}

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same, with the loss."""
        outputs = self.predict(tokens, mask)
        return {**outputs, "loss": functional.cross_entropy(outputs["logits"], labels, reduction="none")}


class Bare(nn.Module):
    """What ``torch.export`` takes: tensors to tensors."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Loss and scores."""
        outputs = self.net(*tensors)
        return outputs["loss"], outputs["logits"]


def seconds(call: Callable[[], Any]) -> float:
    """CPU time of a call."""
    started = process_time()
    call()
    return process_time() - started


def export(net: nn.Module, tensors: tuple[torch.Tensor, ...]) -> None:
    """Export a network in both modes."""
    of_text = {0: Dim.DYNAMIC, 1: Dim.AUTO}
    for train in (True, False):
        net.train(train)
        with torch.set_grad_enabled(train):
            shapes = ((of_text, of_text, {0: Dim.DYNAMIC}),)
            torch.export.export(Bare(net), tensors, dynamic_shapes=shapes, strict=False)


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    layers = parser.parse_args().layers
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    batches = [
        {"tokens": rng.integers(0, 100, (8, n)), "mask": np.ones((8, n), np.int64), "labels": rng.integers(0, 5, 8)}
        for n in (16, 20)
    ]
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: Bert(layers)})
    with tempfile.TemporaryDirectory() as directory:
        os.environ["EMLOOP_CACHE"] = str(Path(directory, "cache"))
        models = [model_class(None, str(Path(directory, name)), **CONFIG) for name in ("first", "second")]
        for model in models:
            for batch in batches:
                model.run(batch, train=True)
        tensors = tuple(torch.as_tensor(value) for value in batches[0].values())
        export(Bert(1), tensors)  # what PyTorch imports and compiles for its first export
        bare = seconds(lambda: export(Bert(layers), tensors))
        first, cached = (seconds(lambda model=model: model.save("best")) for model in models)
    print(f"{layers} layers: bare {bare:.1f} s, first save {first:.1f} s ({first / bare:.2f} x), ", end="")
    print(f"from the cache {cached:.1f} s ({cached / bare:.2f} x)")


if __name__ == "__main__":
    main()
