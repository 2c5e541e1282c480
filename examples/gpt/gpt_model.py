"""A transformer that reads a text character by character and expects the next one.

``B`` is the number of texts, ``T`` the number of characters of each, ``C`` the number of characters in the
alphabet, ``W`` the width of the network.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

import emloop_torch

from .alphabet import CHARACTERS


class Attention(nn.Module):
    """Lets every character look at itself and at those before it, by what they are and how far away.

    Args:
        context: The greatest ``T``.
        width: ``W``.
        heads: Number ``H`` of looks at a time, each of a share of the width.
    """

    angles: torch.Tensor

    def __init__(self, context: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.look = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        speeds = 1000.0 ** -torch.linspace(0, 1, width // heads // 2)
        self.register_buffer("angles", torch.outer(torch.arange(context), speeds))

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        """What each position has seen, ``[B, T, W]`` for ``[B, T, W]``."""
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.look(signals).chunk(3, 2)
        )
        angles = self.angles[: signals.shape[1]]
        seen = functional.scaled_dot_product_attention(
            rotated(queries, angles), rotated(keys, angles), values, is_causal=True
        )
        return self.out(seen.transpose(1, 2).flatten(2))


def rotated(signals: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Signals turned further at every position: how two of them then match depends on how far apart they are.

    Args:
        signals: ``[B, H, T, S]``; the first and the second half of ``S`` are the coordinates of points in a plane.
        angles: ``[T, S / 2]``.
    """
    x, y = signals.chunk(2, 3)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([x * cos - y * sin, x * sin + y * cos], 3)


class Block(nn.Module):
    """A layer: attention, then a small network at every position, both added to what comes in.

    Args:
        context: The greatest ``T``.
        width: ``W``.
        heads: Number of heads of the attention.
        dropout: Part of the signals that is left out in training.
    """

    def __init__(self, context: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(context, width, heads)
        self.network_norm = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        """``[B, T, W]`` for ``[B, T, W]``."""
        signals = signals + self.dropout(self.attention(self.attention_norm(signals)))
        return signals + self.dropout(self.network(self.network_norm(signals)))


class Net(nn.Module):
    """Expects the next character, at every position of a text.

    Args:
        context: The greatest ``T``.
        layers: Number of blocks.
        width: ``W``.
        heads: Number of heads of each attention; a divisor of the width.
        dropout: Part of the signals that is left out in training.
    """

    def __init__(self, context: int, layers: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(CHARACTERS), width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(context, width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(CHARACTERS), bias=False)
        for weights in (weights for weights in self.parameters() if weights.ndim == 2):
            nn.init.normal_(weights, std=0.02)
        # What a character looks like, and what speaks for it as the next one, are the same.
        self.head.weight = self.characters.weight

    def predict(self, text: torch.Tensor) -> dict[str, torch.Tensor]:
        """How likely each character is to come next: ``logits: float32 [B, T, C]``.

        What stands behind a position changes nothing there, so a short text may be filled up with anything.

        Args:
            text: Numbers of characters, ``int64 [B, T]``.
        """
        signals = self.blocks(self.dropout(self.characters(text)))
        return {"logits": self.head(self.norm(signals))}

    def forward(self, text: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same, and ``loss: float32 [B]``: nats per character, on average over each text.

        Args:
            text: Numbers of characters, ``int64 [B, T]``.
            targets: Numbers of the characters that follow, ``int64 [B, T]``.
        """
        outputs = self.predict(text)
        losses = functional.cross_entropy(outputs["logits"].transpose(1, 2), targets, reduction="none")
        return {**outputs, "loss": losses.mean(1)}


class GPT(emloop_torch.BaseModel):
    """The network; how it is trained stands in the config."""

    def create_model(
        self, context: int = 128, layers: int = 4, width: int = 128, heads: int = 4, dropout: float = 0.0
    ) -> nn.Module:
        """Make a fresh network; these arguments are keys of the section ``model``."""
        return Net(context, layers, width, heads, dropout)
