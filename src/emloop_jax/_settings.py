"""The keys of the section ``model`` beside the arguments of ``create_model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from emloop.declare import Component, Limits, Names, Positive
from emloop.parameters import Clip, InitFrom, Limit
from emloop.profiling import Profile
from emloop_jax._steps.optimizing import Optimizers, Schedules

from ._devices import Device

__all__ = ["Saving", "Settings"]


@dataclass(frozen=True)
class Saving:
    """The key ``saved_model``.

    Args:
        source_free: Whether saved models shall do without the source: as far as possible, always, or never.
        capsule: Whether the texts of the project's own modules go along, for those who trust them.
    """

    source_free: Literal["auto", "require", "off", False] = "auto"
    capsule: Literal["on", "off", True, False] = "off"


@dataclass(frozen=True)
class Settings:
    r"""The settings of every model of JAX, as a configuration gives them.

    Args:
        inputs: Sources that the model takes, by name. The network takes those that its arguments name; ``outputs`` sees
            all of them.
        outputs: Outputs of the model to return; only these are computed.
        inference_inputs: Sources that are enough to predict; by default those that the network takes.
        weights: ``{loss: mask}``: output → the source, or output, that weighs it, in gradients and for all hooks; see
            [means and weights](../explanation/means-and-weights.md).
        optimizer: ``{class: adamw, learning_rate: 1e-3, …}``, see below; ``null``: AdamW with optax's values.
        lr_schedule: ``{class: cosine_decay_schedule, decay_steps: 1000, warmup_steps: 100}``, see below.
        clip_gradient: ``{norm: 1.0}``, or ``{value: 0.5}``, or a bare number: by value.
        accumulate: Batches that make one step, which follows the mean over all of them; what is left at the end of an
            epoch makes a step, too.
        precision: ``fp32``; ``bf16``: the network computes with 16 bits, while parameters, losses and what the
            optimizer remembers keep 32.
        device: ``cpu``, ``gpu`` or ``cuda``, ``cuda:1``; ``auto`` takes what JAX takes.
        deterministic: Only algorithms that give the same bits every time; matters on CUDA, since the others always do.
        init_from: A saved model, run or checkpoint that a *fresh* model takes what fits from, or a file
            (``.safetensors``), or ``{path: …, rename: {'encoder/(.*)': 'backbone/\1'}}``; the log says what was taken.
        frozen: Regular expressions; parameters whose whole name, such as ``Dense_0/kernel``, matches are not trained,
            and where that is all of a normalisation's, its running statistics stay, too.
        profile: ``{keep: 5, every: 100}``: traces of single training batches in ``profile/``, the newest ones.
        saved_model: ``{source_free: auto}``; ``require``: a model that would need its source is an error; ``off``: no
            program is made. ``capsule: on``: the source of the project's own modules goes along.
        compile: Not needed: every step is compiled.
        distributed: Not available yet: training on several devices.
        ema: Not available: build it into the optimizer.
        lora: Not available: build it into the network.
        monitor: Not available: return what is to be seen from ``outputs``.
        optimizers: Not available: make one of several in ``create_optimizer``.
        swa: Not available: build it into the optimizer.
    """

    inputs: Names
    outputs: Names
    inference_inputs: Names | None = None
    weights: Mapping[str, str] | None = None
    optimizer: Component[Optimizers] | None = None
    lr_schedule: Component[Schedules] | None = None
    clip_gradient: Limit | Clip | None = None
    accumulate: Positive = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Device = "auto"
    deterministic: bool = False
    init_from: str | InitFrom | None = None
    frozen: Sequence[str] = ()
    profile: bool | Profile | None = None
    saved_model: Saving | None = None
    compile: Annotated[None, Limits(words="nothing, since every step is compiled; leave it out")] = None
    distributed: Annotated[
        None, Limits(words="nothing, since training on several devices is not there yet; choose one by device: cuda:1")
    ] = None
    ema: Annotated[
        None, Limits(words="nothing here; optax.ema or an average in create_optimizer does it, and outputs can use it")
    ] = None
    lora: Annotated[None, Limits(words="nothing here; wrap the network in create_model, as by flax.nnx.LoRA")] = None
    monitor: Annotated[None, Limits(words="nothing here; return what is to be seen from outputs(results, batch)")] = (
        None
    )
    optimizers: Annotated[
        None, Limits(words="nothing here; create_optimizer can return optax.partition of several optimizers")
    ] = None
    swa: Annotated[None, Limits(words="nothing here; the hook SaveLatest and init_from, or create_optimizer")] = None
