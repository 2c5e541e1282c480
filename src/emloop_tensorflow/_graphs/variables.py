"""The variables of a model: found wherever they are kept, named readably, stored to the bit.

Variables of Keras go by their paths, ``sequential/dense/kernel``, others by the attributes that lead to them,
``tables/0``. What only a graph knows, since it hides in a closure, goes by its own name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from emloop.errors import StateError

__all__ = [
    "assign",
    "hidden_variables",
    "is_trainable",
    "named_variables",
    "note_variables",
    "plain",
    "to_plain",
    "unused",
]

_BITS = {1: np.uint8, 2: np.uint16}


def named_variables(owner: Any, apart: Collection[str] = ()) -> dict[str, Any]:
    """Name → variable, of Keras or of TensorFlow, for all that the attributes of an object lead to.

    Args:
        owner: The object.
        apart: Its attributes that do not count.
    """
    found: dict[str, Any] = {}
    known: set[int] = set()
    for name, value in vars(owner).items():
        if name not in apart:
            for path, variable in _variables(value, name, known):
                found[unused(path, found)] = variable
    return found


def hidden_variables(graph: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Name → variable that a graph uses, beside those that are known, in the order in which it came to use them."""
    handles = {id(plain(variable).handle) for variable in known.values()}
    by_handle = {id(variable.handle): variable for variable in graph.variables}
    found: dict[str, Any] = {}
    for handle, _ in graph.captures:
        variable = by_handle.get(id(handle))
        if variable is not None and id(handle) not in handles:
            found[unused(variable.name.partition(":")[0], {**known, **found})] = variable
    return found


def note_variables(graph: Any, known: Mapping[str, Any]) -> None:
    """Let a graph know all variables that it uses; of what an operation writes unread, TensorFlow takes no note."""
    noted = {id(variable.handle) for variable in graph.variables}
    captured = {id(handle) for handle, _ in graph.captures} - noted
    further = {id(plain(variable).handle): plain(variable) for variable in known.values()}
    graph.variables = [*graph.variables, *(variable for key, variable in further.items() if key in captured)]


def plain(variable: Any) -> tf.Variable:
    """The variable of TensorFlow that one of Keras stands for."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def is_trainable(variable: Any) -> bool:
    """Whether an optimizer may train it."""
    dtype = plain(variable).dtype
    return bool(variable.trainable) and (dtype.is_floating or dtype.is_complex)


def to_plain(name: str, variable: Any) -> Any:
    """The values of a variable for a state tree: a copy.

    Raises:
        StateError: If they are no numbers.
    """
    value = np.asarray(plain(variable).numpy())
    if value.dtype.kind in "biufc":
        return value
    if value.dtype.kind in "OSU":
        raise StateError(f"variable {name!r} holds text, which no state can; keep it outside of the model's variables")
    return {"dtype": value.dtype.name, "bits": value.view(_BITS[value.dtype.itemsize])}


def assign(owner: str, variables: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Give variables the values of a state.

    Args:
        owner: What they belong to, for messages.
        variables: Name → variable.
        state: Name → what :func:`to_plain` returned.

    Raises:
        StateError: If the state is of other variables; nothing was assigned.
    """
    lacking = [f"lacks {name!r}" for name in variables if name not in state]
    lacking += [f"has {name!r}" for name in state if name not in variables]
    if lacking:
        raise StateError(f"{owner}: the state is of another model: it {lacking[0]}{_more(lacking)}")
    values = {name: _from_plain(state[name], plain(variable)) for name, variable in variables.items()}
    misfits = [
        f"{name!r} is {value.dtype} {list(value.shape)}, "
        f"expected {plain(variables[name]).dtype.name} {plain(variables[name]).shape.as_list()}"
        for name, value in values.items()
        if not plain(variables[name]).shape.is_compatible_with(value.shape)
        or value.dtype != plain(variables[name]).dtype.as_numpy_dtype
    ]
    if misfits:
        raise StateError(f"{owner}: the state is of another model: {misfits[0]}{_more(misfits)}")
    for name, value in values.items():
        plain(variables[name]).assign(value)


def _from_plain(value: Any, variable: tf.Variable) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"dtype", "bits"}:
        wanted = variable.dtype.as_numpy_dtype
        bits = np.asarray(value["bits"])
        if np.dtype(wanted).name == value["dtype"] and bits.dtype == _BITS.get(np.dtype(wanted).itemsize):
            return bits.view(wanted)
        return bits
    return np.asarray(value)


def _more(words: Collection[str]) -> str:
    return f", and {len(words) - 1} more" if len(words) > 1 else ""


def unused(name: str, taken: Collection[str]) -> str:
    """A name that is not taken: this one or, with a number behind it, the next."""
    number, unused = 0, name
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    return unused


def _variables(value: Any, path: str, known: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (keras.Variable, tf.Variable)):
        own = value.path if isinstance(value, keras.Variable) else path
        if _is_new(plain(value), known):
            yield own, value
        return
    if not isinstance(value, _HOLDERS) or not _is_new(value, known):
        return
    if isinstance(value, keras.Layer):
        for variable in value.variables:
            yield from _variables(variable, path, known)
    for name, part in _parts(value):
        yield from _variables(part, f"{path}/{name}", known)


_HOLDERS = (
    Mapping,
    list,
    tuple,
    tf.Module,
    keras.Layer,
    keras.metrics.Metric,
    keras.random.SeedGenerator,
    tf.random.Generator,
)


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(str(name), part) for name, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [(str(number), part) for number, part in enumerate(value)]
    if isinstance(value, (keras.random.SeedGenerator, tf.random.Generator)):
        return [("state", value.state)]
    if isinstance(value, keras.metrics.Metric):
        return [("variables", value.variables)]
    if isinstance(value, keras.Layer):
        # What Keras itself keeps has underscores; layers in it may have variables of TensorFlow.
        own = [(name, part) for name, part in vars(value).items() if not name.startswith("_")]
        return [*own, *((layer.name, layer) for layer in getattr(value, "layers", ()))]
    # TensorFlow notes in attributes of its own what others there are.
    return [(name, part) for name, part in vars(value).items() if not name.startswith("_self_")]


def _is_new(value: Any, known: set[int]) -> bool:
    # What has been seen stays alive as long as its owner does, so no other object gets its number.
    if id(value) in known:
        return False
    known.add(id(value))
    return True
