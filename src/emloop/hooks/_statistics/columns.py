"""The unfinished statistics of one variable in one stream.

Rows are copied into a chunk, which is reduced when it is full: a reduction costs microseconds, copying a row a fraction
of one. Where a chunk ends depends on nothing but the batches, so an interrupted run adds up the same numbers in the
same order as an uninterrupted one, and ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from emloop.errors import StateError
from emloop.types import StateTree

from .._variables.batches import MOST_WAITING, as_numbers, lives_on_device
from .reductions import STREAMING, Partial, Piece, Scalar, Values

MOST_ROWS = 64
MOST_BYTES = 1 << 18


class Column:
    """Aggregations of all batches that were added.

    Args:
        aggregations: Names out of ``STREAMING``.
    """

    def __init__(self, aggregations: Iterable[str]) -> None:
        self._partials: dict[str, Partial | None] = dict.fromkeys(aggregations)
        self._waiting: list[Any] = []
        self._filled = 0
        self._shape: tuple[int, ...] | None = None
        self._dtype = np.dtype(np.float64)

    def add(self, value: Any) -> None:
        """Take a batch's values, copied, or kept for a while if they live on a device.

        Raises:
            VariableTypeError: If they are not numbers, one or more for every example.
        """
        # An equal shape matters: a row of another one would be broadcast in silence.
        if (
            type(value) is np.ndarray
            and value.shape == self._shape
            and value.dtype is self._dtype
            and not self._waiting
        ):
            self._append(value)
        elif lives_on_device(value):
            self._waiting.append(value)
            if len(self._waiting) == MOST_WAITING:
                self._fetch()
        else:
            self._fetch()
            self._add_row(as_numbers(value))

    def _fetch(self) -> None:
        for value in self._waiting:
            self._add_row(as_numbers(value))
        self._waiting.clear()

    def _add_row(self, row: Values) -> None:
        if row.shape != self._shape or row.dtype != self._dtype:
            self._reduce_chunk()
            self._start_chunk(row)
        if self._capacity == 1:
            self._reduce(row)
        else:
            self._append(row)

    def _append(self, row: Values) -> None:
        self._chunk[self._filled] = row
        self._filled += 1
        if self._filled == self._capacity:
            self._reduce_chunk()

    def _start_chunk(self, row: Values) -> None:
        self._capacity = max(1, min(MOST_ROWS, MOST_BYTES // max(1, row.nbytes)))
        if self._capacity > 1:
            self._chunk: Values = np.empty((self._capacity, *row.shape), row.dtype)
            self._shape = row.shape
            self._dtype = row.dtype
        else:
            self._shape = None

    def _reduce_chunk(self) -> None:
        if self._filled:
            self._reduce(self._chunk[: self._filled])
            self._filled = 0

    def _reduce(self, values: Values) -> None:
        piece = Piece(values.reshape(-1))
        # Infinities and NaN are results here.
        with np.errstate(all="ignore"):
            for name, partial in self._partials.items():
                self._partials[name] = STREAMING[name].extend(partial, piece)

    def results(self) -> dict[str, Scalar]:
        """Every aggregation of all that was added; nothing can be added afterwards."""
        self._fetch()
        self._reduce_chunk()
        return {name: STREAMING[name].result(partial) for name, partial in self._partials.items()}

    def state(self) -> StateTree:
        """The unfinished statistics, including the unfinished chunk as it is."""
        self._fetch()
        return {
            "chunk": self._chunk[: self._filled].copy() if self._filled else None,
            "partials": {name: None if partial is None else list(partial) for name, partial in self._partials.items()},
        }

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` of an equal column returned.

        Raises:
            StateError: If it has other aggregations.
        """
        if set(state["partials"]) != set(self._partials):
            raise StateError(f"has {', '.join(state['partials'])}, but {', '.join(self._partials)} are computed")
        for name, partial in state["partials"].items():
            self._partials[name] = None if partial is None else tuple(partial)
        chunk = state["chunk"]
        if chunk is not None:
            self._start_chunk(chunk[0])
            self._chunk[: len(chunk)] = chunk
            self._filled = len(chunk)
