"""What marks the states of this backend's models, and what of a class its saved models cannot bring along."""

from __future__ import annotations

from collections.abc import Iterable

from torch import optim

__all__ = ["BACKEND", "FORMAT", "METHODS", "overridden_methods", "why_training_needs_source"]

BACKEND = "torch"
FORMAT = f"emloop_{BACKEND} 1"

METHODS = ("compute", "load_state_dict", "run", "state_dict", "training_step", "update")
"""What a class may do in its own way with a batch, or a state."""


def overridden_methods(cls: type, base: type) -> list[str]:
    """The methods that only the class's source has; what makes module and optimizer has done its work."""
    return [name for name in METHODS if getattr(cls, name) is not getattr(base, name)]


def why_training_needs_source(cls: type, base: type, optimizers: Iterable[optim.Optimizer]) -> str | None:
    """Why the source is needed for training, or ``None`` if it is not."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    overridden = overridden_methods(cls, base)
    if overridden:
        return f"{name} overrides {', '.join(overridden)}"
    for kind in map(type, optimizers):
        if getattr(optim, kind.__name__, None) is not kind:
            return f"{name} is trained by {kind.__module__}.{kind.__qualname__}"
    return None
