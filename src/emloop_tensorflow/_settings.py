"""The keys of the section ``model`` beside the arguments of ``create_model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from emloop.declare import Component, Limits, Names, Positive
from emloop.parameters import Clip, InitFrom, Limit
from emloop.profiling import Profile
from emloop_tensorflow._training.schedules import Schedules

from ._optimizers import Optimizers

__all__ = ["Device", "Saving", "Settings"]

Device: TypeAlias = Literal["auto", "cpu", "gpu"] | Annotated[str, Limits(pattern="gpu:[0-9]+", words="gpu:1")]


@dataclass(frozen=True)
class Saving:
    """The key ``saved_model``.

    Args:
        source_free: Whether saved models shall do without the source: as far as possible, always, or never.
        capsule: Whether the texts of the project's own modules go along, for those who trust them.
    """

    # YAML 1.1 readers, and people used to it, take off for false.
    source_free: Literal["auto", "require", "off", False] = "auto"
    capsule: Literal["on", "off", True, False] = "off"


def _elsewhere(words: str) -> Any:
    return Annotated[None, Limits(words=words)]


@dataclass(frozen=True)
class Settings:
    r"""The settings of every model of TensorFlow, as a configuration gives them.

    Args:
        inputs: Sources that ``call`` takes, by name; without the labels, ``predict`` runs instead.
        outputs: Outputs to return.
        inference_inputs: Sources that are enough for ``call`` where there are no labels; instead of ``predict``.
        weights: ``{loss: mask}``: output → the source, or output, that weighs it, in gradients and for all hooks; see
            [means and weights](../explanation/means-and-weights.md).
        optimizer: ``{class: AdamW, learning_rate: 1e-3, …}``, of ``keras.optimizers``; ``null``: AdamW with the values
            of Keras.
        lr_schedule: ``{class: CosineDecay, decay_steps: 100, interval: epoch, warmup_steps: 500}``, of
            ``keras.optimizers.schedules``.
        clip_gradient: ``{norm: 1.0}``, or ``{value: 0.5}``, or a bare number: by value.
        accumulate: Batches that make one step, which follows the mean over all of them; what is left at the end of an
            epoch makes a step, too.
        precision: ``fp32``; ``bf16``, ``fp16``: layers of Keras compute with 16 bits, ``fp16`` with a scaled loss.
        compile: Whether XLA compiles the graphs.
        device: ``cpu``, ``gpu``, ``gpu:1``; ``auto`` takes a GPU, else the CPU.
        n_gpus: Devices that share each batch evenly: the first so many of the kind of ``device``.
        deterministic: Only algorithms that give the same bits every time, in the whole process; others raise an error.
        init_from: A saved model, run or checkpoint that a *fresh* model takes what fits from, or ``{path: …, rename:
            {'encoder/(.*)': 'backbone/\1'}}``; the log says what was taken, what has another shape, what is not there.
        frozen: Regular expressions; variables whose whole name matches are not trained.
        monitor: A type of operation, e.g. ``Conv2D``, or the name of a layer: two more outputs, ``signal_mean`` and
            ``signal_variance``.
        profile: ``{keep: 5, every: 100}``: traces of single training batches in ``profile/``, the newest ones.
        saved_model: ``{source_free: auto}``; ``require``: a saved model that needs its source is an error; ``off``: no
            program is made. ``capsule: on``: the source of the project's own modules goes along.
        optimizers: Not for TensorFlow: several optimizers.
        ema: Not for TensorFlow: an average of the model.
        swa: Not for TensorFlow: an average of the model.
        lora: Not for TensorFlow: adapters.
    """

    inputs: Names
    outputs: Names
    inference_inputs: Names | None = None
    weights: Mapping[str, str] | None = None
    optimizer: Component[Optimizers] | None = None
    lr_schedule: Component[Schedules] | None = None
    clip_gradient: Limit | Clip | None = None
    accumulate: Positive = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    device: Device = "auto"
    n_gpus: Positive = 1
    deterministic: bool = False
    init_from: str | InitFrom | None = None
    frozen: Sequence[str] = ()
    monitor: str | None = None
    profile: bool | Profile | None = None
    saved_model: Saving | None = None
    optimizers: Annotated[
        None, Limits(words="nothing: here one optimizer trains a model; `optimizer` describes it, `frozen` leaves out")
    ] = None
    ema: Annotated[None, Limits(words="nothing: no average is kept here; emloop_torch has one")] = None
    swa: Annotated[None, Limits(words="nothing: no average is kept here; emloop_torch has one")] = None
    lora: Annotated[None, Limits(words="nothing: adapters of peft are for PyTorch; make layers of your own")] = None
