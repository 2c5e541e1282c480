"""Inputs and outputs of a graph, and conversion of a batch's sources to them.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, SavedModelError

__all__ = ["Value", "checked_output", "fitted"]

_RANK = {"b": 0, "i": 1, "u": 1, "f": 2}
"""Kinds of numbers; each converts to those of the same or a higher rank."""

_DTYPES = {
    "float": "float32",
    "double": "float64",
    **{
        name: name
        for name in ("bool", "float16", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
    },
}


class Value(NamedTuple):
    """An input or output of a graph.

    Args:
        name: Name in the graph.
        dtype: Type of its numbers.
        shape: Sizes, ``None`` for any; ``None`` if the graph states no shape.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    @classmethod
    def read(cls, argument: Any, file: str) -> Value:
        """Convert ONNX Runtime's description of an input or output.

        Raises:
            SavedModelError: If it is not a tensor of numbers.
        """
        dtype = _DTYPES.get(argument.type.removeprefix("tensor(").removesuffix(")"))
        if dtype is None:
            raise SavedModelError(
                f"{file}: {argument.name!r} is a {argument.type}; only tensors of numbers can be used"
            )
        sizes = tuple(size if isinstance(size, int) else None for size in argument.shape)
        # A graph without a stated shape looks like one that takes a single number.
        return cls(argument.name, np.dtype(dtype), sizes or None)

    def __str__(self) -> str:
        if self.shape is None:
            return str(self.dtype)
        return f"{self.dtype} [{', '.join('any' if size is None else str(size) for size in self.shape)}]"


def fitted(values: Any, source: str, expected: Value) -> npt.NDArray[Any]:
    """Convert a source of a batch to the dtype that the graph takes, and check its shape.

    Integers are converted if the type holds them all exactly, floats are rounded, as in training. Nothing is rounded to
    integers.

    Args:
        values: ``B`` examples.
        source: Name of the source.
        expected: What the graph takes.

    Raises:
        BatchError: If they do not fit; names the source, what was expected and what was found.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BatchError(f"{source}: the examples of a batch must have one shape: {error}") from error
    if array.dtype != expected.dtype:
        array = _converted(array, source, expected)
    shape = expected.shape
    if shape is not None and not (
        array.ndim == len(shape) and all(size in (None, found) for size, found in zip(shape, array.shape, strict=True))
    ):
        fixed = shape[0] is not None and array.shape[1:] == shape[1:]
        hint = f"; the file was made for batches of {shape[0]}" if fixed else ""
        raise BatchError(f"{source}: expected {expected}, got {array.dtype} {list(array.shape)}{hint}")
    return array


def checked_output(values: Any, name: str, examples: int) -> Any:
    """Return an output that has a value for every example.

    Raises:
        BatchError: If its first axis is not ``B``.
    """
    shape = np.shape(values)
    if shape[:1] != (examples,):
        raise BatchError(f"output {name!r}: expected {examples} values, one for every example, got shape {shape}")
    return values


def _converted(array: npt.NDArray[Any], source: str, expected: Value) -> npt.NDArray[Any]:
    found, wanted = array.dtype, expected.dtype
    if _RANK.get(found.kind, 3) > _RANK[wanted.kind]:
        raise BatchError(f"{source}: expected {expected}, got {found} {list(array.shape)}")
    try:
        with np.errstate(over="raise"):
            converted = array.astype(wanted)
    except FloatingPointError:
        converted = None
    if converted is None or not (found.kind == "f" or np.can_cast(found, wanted) or _holds(wanted, array)):
        raise BatchError(f"{source}: expected {expected}, got {found} with numbers that {wanted} cannot hold")
    return converted


def _holds(dtype: np.dtype[Any], integers: npt.NDArray[Any]) -> bool:
    """Whether a type can hold all the integers exactly."""
    if not integers.size:
        return True
    if dtype.kind == "f":
        largest = 2 ** (np.finfo(dtype).nmant + 1)
        smallest = -largest
    else:
        smallest, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return bool(smallest <= int(integers.min()) and int(integers.max()) <= largest)
