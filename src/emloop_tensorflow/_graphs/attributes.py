"""What Python counts or collects in attributes while a graph is traced: it happens then, and with no batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["python_values"]

_PLAIN = (bool, int, float, complex, str, bytes, np.generic, type(None))
_CONTAINERS = (Mapping, Sequence, Set)
_MOST = 1000
"""Entries of a container that are looked at; of more, only how many there are."""


def python_values(owner: Any, apart: Collection[str] = ()) -> dict[str, str]:
    """Name → value, as text, of whatever is no tensor and no variable among the attributes of a model and its layers.

    Args:
        owner: The model.
        apart: Its attributes that do not count.
    """
    known: set[int] = set()
    own = [(name, value) for name, value in vars(owner).items() if name not in apart]
    return {path: told for name, value in own for path, told in _values(value, name, known)}


def _values(value: Any, path: str, known: set[int]) -> Iterator[tuple[str, str]]:
    if id(value) in known and not isinstance(value, _PLAIN):
        return
    known.add(id(value))
    if isinstance(value, _PLAIN):
        yield path, repr(value)
    elif isinstance(value, _CONTAINERS):
        yield path, f"{len(value)} entries"
    for name, part in islice(_parts(value), _MOST):
        yield from _values(part, f"{path}{name}", known)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{name!r}]", part) for name, part in [*value.items()])
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{number}]", part) for number, part in enumerate(value))
    elif isinstance(value, (tf.Module, keras.Layer)):
        if isinstance(value, keras.Layer):
            yield from (
                (f".{layer.name}", layer) for layer in value._flatten_layers(include_self=False, recursive=False)
            )
        # What Keras and TensorFlow keep for themselves has underscores, or belongs to a class of theirs.
        if type(value).__module__.partition(".")[0] not in ("keras", "tensorflow"):
            yield from ((f".{name}", part) for name, part in [*vars(value).items()] if not name.startswith("_"))
