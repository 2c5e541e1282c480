"""What does the first save of a PyTorch model cost, beside exporting the same network with PyTorch alone?

For a BERT of 12 layers of width 32, in seconds of CPU time: bare ``torch.export`` in both modes, the first save of a
run (which makes up to three views, stores, loads and verifies each), and that of a second run, which finds the program
in the cache and verifies it all the same. Ratios are to the bare export.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional

import emloop_torch

from ..figures import Figure, compare, repeated

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


def export(net: nn.Module, tensors: tuple[torch.Tensor, ...]) -> None:
    """Export a network in both modes."""
    of_text = {0: Dim.DYNAMIC, 1: Dim.AUTO}
    for train in (True, False):
        net.train(train)
        with torch.set_grad_enabled(train):
            shapes = ((of_text, of_text, {0: Dim.DYNAMIC}),)
            torch.export.export(Bare(net), tensors, dynamic_shapes=shapes, strict=False)


def measure(quick: bool) -> list[Figure]:
    """Once each, since programs are cached."""
    layers = 1 if quick else 12
    rng = np.random.default_rng(0)
    batches = [
        {"tokens": rng.integers(0, 100, (8, n)), "mask": np.ones((8, n), np.int64), "labels": rng.integers(0, 5, 8)}
        for n in (16, 20)
    ]
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: Bert(layers)})
    with tempfile.TemporaryDirectory() as directory, patch.dict(os.environ, EMLOOP_CACHE=f"{directory}/cache"):
        first, second = (model_class(None, str(Path(directory, name)), **CONFIG) for name in ("first", "second"))
        for model in (first, second):
            for batch in batches:
                model.run(batch, train=True)
        tensors = tuple(torch.as_tensor(value) for value in batches[0].values())
        if not quick:
            export(Bert(1), tensors)  # what PyTorch imports and compiles for its first export
        group = {
            "bare export": repeated(lambda: export(Bert(layers), tensors)),
            f"first save, {layers} layers": repeated(lambda: first.save("best")),
            f"from the cache, {layers} layers": repeated(lambda: second.save("best")),
        }
        return compare([group], 1, 1, "s")
