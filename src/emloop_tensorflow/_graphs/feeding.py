"""Batches as arrays of the kinds that a graph takes, and what kinds these are.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import tensorflow as tf

from emloop.errors import BatchError, StateError
from emloop.saved_models import Described, array_of, fitted, require_sources
from emloop.types import Batch

__all__ = ["LazyArray", "Signature", "arrays_of", "listed", "told_by"]

_NUMERIC = "biufc"
_SINGLE = 4


def arrays_of(batch: Batch, names: Iterable[str]) -> list[np.ndarray[Any, Any]]:
    """The named sources of a batch as arrays of numbers.

    Raises:
        BatchError: If it is no mapping, or examples differ in shape or are not numbers.
        MissingVariableError: If it lacks a source.
    """
    try:
        return [_array(batch[name], name) for name in names]
    except (KeyError, TypeError):
        require_sources(batch, names)
        raise


def _array(values: Any, name: str) -> np.ndarray[Any, Any]:
    if type(values) is np.ndarray and values.dtype.kind in _NUMERIC and values.ndim:
        return values
    if isinstance(values, (tf.RaggedTensor, tf.SparseTensor)):
        hint = "to_tensor() of it" if isinstance(values, tf.RaggedTensor) else "tf.sparse.to_dense() of it"
        raise BatchError(f"{name}: expected a dense array, got a {type(values).__name__}; give the model {hint}")
    array = array_of(values, name)
    if array.dtype.kind not in _NUMERIC and array.dtype.name != "bfloat16":
        odd = [type(each) for each in array.flat if not isinstance(each, Number)] if array.dtype.kind == "O" else []
        is_text = array.dtype.kind in "SUT" or (odd and issubclass(odd[0], (str, bytes)))
        hint = "; turn text into numbers first, e.g. by a tokenizer" if is_text else ""
        raise BatchError(f"{name}: expected numbers, got an array of {odd[0].__name__ if odd else array.dtype}{hint}")
    if not array.ndim:
        raise BatchError(f"{name}: expected a value for every example, got a single one")
    return array


class Signature:
    """What the inputs of a graph look like; axes that were seen to vary are of any size.

    Args:
        names: Names of the sources.
        floating: Dtype that 64-bit floats are converted to.
        entries: Name → its description, as :attr:`entries` tells it; ``None``: no batch was seen yet.
        fixed: Whether no other sizes than described ones can be had, since there is no source to make them from.
    """

    def __init__(
        self, names: Sequence[str], floating: str, entries: Mapping[str, Any] | None = None, *, fixed: bool = False
    ) -> None:
        self._names = list(names)
        self._floating = np.dtype(floating)
        self._fixed = fixed
        self._described: list[Described] | None = None
        if entries is not None:
            self.take(entries)

    @property
    def entries(self) -> dict[str, Any] | None:
        """The same for a state, or a program; ``None`` as long as no batch was seen."""
        if self._described is None:
            return None
        return {name: each.entry for name, each in zip(self._names, self._described, strict=True)}

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """The same for TensorFlow."""
        described = zip(self._names, self._described or (), strict=True)
        return [tf.TensorSpec(each.shape, tf.as_dtype(each.dtype), name=_identifier(name)) for name, each in described]

    def __str__(self) -> str:
        return listed(self._names, self._described or ())

    def take(self, entries: Mapping[str, Any] | None) -> None:
        """Look like another signature, as its :attr:`entries` tell.

        Raises:
            StateError: If that is none of these sources.
        """
        if entries is None:
            self._described = None
            return
        found = [Described.parse(entries.get(name)) for name in self._names]
        described = [each for each in found if each is not None and each.shape is not None]
        if len(described) != len(found):
            missing = self._names[found.index(None)] if None in found else self._names[0]
            raise StateError(f"the state is of a model with other inputs: it lacks {missing!r}")
        self._described = described

    def widened(self, arrays: Sequence[np.ndarray[Any, Any]]) -> bool:
        """Take the sizes of a batch; returns whether a graph has to be made anew for them.

        Raises:
            BatchError: If the number of axes is another one.
        """
        if self._described is None:
            native = [array.dtype.newbyteorder("=") for array in arrays]
            kinds = [self._floating if kind.kind == "f" and kind.itemsize > _SINGLE else kind for kind in native]
            self._described = [Described(k, (None, *a.shape[1:])) for k, a in zip(kinds, arrays, strict=True)]
            return True
        wider = []
        for name, one, array in zip(self._names, self._described, arrays, strict=True):
            sizes = one.shape or ()
            if self._fixed and not one.takes(array.shape):
                told = f"{name}: expected {one}, got {Described(array.dtype, array.shape)}"
                raise BatchError(f"{told}; a model takes sizes that it met before it was saved, or needs its source")
            if self._fixed or len(sizes) != len(array.shape):
                fitted(array, name, one)
                wider.append(one)
            else:
                same = [size if size == other else None for size, other in zip(sizes, array.shape, strict=True)]
                wider.append(one._replace(shape=(None, *same[1:])))
        changed, self._described = wider != self._described, wider
        return changed

    def converted(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The arrays with the dtypes that the graph takes.

        Raises:
            BatchError: If they do not fit; names the source, what was expected and what was found.
        """
        return [
            array if array.dtype == one.dtype else fitted(array, name, one)
            for name, one, array in zip(self._names, self._described or (), arrays, strict=True)
        ]


class LazyArray:
    """An output that may still be on its way from a device: access to the values waits for them.

    It can be used like an array; ``numpy.asarray`` returns the values.

    Args:
        tensor: The output.
    """

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self.shape = tuple(tensor.shape)
        self.ndim = len(self.shape)
        self._values: np.ndarray[Any, Any] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self._tensor.dtype.as_numpy_dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self._values is None:
            self._values = np.asarray(self._tensor.numpy())
        values = self._values if dtype is None else self._values.astype(dtype, copy=False)
        return values.copy() if copy else values

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Any:
        return iter(np.asarray(self))

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]

    def __repr__(self) -> str:
        return f"LazyArray(shape={self.shape}, dtype={self.dtype})"


def listed(names: Iterable[str], described: Iterable[Described]) -> str:
    """What sources look like, in one line."""
    return ", ".join(f"{name} {one}" for name, one in zip(names, described, strict=True))


def told_by(error: tf.errors.OpError) -> str:
    """The line of an error of TensorFlow that says what is wrong; before it stand all frames, behind it operations."""
    words = [line for line in str(error.message).partition("[[{{node")[0].splitlines() if line.strip()]
    return words[-1].strip() if words else type(error).__name__


def _identifier(name: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in f"in_{name}")
