"""The values of a batch's examples: one for each, or a sequence for each.

``B`` is the number of examples, ``T`` the length of a sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from emloop.errors import BatchError, VariableTypeError

from .batches import lives_on_device, no_examples

_PLAIN = (bool, int, float, str, bytes, type(None))
_KIND_OF_ARRAY = {bool: "b", int: "i", float: "f"}


def check_same_count(stream_name: str, values: Mapping[str, Any]) -> None:
    """Check that variables of a batch have a value for every example.

    Args:
        stream_name: Name of the batch's stream, for the message.
        values: Name of a variable → its values.

    Raises:
        VariableTypeError: If a variable is a single value.
        BatchError: If the variables differ in ``B``.
    """
    for name, of_name in values.items():
        if _is_single(of_name):
            raise VariableTypeError(f"stream {stream_name!r}: variable {name!r}: {no_examples(of_name)}")
    if len({len(of_name) for of_name in values.values()}) > 1:
        counts = ", ".join(f"{len(of_name)} of {name!r}" for name, of_name in values.items())
        raise BatchError(f"stream {stream_name!r}: the batch has not the same number of examples of each: {counts}")


def check_single_values(name: str, values: Any) -> None:
    """Check that a variable has one number or text for every example.

    Raises:
        VariableTypeError: If it has a sequence for an example.
    """
    shape = getattr(values, "shape", None)
    if shape is not None and len(shape) != 1:
        raise VariableTypeError(f"variable {name!r}: expected one value per example, got an array of shape {shape}")
    if shape is None and not all(map(_is_single, values)):
        raise VariableTypeError(f"variable {name!r}: expected one value per example, got a sequence for some")


def sequence_lengths(name: str, values: Any, *, of_singles: bool = True) -> list[int]:
    """``T`` of every example.

    Args:
        name: Name of the variable.
        values: Its ``B`` values.
        of_singles: Whether a sequence must have one number or text at each position.

    Raises:
        VariableTypeError: If the variable does not have such a sequence for every example.
    """
    shape = getattr(values, "shape", None)
    if shape is not None and (len(shape) == 2 or (len(shape) > 2 and not of_singles)):
        return [shape[1]] * shape[0]
    if shape is not None or any(map(_is_single, values)) or (of_singles and not all(map(_has_singles, values))):
        found = f"an array of shape {shape}" if shape is not None else f"{values!r:.80}"
        expected = "a sequence of single values" if of_singles else "a sequence"
        raise VariableTypeError(f"variable {name!r}: expected {expected} per example, got {found}")
    return [len(example) for example in values]


def storable_values(values: Any) -> Any:
    """A batch's values as something that has ``len`` and that a state tree can hold.

    Numbers become arrays; an array on a device stays there; what is neither number nor text becomes text.

    Args:
        values: ``B`` values: an array, or a sequence of single values or (nested) lists.
    """
    if lives_on_device(values) and hasattr(values, "shape"):
        return values
    if hasattr(values, "__array__"):
        array = np.asarray(values)
        if not array.dtype.hasobject:
            return array
    return _compact([_plain(value) for value in values])


def _is_single(value: Any) -> bool:
    return isinstance(value, (str, bytes)) or not getattr(value, "shape", hasattr(value, "__len__"))


def _has_singles(sequence: Any) -> bool:
    shape = getattr(sequence, "shape", None)
    return all(map(_is_single, sequence)) if shape is None else len(shape) == 1


def _plain(value: Any) -> Any:
    if isinstance(value, _PLAIN) or hasattr(value, "__array__"):
        return value
    return _compact([_plain(item) for item in value]) if isinstance(value, (list, tuple)) else str(value)


def _compact(values: list[Any]) -> Any:
    """Values as one array if it holds exactly them; it takes a fraction of the list's memory."""
    if len({(value.dtype, value.shape) if isinstance(value, np.ndarray) else type(value) for value in values}) != 1:
        return values
    if isinstance(values[0], np.ndarray):
        return np.stack(values)
    array = np.array(values) if type(values[0]) in _KIND_OF_ARRAY else None
    # Integers that are too large would become floats or objects.
    return array if array is not None and array.dtype.kind == _KIND_OF_ARRAY[type(values[0])] else values
