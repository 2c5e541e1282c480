"""The keys of the section ``model`` beside the arguments of ``create_model``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from emloop.declare import Component, Limits, Names, Positive
from emloop_torch._tensors.devices import Device, PrecisionName
from emloop_torch._training.optimizers import Optimizers
from emloop_torch._training.profiling import Profile
from emloop_torch._training.schedules import Schedules
from emloop_torch._training.updates import Clip, Limit

from ._transferring import InitFrom

__all__ = ["Compile", "Saving", "Settings"]


@dataclass(frozen=True)
class Compile:
    """The key ``compile``: arguments of ``torch.compile``."""

    backend: str = "inductor"
    dynamic: bool | None = None
    fullgraph: bool = False
    mode: str | None = None
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Saving:
    """The key ``saved_model``.

    Args:
        source_free: Whether saved models shall do without the source: as far as possible, always, or never.
    """

    # YAML 1.1 readers, and people used to it, take off for false.
    source_free: Literal["auto", "require", "off", False] = "auto"


@dataclass(frozen=True)
class Settings:
    """The settings of every model of PyTorch, as a configuration gives them."""

    inputs: Names
    outputs: Names
    inference_inputs: Names | None = None
    optimizer: Component[Optimizers] | None = None
    lr_schedule: Component[Schedules] | None = None
    clip_gradient: Limit | Clip | None = None
    accumulate: Positive = 1
    precision: PrecisionName = "fp32"
    compile: bool | Compile | None = False
    device: Device = "auto"
    deterministic: bool = False
    init_from: str | InitFrom | None = None
    frozen: Names = ()
    monitor: str | None = None
    profile: bool | Profile | None = None
    saved_model: Saving | None = None
    distributed: Annotated[
        None, Limits(words="nothing, since training on several devices is not there yet; choose one by device: cuda:1")
    ] = None
