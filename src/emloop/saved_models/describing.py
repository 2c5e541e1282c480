"""What the inputs and outputs of a model look like, and whether something fits.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from emloop._support.suggest import did_you_mean
from emloop.errors import BatchError, MissingVariableError
from emloop.types import Batch

__all__ = ["Described", "array_of", "describe_variables", "fitted", "require_sources"]

_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}
"""Kinds of numbers; each converts to those of the same or a higher rank."""
_TEXTS = "USOT"
_Shape = tuple[int | None, ...]


class Described(NamedTuple):
    """What the arrays of an input or output look like.

    Args:
        dtype: Type of the values.
        shape: Sizes, ``None`` for any; ``None`` if they are unknown.
    """

    dtype: np.dtype[Any]
    shape: _Shape | None

    @classmethod
    def parse(cls, entry: Any) -> Described | None:
        """Read an entry of a manifest; ``None`` if it says nothing."""
        try:
            return cls(np.dtype(entry["dtype"]), tuple(entry["shape"]))
        except (TypeError, KeyError, ValueError):
            return None

    @property
    def entry(self) -> dict[str, Any]:
        """The same for a manifest."""
        return {"dtype": str(self.dtype), "shape": None if self.shape is None else list(self.shape)}

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array may have this shape."""
        own = self.shape
        return own is None or (len(own) == len(shape) and all(a in (None, b) for a, b in zip(own, shape, strict=True)))

    def __str__(self) -> str:
        if self.shape is None:
            return str(self.dtype)
        return f"{self.dtype} [{', '.join('any' if size is None else str(size) for size in self.shape)}]"


def describe_variables(batch: Batch, before: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Describe inputs or outputs for a manifest: name → ``dtype`` and ``shape``, whose first axis is ``None``.

    Args:
        batch: A batch.
        before: What was returned for an earlier batch. Axes whose sizes differ are ``None`` as well.
    """
    described = {}
    for name, values in batch.items():
        array = np.asarray(values)
        shape: list[int | None] = [None, *array.shape[1:]]
        known = Described.parse((before or {}).get(name))
        if known is not None and known.shape is not None and len(known.shape) == len(shape):
            shape = [size if size == other else None for size, other in zip(shape, known.shape, strict=True)]
        described[name] = {"dtype": str(array.dtype), "shape": shape}
    return described


def fitted(values: Any, name: str, expected: Described, *, any_size: bool = False) -> npt.NDArray[Any]:
    """Convert an input to the dtype that a model takes, and check its shape.

    Integers are converted if the type holds them all exactly, floats are rounded, as in training. Nothing is rounded to
    integers.

    Args:
        values: ``B`` examples.
        name: Name of the input.
        expected: What the model takes.
        any_size: Whether only the number of axes has to fit.

    Raises:
        BatchError: If they do not fit; names the input, what was expected and what was found.
    """
    array = array_of(values, name)
    if array.dtype != expected.dtype:
        array = _converted(array, name, expected)
    shape = expected.shape
    if shape is not None and not (len(shape) == array.ndim if any_size else expected.takes(array.shape)):
        hint = ""
        if expected._replace(shape=shape[1:]).takes(array.shape):
            hint = "; a single example needs a first axis as well: array[None]"
        elif shape[:1] != (None,) and array.shape[1:] == shape[1:]:
            hint = f"; the file was made for batches of {shape[0]}"
        raise BatchError(f"{name}: expected {expected}, got {array.dtype} {list(array.shape)}{hint}")
    return array


def require_sources(batch: object, names: Iterable[str]) -> None:
    """Refuse what is no batch, or lacks a source.

    Raises:
        BatchError: If it is no mapping.
        MissingVariableError: If it lacks one; says what there is.
    """
    if not isinstance(batch, Mapping):
        raise BatchError(f"expected a mapping of source names to examples, got {type(batch).__name__}")
    missing = [name for name in names if name not in batch]
    if missing:
        hints = "".join(f"; {hint}" for hint in did_you_mean(missing[0], batch))
        there = ", ".join(map(repr, batch)) or "nothing"
        raise MissingVariableError(f"the batch has no {missing[0]!r}; it has {there}{hints}")


def array_of(values: Any, name: str) -> npt.NDArray[Any]:
    """An input as an array.

    Raises:
        BatchError: If its examples differ in shape.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise BatchError(f"{name}: the examples of a batch must have one shape: {error}") from error


def _converted(array: npt.NDArray[Any], name: str, expected: Described) -> npt.NDArray[Any]:
    found, wanted = array.dtype, expected.dtype
    if found.kind == "O" and wanted.kind == "f" and all(item is None or isinstance(item, Real) for item in array.flat):
        return array.astype(wanted)  # None is a missing number
    if found.kind in _TEXTS and wanted.kind in _TEXTS:
        return array  # of which the width says nothing
    if found.kind != wanted.kind and _RANK.get(found.kind, 4) > _RANK.get(wanted.kind, -1):
        raise BatchError(f"{name}: expected {expected}, got {found} {list(array.shape)}")
    try:
        with np.errstate(over="raise"):
            converted = array.astype(wanted)
    except (FloatingPointError, ValueError):
        converted = None
    if converted is None or not (found.kind in "fc" or np.can_cast(found, wanted) or _holds(wanted, array)):
        raise BatchError(f"{name}: expected {expected}, got {found} with numbers that {wanted} cannot hold")
    return converted


def _holds(dtype: np.dtype[Any], integers: npt.NDArray[Any]) -> bool:
    """Whether a type can hold all the integers exactly."""
    if not integers.size:
        return True
    if dtype.kind in "fc":
        largest = 2 ** (np.finfo(dtype).nmant + 1)
        smallest = -largest
    else:
        smallest, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return bool(smallest <= int(integers.min()) and int(integers.max()) <= largest)
