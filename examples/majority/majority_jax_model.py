"""A network of Flax that takes a vote."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import emloop_jax


class Net(nn.Module):
    """One hidden layer.

    Args:
        hidden: Its size.
    """

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores of the two bits, ``float32 [B, 2]`` for ``float32 [B, D]``."""
        return nn.Dense(2)(nn.relu(nn.Dense(self.hidden)(x)))


class MajorityNet(emloop_jax.BaseModel):
    """The network; how it is trained stands in the config."""

    def create_model(self, hidden: int = 16) -> nn.Module:
        """Make a fresh network; its argument is a key of the section ``model``."""
        return Net(hidden)

    def outputs(self, logits: jax.Array, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What the model says of vectors, and what that is worth."""
        predictions, labels = logits.argmax(1), batch["y"]
        return {
            "predictions": predictions,
            "loss": optax.softmax_cross_entropy_with_integer_labels(logits, labels),
            "accuracy": (predictions == labels).astype(jnp.float32),
        }
