"""The device of a model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from emloop.errors import ConfigError

__all__ = ["choose_device", "is_host", "several"]


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


def several(count: int, device: str | None, **alone: Any) -> list[str]:
    """The devices of the key ``n_gpus``, if there are several.

    Args:
        count: The key.
        device: The first, or that which TensorFlow chooses.
        **alone: Settings that are for one device.

    Raises:
        ConfigError: If this machine has fewer, or another setting is for one.
    """
    if count < 2:
        return []
    for name, value in alone.items():
        if value:
            raise ConfigError.about(name, f"this is for one device, and n_gpus is {count}", "leave one of them out")
    kind = "GPU" if device is None else device.partition(":")[0]
    found = tf.config.list_logical_devices(kind)
    if len(found) < count:
        raise ConfigError.about("n_gpus", f"{count} devices are asked for; TensorFlow sees {len(found)} {kind}s here")
    return [f"{kind}:{number}" for number in range(count)]


def is_host(device: str | None) -> bool:
    """Whether what is computed there can be read without waiting."""
    return (device or "").startswith("CPU") or not tf.config.list_logical_devices("GPU")
