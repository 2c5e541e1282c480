"""A convolutional network for small images: two pure functions of its parameters."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jax import lax

import emloop_jax


def normal(key: jax.Array, *shape: int) -> jax.Array:
    """Weights for a layer of rectified units, whose last axis is what it gives."""
    return jax.random.normal(key, shape) * (2 / jnp.prod(jnp.array(shape[:-1]))) ** 0.5


def convolved(layer: Mapping[str, jax.Array], images: jax.Array) -> jax.Array:
    """Each pixel's 3 × 3 surroundings, seen by one layer: ``[B, H, W, C]`` before and after."""
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.nn.relu(
        lax.conv_general_dilated(images, layer["kernel"], (1, 1), "SAME", dimension_numbers=axes) + layer["bias"]
    )


class ConvNet(emloop_jax.BaseModel):
    """Tells which of ten digits an image of 8 × 8 pixels shows."""

    def create_model(self, channels: int = 32, dropout: float = 0.5) -> emloop_jax.Functions:
        """Make a fresh network; these arguments are keys of the section ``model``.

        Args:
            channels: Number of channels of the first layer; the second has twice as many.
            dropout: Part of the signals that is left out in training.
        """

        def init(key: jax.Array, batch: Mapping[str, jax.Array]) -> dict[str, dict[str, jax.Array]]:
            keys = jax.random.split(key, 3)
            return {
                "first": {"kernel": normal(keys[0], 3, 3, 1, channels), "bias": jnp.zeros(channels)},
                "second": {"kernel": normal(keys[1], 3, 3, channels, 2 * channels), "bias": jnp.zeros(2 * channels)},
                "head": {"kernel": normal(keys[2], 2 * channels * 16, 10), "bias": jnp.zeros(10)},
            }

        def apply(params: dict, batch: Mapping[str, jax.Array], train: bool, key: jax.Array) -> jax.Array:
            signals = convolved(params["second"], convolved(params["first"], batch["images"][..., None]))
            signals = lax.reduce_window(signals, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            if train:
                signals *= jax.random.bernoulli(key, 1 - dropout, signals.shape) / (1 - dropout)
            return signals.reshape(signals.shape[0], -1) @ params["head"]["kernel"] + params["head"]["bias"]

        return emloop_jax.Functions(init, apply)

    def outputs(self, logits: jax.Array, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What the model says of images, and what that is worth.

        Args:
            logits: ``float32 [B, 10]``.
            batch: ``images: float32 [B, 8, 8]`` from 0 to 1, and ``labels: int64 [B]``.
        """
        predictions, labels = logits.argmax(1), batch["labels"]
        return {
            "probabilities": jax.nn.softmax(logits),
            "predictions": predictions,
            "loss": optax.softmax_cross_entropy_with_integer_labels(logits, labels),
            "accuracy": (predictions == labels).astype(jnp.float32),
        }
