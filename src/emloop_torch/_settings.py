"""What the section ``model`` says beside the arguments of ``create_model``, checked as far as no module is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from emloop.arguments import distinct_names
from emloop.errors import ConfigError, Problem
from emloop.suggest import check_choice
from emloop_torch._tensors.devices import Precision, choose_device, compute_deterministically
from emloop_torch._training.profiling import Profiling
from emloop_torch._training.updates import Clip, clip_from

from ._classes import read_keys

__all__ = ["SOURCE_FREE", "Settings"]

T = TypeVar("T")

SOURCE_FREE = ("auto", "require", "off")


@dataclass(frozen=True)
class Settings:
    """The settings of a model that do not depend on its module."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    inference_inputs: tuple[str, ...] | None
    frozen: tuple[str, ...]
    device: torch.device
    precision: Precision
    clip: Clip | None
    accumulate: int
    compile: Mapping[str, Any] | None
    profiling: Profiling | None
    source_free: str

    @classmethod
    def read(
        cls,
        *,
        inputs: Any,
        outputs: Any,
        inference_inputs: Any,
        frozen: Any,
        device: Any,
        precision: Any,
        clip_gradient: Any,
        accumulate: Any,
        compile: Any,  # noqa: A002 - the key is called so
        deterministic: Any,
        profile: Any,
        saved_model: Any,
        distributed: Any,
        log_dir: str | None,
    ) -> Settings:
        """The settings of a configuration.

        Raises:
            ConfigError: With all mistakes.
        """
        problems: list[Problem] = []

        def read(parse: Callable[[], T], otherwise: T) -> T:
            try:
                return parse()
            except ConfigError as error:
                problems.extend(error.problems)
                return otherwise

        host = torch.device("cpu")
        chosen = read(lambda: choose_device(device), host)
        settings = cls(
            inputs=read(lambda: distinct_names("inputs", inputs), ()),
            outputs=read(lambda: distinct_names("outputs", outputs), ()),
            inference_inputs=read(
                lambda: None if inference_inputs is None else distinct_names("inference_inputs", inference_inputs), None
            ),
            frozen=read(lambda: distinct_names("frozen", frozen), ()),
            device=chosen,
            precision=read(lambda: Precision(precision, chosen), Precision("fp32", host)),
            clip=read(lambda: clip_from(clip_gradient), None),
            accumulate=read(lambda: _accumulate(accumulate), 1),
            compile=read(lambda: _compile(compile), None),
            profiling=read(lambda: Profiling.read(profile, log_dir), None),
            source_free=read(lambda: _source_free(saved_model), SOURCE_FREE[0]),
        )
        read(lambda: _not_distributed(distributed), None)
        read(lambda: _deterministic(deterministic), None)
        if problems:
            raise ConfigError(problems)
        return settings


def _accumulate(batches: Any) -> int:
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 1:
        raise ConfigError(f"accumulate: expected a number of batches, at least 1, got {batches!r}")
    return batches


def _compile(description: Any) -> Mapping[str, Any] | None:
    if isinstance(description, bool) or description is None:
        return {} if description else None
    accepted = dict.fromkeys(("backend", "dynamic", "fullgraph", "mode", "options"), False)
    return read_keys("compile", description, accepted, "{mode: max-autotune, dynamic: true}")


def _source_free(description: Any) -> str:
    values = read_keys("saved_model", description or {}, {"source_free": False}, "{source_free: auto}")
    word = values.get("source_free", SOURCE_FREE[0])
    # YAML 1.1 readers, and people who know it, take off for false.
    return check_choice("saved_model: source_free", "off" if word is False else word, SOURCE_FREE)


def _deterministic(wanted: Any) -> None:
    if not isinstance(wanted, bool):
        raise ConfigError(f"deterministic: expected true or false, got {wanted!r}")
    if wanted:
        compute_deterministically()


def _not_distributed(description: Any) -> None:
    if description is not None:
        raise ConfigError(
            Problem(
                "distributed: training on several devices is not there yet",
                hints=("leave it out, and choose one of them with device: cuda:1",),
            )
        )
