"""The device of a model."""

from __future__ import annotations

import tensorflow as tf

from emloop.errors import ConfigError

__all__ = ["choose_device", "is_host"]


def choose_device(name: str) -> str | None:
    """The device of the key ``device`` as TensorFlow calls it; ``None``: TensorFlow takes a GPU where there is one.

    Raises:
        ConfigError: If this machine does not have it.
    """
    kind, _, number = name.partition(":")
    if kind == "auto":
        return None
    if kind == "gpu":
        count = len(tf.config.list_logical_devices("GPU"))
        if int(number or 0) >= count:
            raise ConfigError.about("device", f"{name} is not there; TensorFlow sees {count} GPUs here")
    return f"{kind.upper()}:{number or 0}"


def is_host(device: str | None) -> bool:
    """Whether what is computed there can be read without waiting."""
    return (device or "").startswith("CPU") or not tf.config.list_logical_devices("GPU")
