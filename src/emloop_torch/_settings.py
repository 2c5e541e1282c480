"""The keys of the section ``model`` beside the arguments of ``create_model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from emloop.declare import Component, Limits, Names, Positive
from emloop.parameters import Clip, InitFrom, Limit
from emloop.profiling import Profile
from emloop_torch._ranks.settings import Distributed
from emloop_torch._tensors.adapting import Frozen, Lora
from emloop_torch._tensors.devices import Device, PrecisionName
from emloop_torch._training.averages import Ema, Swa
from emloop_torch._training.learners import Several
from emloop_torch._training.optimizers import Optimizers
from emloop_torch._training.schedules import Schedules

__all__ = ["Compile", "Distributed", "Saving", "Settings"]


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
        shadow: Share of the time in which the program is compared with the training that it stands for; 0: never.
        trust: Regular expressions: names, from the reason of a lower rung, of what does not matter.
        capsule: Whether the texts of the project's own modules go along, for those who trust them.
        cache: Whether to look in the user's cache directory for a program of the same architecture.
    """

    # YAML 1.1 readers, and people used to it, take off for false.
    source_free: Literal["auto", "require", "off", False] = "auto"
    shadow: Annotated[float, Limits(minimum=0, maximum=1)] = 0.01
    trust: Names = ()
    capsule: Literal["on", "off", True, False] = "off"
    cache: Literal["on", "off", True, False] = "on"


@dataclass(frozen=True)
class Settings:
    r"""The settings of every model of PyTorch, as a configuration gives them.

    Args:
        inputs: Sources that the module takes, by name; without the labels, ``predict`` runs instead of ``forward``.
        outputs: Outputs of the module to return; only these leave the device.
        inference_inputs: Sources that are enough for ``forward`` where there are no labels; instead of a method
            ``predict``.
        weights: ``{loss: mask}``: output → the source, or output, that weighs it, in gradients and for all hooks; see
            [means and weights](../explanation/means-and-weights.md).
        optimizer: ``{class: AdamW, learning_rate: 1e-3, …, groups: […]}``, see below; ``null``: AdamW with PyTorch's
            values.
        optimizers: Several in its place, as a list of ``{name: critic, match: 'critic\..*', loss: critic_loss, class:
            Adam, …}``: each minimises an output of the module by the parameters that it matches, see below.
        lr_schedule: ``{class: CosineAnnealingLR, T_max: 100, interval: epoch, warmup_steps: 500}``, see below.
        clip_gradient: ``{norm: 1.0}``, or ``{value: 0.5}``, or a bare number: by value.
        ema: ``{decay: 0.9999}``: evaluations use an average of the model; ``{from: student, to: teacher, decay: 0.99,
            buffers: copy}``, or a list of such: one part is the average of another, see below.
        swa: ``75``: evaluations use the equal average of the weights at the ends of all epochs from the 75th on;
            ``{start: 75, buffers: copy}``, see below.
        accumulate: Batches that make one step, which follows the mean over all of them; what is left at the end of an
            epoch makes a step, too.
        precision: ``fp32``; ``tf32``: matrix products on CUDA with 19 bits; ``bf16``, ``fp16``: forward pass under
            autocast, ``fp16`` with a gradient scaler.
        compile: ``true``, or arguments of ``torch.compile``: ``{mode: max-autotune, dynamic: true}``.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; ``auto`` takes CUDA, else MPS, else the CPU.
        deterministic: Only algorithms that give the same bits every time, in the whole process; others raise an error.
        init_from: A saved model, run or checkpoint that a *fresh* model takes what fits from, or a file with weights
            (``.safetensors``; ``.pt``, ``.pth``, ``.ckpt`` and ``.bin``, read for weights only, out of no run), or
            ``{path: …, rename: {'encoder\.(.*)': 'backbone.\1'}}``. The prefixes ``module.`` and ``_orig_mod.`` make no
            difference; the log says what was taken, what has another shape, and what is not there.
        frozen: Regular expressions; parameters whose whole name matches are not trained, and where that is all of a
            normalisation's, its running statistics stay, too. ``{match: 'layer4\..*', until: 3}`` is trained after the
            third epoch; a hook may thaw others by ``requires_grad_(True)``.
        lora: ``{target_modules: [query, value], r: 8, modules_to_save: [classifier]}``: adapters of ``peft``, which are
            trained in place of the model; also ``lora_alpha``, ``lora_dropout``, ``use_rslora`` and ``use_dora``.
        monitor: Type or name of modules, e.g. ``Conv2d``: two more outputs, ``signal_mean`` and ``signal_variance``.
        profile: ``{keep: 5, every: 100}``: traces of single training batches in ``profile/``, the newest ones.
        saved_model: ``{source_free: auto}``; ``require``: a saved model that needs its source is an error; ``off``: no
            program is made. ``shadow: 0.01``: the share of the time in which the program is compared with the training
            that goes on; ``trust: ['calls']``: names of what only seems to matter, see below; ``capsule: on``: the
            source of the project's own modules goes along; ``cache: off``: no program of an earlier run is looked for.
        distributed: ``{timeout: 60}``: how long several processes wait for one another, in seconds; ``strategy: ddp``,
            and arguments of ``DistributedDataParallel``: ``find_unused_parameters``, ``bucket_cap_mb``,
            ``gradient_as_bucket_view``, ``static_graph``; or ``strategy: fsdp``, where each has a part of the model,
            and of ``fully_shard``: ``reshard_after_forward``, ``mp_policy``, and ``wrap`` and ``offload``;
            ``sync_batch_norm``, on CUDA. One process alone ignores it.
    """

    inputs: Names
    outputs: Names
    inference_inputs: Names | None = None
    weights: Mapping[str, str] | None = None
    optimizer: Component[Optimizers] | None = None
    optimizers: Sequence[Component[Several]] | None = None
    lr_schedule: Component[Schedules] | None = None
    clip_gradient: Limit | Clip | None = None
    ema: Ema | Sequence[Ema] | None = None
    swa: Positive | Swa | None = None
    accumulate: Positive = 1
    precision: PrecisionName = "fp32"
    compile: bool | Compile | None = False
    device: Device = "auto"
    deterministic: bool = False
    init_from: str | InitFrom | None = None
    frozen: Sequence[str | Frozen] = ()
    lora: Lora | None = None
    monitor: str | None = None
    profile: bool | Profile | None = None
    saved_model: Saving | None = None
    distributed: Distributed | None = None
