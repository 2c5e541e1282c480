"""One graph of a model: its function, its signature, and what has to be known of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import tensorflow as tf

from emloop.errors import BatchError, ConfigError, EmloopError
from emloop.saved_models import Described

from .feeding import LazyArray, Signature, listed, told_by
from .operations import kinds_of, writes

__all__ = ["Graph", "arrays_from"]

Arrays = Sequence[np.ndarray[Any, Any]]

_UNCOMPUTED = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.FailedPreconditionError)
_ALONE = threading.RLock()
"""Held while a graph is made, since layers, seeds and names are shared, or while one runs that must leave no traces."""


class Graph:
    """A function of TensorFlow that takes the sources of a batch one by one, and returns a list.

    Args:
        names: Names of the sources.
        signature: What they look like.
        trace: Makes the function for a signature, and says what the outputs are called; ``None`` where there is no
            source to make it from.
        function: The function, if there is one already.
        outputs: Names of its outputs.
        keeps: Whether variables are as they were, once it has run.
    """

    def __init__(
        self,
        names: Sequence[str],
        signature: Signature,
        trace: Callable[[Signature], tuple[Any, Sequence[str]]] | None,
        *,
        keeps: bool,
        function: Any = None,
        outputs: Sequence[str] = (),
    ) -> None:
        self.names = list(names)
        self.signature = signature
        self.function = function
        self.outputs = list(outputs)
        self.kinds: set[str] = set()
        self.has_run = self.is_new = False
        """Whether it has ever run a batch, here or where its state comes from; whether one that has, had new sizes."""
        self._trace, self._keeps = trace, keeps
        self._before: tuple[Mapping[str, Any] | None] | None = None
        """What the signature was before sizes that nothing has been computed for yet."""
        self._known: dict[Any, bool] = {}
        self._written: list[tf.Variable] = []
        if function is not None:
            self._look()

    def __call__(self, arrays: Arrays) -> list[Any]:
        """The outputs for a batch, as tensors.

        Raises:
            BatchError: If it does not fit.
        """
        return self.compute(self.fitted(arrays))

    def fitted(self, arrays: Arrays) -> Arrays:
        """A batch with the dtypes that the function takes, which is made anew where it has to be.

        Raises:
            BatchError: If it does not fit.
        """
        key = tuple([(array.shape[1:], array.dtype) for array in arrays])
        plain = self._known.get(key)
        if plain is None:
            plain = self._meet(arrays, key)
        return arrays if plain else self.signature.converted(arrays)

    def compute(self, arrays: Arrays) -> list[Any]:
        """The outputs for a batch that has been fitted, as tensors.

        Raises:
            BatchError: If they cannot be computed for it.
            ConfigError: If they cannot be computed as the key ``deterministic`` asks.
        """
        tensors = [tf.constant(array) for array in arrays]
        try:
            found: list[Any] = self._undone(tensors) if self._written else self.function(*tensors)
        except _UNCOMPUTED as error:
            words = f"{self._failed(arrays)}: {told_by(error)}"
            if "determinis" in words.lower():
                hint = "take another operation, or leave `deterministic` out in the whole process"
                raise ConfigError.about("deterministic", words, hint) from error
            raise BatchError(words) from error
        self._before = None
        return found

    def prepare(self, arrays: Arrays | None = None) -> None:
        """Make the function now, for what has been seen and for a batch, which is not run."""
        with _ALONE:
            if arrays is not None and (self.signature.widened(arrays) or self.function is None):
                self.signature.converted(arrays)
                self._make()
            elif self.function is None and self.signature.entries is not None:
                self._make()

    def forget(self) -> None:
        """Make the function anew when it is needed again; what it looks like is kept."""
        self.function = None
        self._known.clear()

    def assume(self, entries: Mapping[str, Any]) -> None:
        """Take the signature of another graph for the time until there is a batch."""
        self.signature.take(entries)

    def expect(self, entries: Mapping[str, Any]) -> None:
        """Take the signature of another graph of the same sources; a function for another one is made anew."""
        self.has_run = True
        if entries != self.signature.entries and self._trace is not None:
            self.signature.take(entries)
            self.forget()

    def _meet(self, arrays: Arrays, key: Any) -> bool:
        with _ALONE:
            self._before = (self.signature.entries,)
            try:
                if self.signature.widened(arrays) or self.function is None:
                    self.signature.converted(arrays)
                    self._make()
                converted = self.signature.converted(arrays)
            except BaseException as error:
                told = self._failed(arrays)
                if not isinstance(error, EmloopError):
                    error.add_note(told)
                raise
            plain = all(one is other for one, other in zip(arrays, converted, strict=True))
            self._known[key] = plain
            self.has_run = self.is_new = True
            return plain

    def _failed(self, arrays: Arrays) -> str:
        """Forget the sizes of a batch that has failed, if they are new; tells them, and what there was before."""
        found = listed(self.names, [Described(array.dtype, array.shape) for array in arrays])
        before, self._before = self._before, None
        if self._trace is None or before is None or before[0] == self.signature.entries:
            return found
        self.forget()
        self.signature.take(before[0])
        self.has_run = before[0] is not None
        return f"{found}, where earlier batches had {self.signature}" if self.has_run else found

    def _make(self) -> None:
        if self._trace is not None:
            self.function, outputs = self._trace(self.signature)
            self.outputs = list(outputs)
            self._look()

    def _look(self) -> None:
        self.kinds = kinds_of(self.function.graph.as_graph_def())
        if self._keeps and writes(self.kinds):
            self._written = list(self.function.graph.variables)

    def _undone(self, tensors: Sequence[Any]) -> list[Any]:
        with _ALONE:
            before = [variable.numpy() for variable in self._written]
            with ExitStack() as after:
                for variable, value in zip(self._written, before, strict=True):
                    after.callback(variable.assign, value)
                found: list[Any] = self.function(*tensors)
            return found


def arrays_from(tensors: Mapping[str, Any], names: Sequence[str], examples: int, *, lazy: bool) -> dict[str, Any]:
    """Outputs as arrays, or on their way.

    Raises:
        BatchError: If one has not a value for every example.
    """
    arrays = {name: LazyArray(tensors[name]) if lazy else np.asarray(tensors[name].numpy()) for name in names}
    for name, array in arrays.items():
        if not array.ndim or len(array) != examples:
            raise BatchError(
                f"output {name!r}: expected {examples} values, one for every example, got shape {tuple(array.shape)}"
            )
    return arrays
