"""Telling the states of this backend's models from others."""

from __future__ import annotations

from collections.abc import Mapping

from emloop.errors import SavedModelError, StateError
from emloop.saved_models import Saved
from emloop.types import StateTree

__all__ = ["BACKEND", "FORMAT", "require_format", "state_in"]

BACKEND = "sklearn"
FORMAT = f"emloop_{BACKEND} 1"


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
        raise StateError(f"expected the state of a scikit-learn model ({FORMAT!r}), got {found!r}")
