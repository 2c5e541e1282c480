"""What marks the states of this backend's models, and what of a class its saved models cannot bring along."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import version

import torch
from torch import optim

from emloop.saved_models import packages_of

__all__ = ["BACKEND", "FORMAT", "METHODS", "overridden_methods", "versions_of", "why_training_needs_source"]

BACKEND = "torch"
FORMAT = f"emloop_{BACKEND} 1"

METHODS = ("compute", "load_state_dict", "run", "state_dict", "training_step", "update")
"""What a class may do in its own way with a batch, or a state."""


def overridden_methods(cls: type, base: type) -> list[str]:
    """The methods of a base that only the class's source has; what makes module and optimizer has done its work."""
    return [name for name in METHODS if hasattr(base, name) and getattr(cls, name) is not getattr(base, name)]


def why_training_needs_source(cls: type, base: type, optimizers: Iterable[optim.Optimizer]) -> str | None:
    """Why the source is needed for training, or ``None`` if it is not."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    overridden = overridden_methods(cls, base)
    if overridden:
        return f"{name} overrides {', '.join(overridden)}"
    for kind in map(type, optimizers):
        # A package can be installed wherever the training is to go on; the project's own modules are its source.
        is_there = kind.__module__ in sys.modules and packages_of(kind.__module__) is not None
        if not _is_stock(kind) and not is_there:
            return f"{name} is trained by {kind.__module__}.{kind.__qualname__}"
    return None


def versions_of(optimizers: Iterable[optim.Optimizer]) -> dict[str, str]:
    """The versions of what a model is trained by: PyTorch, and the packages of optimizers of others."""
    others = {kind.__module__ for kind in map(type, optimizers) if not _is_stock(kind)}
    packages = {package for module in others for package in packages_of(module) or ()}
    return {"torch": torch.__version__, **{package: version(package) for package in sorted(packages)}}


def _is_stock(kind: type[optim.Optimizer]) -> bool:
    return getattr(optim, kind.__name__, None) is kind
