"""The same transformer for JAX: it reads a text character by character and expects the next one.

``B`` is the number of texts, ``T`` the number of characters of each, ``C`` the number of characters in the
alphabet, ``W`` the width of the network, ``H`` the number of heads of its attention, ``S`` the share of each.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import emloop_jax

from .alphabet import CHARACTERS

SMALL = nnx.initializers.normal(0.02)


class Attention(nnx.Module):
    """Lets every character look at itself and at those before it, by what they are and how far away.

    Args:
        width: ``W``.
        heads: ``H``.
        rngs: Where weights are drawn from.
    """

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.look = nnx.Linear(width, 3 * width, use_bias=False, kernel_init=SMALL, rngs=rngs)
        self.out = nnx.Linear(width, width, kernel_init=SMALL, rngs=rngs)

    def __call__(self, signals: jax.Array) -> jax.Array:
        """What each position has seen, ``[B, T, W]`` for ``[B, T, W]``."""
        batch, length, width = signals.shape
        looks = self.look(signals).reshape(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = (looks[:, :, part] for part in range(3))
        seen = jax.nn.dot_product_attention(rotated(queries), rotated(keys), values, is_causal=True)
        return self.out(seen.reshape(batch, length, width))


def rotated(signals: jax.Array) -> jax.Array:
    """Signals turned further at every position: how two of them then match depends on how far apart they are.

    Args:
        signals: ``[B, T, H, S]``; the first and the second half of ``S`` are the coordinates of points in a plane.
    """
    x, y = jnp.split(signals, 2, axis=3)
    speeds = 1000.0 ** -jnp.linspace(0, 1, x.shape[3])
    angles = jnp.outer(jnp.arange(signals.shape[1]), speeds)[:, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([x * cos - y * sin, x * sin + y * cos], axis=3)


class Block(nnx.Module):
    """A layer: attention, then a small network at every position, both added to what comes in.

    Args:
        width: ``W``.
        heads: ``H``.
        dropout: Part of the signals that is left out in training.
        rngs: Where weights, and what is left out, are drawn from.
    """

    def __init__(self, width: int, heads: int, dropout: float, rngs: nnx.Rngs) -> None:
        self.attention_norm = nnx.LayerNorm(width, rngs=rngs)
        self.attention = Attention(width, heads, rngs)
        self.network_norm = nnx.LayerNorm(width, rngs=rngs)
        self.wide = nnx.Linear(width, 4 * width, kernel_init=SMALL, rngs=rngs)
        self.narrow = nnx.Linear(4 * width, width, kernel_init=SMALL, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, signals: jax.Array) -> jax.Array:
        """``[B, T, W]`` for ``[B, T, W]``."""
        signals = signals + self.dropout(self.attention(self.attention_norm(signals)))
        return signals + self.dropout(self.narrow(nnx.gelu(self.wide(self.network_norm(signals)))))


class Net(nnx.Module):
    """Expects the next character, at every position of a text.

    Args:
        layers: Number of blocks.
        width: ``W``.
        heads: ``H``, a divisor of the width.
        dropout: Part of the signals that is left out in training.
        rngs: Where weights, and what is left out, are drawn from.
    """

    def __init__(self, layers: int, width: int, heads: int, dropout: float, rngs: nnx.Rngs) -> None:
        # What a character looks like, and what speaks for it as the next one, are the same.
        self.characters = nnx.Embed(len(CHARACTERS), width, embedding_init=SMALL, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.blocks = nnx.List([Block(width, heads, dropout, rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, text: jax.Array) -> jax.Array:
        """How likely each character is to come next: ``float32 [B, T, C]``.

        What stands behind a position changes nothing there, so a short text may be filled up with anything.

        Args:
            text: Numbers of characters, ``int64 [B, T]``.
        """
        signals = self.dropout(self.characters(text))
        for block in self.blocks:
            signals = block(signals)
        return self.characters.attend(self.norm(signals))


class GPT(emloop_jax.BaseModel):
    """The network; how it is trained stands in the config."""

    def create_model(self, layers: int = 4, width: int = 128, heads: int = 4, dropout: float = 0.0) -> nnx.Module:
        """Make a fresh network; these arguments are keys of the section ``model``."""
        return Net(layers, width, heads, dropout, nnx.Rngs(self.seed or 0))

    def outputs(self, logits: jax.Array, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What comes next and, where that is known, ``loss: float32 [B]``: nats per character, on average over a text.

        Args:
            logits: ``float32 [B, T, C]``.
            batch: ``text`` and, where the model learns, ``targets: int64 [B, T]``, the characters that follow.
        """
        if "targets" not in batch:
            return {"logits": logits}
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        return {"logits": logits, "loss": losses.mean(1)}
