"""Checks of states that hooks are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emloop.errors import StateError
from emloop.types import StateTree


def check_keys(owner: object, state: StateTree, keys: Iterable[str]) -> Mapping[str, Any]:
    """Return a state that has exactly the keys its owner writes.

    Raises:
        StateError: If keys are missing or unknown, as in a state of another class or another version of it.
    """
    expected = set(keys)
    found = set(state) if isinstance(state, Mapping) else None
    if found != expected:
        got = "no mapping" if found is None else ", ".join(map(repr, sorted(found))) or "nothing"
        wanted = ", ".join(map(repr, sorted(expected)))
        raise StateError(f"{type(owner).__name__}: the state does not fit; expected {wanted}, got {got}")
    return state  # type: ignore[no-any-return]  # a state tree is Any by its nature
