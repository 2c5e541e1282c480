"""What a state has to look like: its keys, and the types of its values."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from emloop.errors import StateError
from emloop.types import StateTree

__all__ = ["check_state"]

_WORDS: dict[Any, str] = {
    None: "None",
    bool: "a truth value",
    int: "a whole number from 0 on",
    float: "a number",
    str: "text",
    bytes: "bytes",
    np.ndarray: "an array",
}


def check_state(owner: object, state: StateTree, kind: Any) -> Any:
    """Return a state, which is of a kind.

    ==============================  ==================================================================
    ``None``, ``bool``, ``str`` …   that value, or one of that class; ``object`` takes whatever there is
    ``int``, ``float``              a whole number from 0 on, any real number; neither is a truth value
    ``np.dtype("uint8")``           an array of that dtype
    ``{"best": float}``             a mapping with exactly these keys
    ``{str: int}``                  a mapping from text to values of a kind
    ``[float, int]``                a list of exactly these
    ``[str, ...]``                  a list of any number of them
    ``(float, None)``               either
    ==============================  ==================================================================

    Args:
        owner: Whose state it is: an object, or words.
        state: The state.
        kind: What it has to be.

    Raises:
        StateError: If it is anything else, as that of another class or of another version is; names the place.
    """
    if misfit := _misfit(state, kind, ()):
        place, what = misfit
        name = owner if isinstance(owner, str) else type(owner).__name__
        raise StateError(f"{name}: the state does not fit; {''.join(f'{key}: ' for key in place)}{what}")
    return state


def _misfit(value: Any, kind: Any, place: tuple[Any, ...]) -> tuple[tuple[Any, ...], str] | None:
    """Where something else stands, and what; ``None`` where everything fits."""
    items: Any = ()
    if isinstance(kind, tuple):
        misfits = [_misfit(value, one, place) for one in kind]
        fits = None in misfits
        inside = [misfit for misfit in misfits if misfit and len(misfit[0]) > len(place)]
        if inside and not fits:
            return inside[0]
    elif isinstance(kind, dict) and str in kind:
        fits = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        items = ((key, item, kind[str]) for key, item in value.items()) if fits else ()
    elif isinstance(kind, dict):
        found = set(value) if isinstance(value, Mapping) else None
        if found != set(kind):
            got = "no mapping" if found is None else ", ".join(map(repr, sorted(found, key=str))) or "nothing"
            return place, f"expected {', '.join(map(repr, sorted(kind)))}, got {got}"
        fits, items = True, ((key, value[key], of) for key, of in kind.items())
    elif isinstance(kind, list):
        any_number = kind[-1:] == [...]
        fits = isinstance(value, list) and (any_number or len(value) == len(kind))
        items = ((n, v, kind[0 if any_number else n]) for n, v in enumerate(value)) if fits else ()
    elif isinstance(kind, np.dtype):
        fits = isinstance(value, np.ndarray) and value.dtype == kind
    elif kind in (int, float):
        fits = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        fits = fits and (kind is float or value >= 0)
    else:
        fits = value is None if kind is None else isinstance(value, kind)
    if not fits:
        return place, f"expected {_told(kind)}, got {repr(value)[:40]}"
    return next(filter(None, (_misfit(item, of, (*place, key)) for key, item, of in items)), None)


def _told(kind: Any) -> str:
    if isinstance(kind, tuple):
        return " or ".join(map(_told, kind))
    if isinstance(kind, dict):
        return "a mapping"
    if isinstance(kind, list):
        return "a list" if kind[-1:] == [...] else f"a list of {len(kind)}"
    return f"an array of {kind}" if isinstance(kind, np.dtype) else _WORDS.get(kind) or f"a {kind.__name__}"
