"""What a graph takes and gives, and making the sources of a batch fit.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, SavedModelError

__all__ = ["Value", "checked_output", "fitted"]

_RANK = {"b": 0, "i": 1, "u": 1, "f": 2}
"""Kinds of numbers; one can become another that is not below it."""

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
        name: What the graph calls it.
        dtype: Type of its numbers.
        shape: Its sizes, ``None`` for those that may be any; ``None`` where nothing is known of it.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    @classmethod
    def read(cls, argument: Any, file: str) -> Value:
        """What ONNX Runtime says of an input or output.

        Raises:
            SavedModelError: If it is no tensor of numbers.
        """
        dtype = _DTYPES.get(argument.type.removeprefix("tensor(").removesuffix(")"))
        if dtype is None:
            raise SavedModelError(
                f"{file}: {argument.name!r} is a {argument.type}; only tensors of numbers can be used"
            )
        sizes = tuple(size if isinstance(size, int) else None for size in argument.shape)
        # A graph that says nothing of the shape looks like one that takes a single number.
        return cls(argument.name, np.dtype(dtype), sizes or None)

    def __str__(self) -> str:
        if self.shape is None:
            return str(self.dtype)
        return f"{self.dtype} [{', '.join('any' if size is None else str(size) for size in self.shape)}]"


def fitted(values: Any, source: str, expected: Value) -> npt.NDArray[Any]:
    """A source of a batch as the graph takes it.

    Numbers become of another type where that can hold them: integers if all of them fit, and floats by rounding, as in
    training. Nothing is rounded to integers.

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
        raise BatchError(f"{source}: expected {expected}, got {array.dtype} {list(array.shape)}{_fixed(shape, array)}")
    return array


def checked_output(values: Any, name: str, examples: int) -> Any:
    """An output, if it has a value for every example.

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
    """Whether a type can hold some integers exactly."""
    if not integers.size:
        return True
    if dtype.kind == "f":
        largest = 2 ** (np.finfo(dtype).nmant + 1)
        smallest = -largest
    else:
        smallest, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return bool(smallest <= int(integers.min()) and int(integers.max()) <= largest)


def _fixed(shape: tuple[int | None, ...], array: npt.NDArray[Any]) -> str:
    takes_one_size = shape[0] is not None and array.shape[1:] == shape[1:]
    return f"; the file was made for batches of {shape[0]}" if takes_one_size else ""
