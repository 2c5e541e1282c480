"""The vocabulary that datasets, models, hooks and the main loop share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Literal

__all__ = [
    "Batch",
    "EpochData",
    "Objective",
    "StateTree",
    "Stream",
    "TimeProfile",
    "TrainingTerminated",
]

Batch = Mapping[str, Sequence[Any]]
"""Source or variable name → ``B`` examples; the first axis is the example."""

Stream = Iterable[Batch]
"""What a dataset's ``<name>_stream`` method returns."""

EpochData = MutableMapping[str, MutableMapping[str, Any]]
"""Stream name → variable name → what the hooks found out in this epoch."""

TimeProfile = Mapping[str, Sequence[float]]
"""Event name, e.g. ``read_batch_train`` → seconds, one per occurrence."""

Objective = Literal["min", "max"]
"""Whether smaller or larger values of a variable are better."""

StateTree = Any
"""Nested ``dict`` (with ``str`` keys) and ``list`` of ``None``, ``bool``, ``int``, ``float``, ``str``, ``bytes`` and
NumPy arrays: whatever a ``state_dict`` may return. Never pickled."""


class TrainingTerminated(Exception):
    """Raised by a hook to end the training in an orderly way."""
