"""The variables of a batch, with errors that name what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop._support.suggest import did_you_mean
from emloop.errors import MissingVariableError, VariableTypeError
from emloop.types import Batch

MOST_WAITING = 64
"""How many batches' arrays a hook leaves on a device before it fetches them together."""

_CPU = 1  # DLPack's number for memory that NumPy can read


def read_variable(batch_data: Batch, stream_name: str, variable: str) -> Any:
    """Return the values of a variable in a batch.

    Raises:
        MissingVariableError: If the batch lacks the variable; lists those it has.
    """
    try:
        return batch_data[variable]
    except KeyError:
        raise missing_from_batch(batch_data, stream_name, variable) from None


def missing_from_batch(batch_data: Batch, stream_name: str, variable: str) -> MissingVariableError:
    """The error for a variable that is not in a batch."""
    there = ", ".join(map(repr, batch_data)) or "nothing"
    hint = "".join(f"; {text}" for text in did_you_mean(variable, map(str, batch_data)))
    return MissingVariableError(
        f"stream {stream_name!r}: no variable {variable!r} in the batch, which has {there}{hint}"
    )


def located(error: VariableTypeError, stream_name: str, variable: str) -> VariableTypeError:
    """The same error, naming stream and variable; to be raised from the first."""
    return VariableTypeError(f"stream {stream_name!r}: variable {variable!r}: {error}")


def no_examples(value: Any) -> VariableTypeError:
    """The error for a value that does not hold examples."""
    return VariableTypeError(
        f"expected a sequence with a value for every example, got a single {type(value).__name__}: {value!r:.80}"
    )


def lives_on_device(value: Any) -> bool:
    """Whether NumPy cannot read a value in place: it is in other memory (by DLPack's protocol), or not computed yet.

    Looking at such an array would wait for it. A hook may keep it for a while instead: it must not change once the
    model has returned it.
    """
    is_ready = getattr(value, "is_ready", None)
    if is_ready is not None and not is_ready():
        return True
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and device()[0] != _CPU


def fetched(values: Iterable[Any]) -> Iterator[Any]:
    """Arrays that were left on a device, in order, for NumPy to read.

    Those of one kind come in a single transfer where their library can join them (the array API's ``stack``).
    """
    for kind, group in groupby(values, _kind):
        alike = [*group]
        yield from alike if kind is None else np.asarray(alike[0].__array_namespace__().stack(alike))


def _kind(value: Any) -> tuple[Any, ...] | None:
    """What arrays that can be joined have in common; ``None`` for others."""
    if not hasattr(value, "__array_namespace__") or not value.shape:
        return None
    return type(value), value.shape, str(value.dtype), str(value.device)


def as_numbers(value: Any) -> npt.NDArray[Any]:
    """Values as an array of numbers, not necessarily a copy.

    Raises:
        VariableTypeError: If they are not numbers, one or more for every example.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise VariableTypeError(f"expected numbers that form an array: {error}") from error
    if not array.ndim:
        raise no_examples(value)
    array = with_known_floats(array)
    if array.dtype.kind not in "biuf":
        raise VariableTypeError(f"expected numbers, got {array.dtype} values such as {array.reshape(-1)[:1]!r:.80}")
    return array


def with_known_floats(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array; as ``float32`` if it holds small floats such as bfloat16, which NumPy takes for raw bytes."""
    return array.astype(np.float32) if array.dtype.kind == "V" and not array.dtype.names else array
