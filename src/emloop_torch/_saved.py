"""Telling the states of this backend's models from others, and what of a class its saved models cannot bring along."""

from __future__ import annotations

from collections.abc import Mapping

from torch import optim

from emloop.errors import SavedModelError, StateError
from emloop.saved_models import Saved
from emloop.types import StateTree

__all__ = ["BACKEND", "FORMAT", "overridden_methods", "require_format", "state_in", "why_training_needs_source"]

BACKEND = "torch"
FORMAT = f"emloop_{BACKEND} 1"

_METHODS = ("compute", "load_state_dict", "run", "state_dict", "training_step", "update")


def overridden_methods(cls: type, base: type) -> list[str]:
    """The methods that only the class's source has; what makes module and optimizer has done its work."""
    return [name for name in _METHODS if getattr(cls, name) is not getattr(base, name)]


def why_training_needs_source(cls: type, base: type, optimizer: optim.Optimizer) -> str | None:
    """Why the source is needed for training, or ``None`` if it is not."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    overridden = overridden_methods(cls, base)
    if overridden:
        return f"{name} overrides {', '.join(overridden)}"
    kind = type(optimizer)
    if getattr(optim, kind.__name__, None) is not kind:
        return f"{name} is trained by {kind.__module__}.{kind.__qualname__}"
    return None


def state_in(saved: Saved) -> StateTree:
    """The state that a saved model or a checkpoint holds.

    Raises:
        SavedModelError: If it is damaged, or another backend's.
    """
    saved.require_backend(BACKEND)
    state = saved.tree()
    try:
        require_format(state)
    except StateError as error:
        raise SavedModelError(f"{saved.path}: {error}") from error
    return state


def require_format(state: StateTree) -> None:
    """Make sure that a state is one of this backend and version.

    Raises:
        StateError: If it is not.
    """
    found = state.get("format") if isinstance(state, Mapping) else None
    if found != FORMAT:
        raise StateError(f"expected the state of a PyTorch model ({FORMAT!r}), got {found!r}")
