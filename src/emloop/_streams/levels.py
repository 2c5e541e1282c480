"""How exactly a stream can be resumed: what follows from the kind of thing that its method returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from emloop.types import StateTree

__all__ = ["Level", "StateMethods", "is_sequence", "state_methods"]

Level = Literal["exact", "replay", "epoch"]
"""``exact``: jumps to any batch. ``replay``: a generator, read again up to the batch and compared. ``epoch``: any other
iterable, exact at the start of a pass only; inside one it is read again and compared as well."""

_STATE_METHODS = (("state_dict", "load_state_dict"), ("get_state", "set_state"))


class StateMethods(NamedTuple):
    """How to ask an object for its state, and to give it back."""

    capture: Callable[[], StateTree]
    restore: Callable[[StateTree], object]


def state_methods(candidate: object) -> StateMethods | None:
    """The methods by which an iterable, or its iterator, offers its position; ``None`` if it does not."""
    for names in _STATE_METHODS:
        capture, restore = (getattr(candidate, name, None) for name in names)
        if callable(capture) and callable(restore):
            return StateMethods(capture, restore)
    return None


def is_sequence(candidate: Any) -> bool:
    """Whether batches can be had by number: it has a length and takes an index, and is no mapping."""
    cls = type(candidate)
    return hasattr(cls, "__len__") and hasattr(cls, "__getitem__") and not isinstance(candidate, Mapping)
