"""What marks the states of this backend's models, and what of a class its saved models cannot bring along."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import optim

from emloop import saved_models

__all__ = ["BACKEND", "FORMAT", "METHODS", "versions_of", "why_training_needs_source"]

BACKEND = "torch"
FORMAT = f"emloop_{BACKEND} 1"

METHODS = ("compute", "load_state_dict", "run", "state_dict", "training_step", "update")
"""What a class may do in its own way with a batch, or a state; what makes module and optimizer has done its work."""


def why_training_needs_source(cls: type, base: type, optimizers: Iterable[optim.Optimizer]) -> str | None:
    """Why the source is needed for training, or ``None`` if it is not."""
    overridden = saved_models.overridden_methods(cls, base, METHODS)
    return saved_models.why_training_needs_source(cls, overridden, _of_others(optimizers))


def versions_of(optimizers: Iterable[optim.Optimizer]) -> dict[str, str]:
    """The versions of what a model is trained by: PyTorch, and the packages of optimizers of others."""
    return {"torch": torch.__version__, **saved_models.versions_of(_of_others(optimizers))}


def _of_others(optimizers: Iterable[optim.Optimizer]) -> list[type[optim.Optimizer]]:
    return [kind for kind in map(type, optimizers) if getattr(optim, kind.__name__, None) is not kind]
