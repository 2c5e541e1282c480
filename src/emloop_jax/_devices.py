"""Where a model computes, and how exactly."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, TypeAlias

import jax

from emloop.declare import Limits
from emloop.errors import ConfigError

__all__ = ["Device", "choose_device", "compiler_options"]

Device: TypeAlias = (
    Literal["auto", "cpu", "gpu", "cuda", "tpu"]
    | Annotated[str, Limits(pattern="(gpu|cuda|tpu):[0-9]+", words="cuda:1 and the like")]
)


logging.getLogger("jax._src.xla_bridge").addFilter(lambda record: "Unable to initialize backend" not in record.msg)


def choose_device(name: str) -> jax.Device:
    """The device of the key ``device``.

    Raises:
        ConfigError: If JAX does not have it here.
    """
    kind, _, number = name.partition(":")
    if kind == "auto":
        return jax.local_devices()[0]
    try:
        found = jax.local_devices(backend=kind)
    except RuntimeError as error:
        there = sorted({device.platform for device in jax.local_devices()} | {"cpu"})
        hint = "pip install 'jax[cuda12]' brings what CUDA needs" if kind in ("gpu", "cuda") else ""
        message = f"JAX has no {kind} here; it has {', '.join(there)}"
        raise ConfigError.about("device", message, *filter(None, [hint])) from error
    if int(number or 0) >= len(found):
        raise ConfigError.about("device", f"{name} is not there; JAX sees {len(found)} of them here")
    return found[int(number or 0)]


def compiler_options(device: jax.Device, *, deterministic: bool) -> dict[str, Any] | None:
    """What the compiler is told about algorithms that may give other bits the next time."""
    return {"xla_gpu_deterministic_ops": True} if deterministic and device.platform == "gpu" else None
