"""The unfinished statistics of one variable in one stream.

Rows are copied into a chunk, which is reduced when it is full: a reduction costs microseconds, copying a row a fraction
of one. Where a chunk ends depends on nothing but the batches, so an interrupted run adds up the same numbers in the
same order as an uninterrupted one, and ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from numbers import Number
from typing import Any

import numpy as np
from numpy import ndarray

from emloop._state.kinds import check_state
from emloop.errors import StateError
from emloop.types import StateTree

from .._variables.batches import MOST_WAITING, as_numbers, fetched, lives_on_device
from .reductions import STREAMING, Partial, Piece, Scalar, Values

MOST_ROWS = 64
MOST_BYTES = 1 << 18

_A_PIECE = Piece(np.ones(1))


class Column:
    """Aggregations of all batches that were added.

    Args:
        aggregations: Names out of ``STREAMING``.
    """

    def __init__(self, aggregations: Iterable[str]) -> None:
        self._partials: dict[str, Partial | None] = dict.fromkeys(aggregations)
        self._waiting: list[Any] = []
        self._buffer = BytesIO()  # takes a row in a third of the time of an array
        self._capacity = 0  # rows of a chunk
        self._left: list[Callable[[bytes], int]] = []  # a call for each row that the chunk has yet to take
        self._shape: tuple[int, ...] | None = None
        self._size = 0
        self._dtype = np.dtype(np.float64)

    def add(self, value: Any) -> None:
        """Take a batch's values, copied, or kept for a while if they live on a device.

        Raises:
            VariableTypeError: If they are not numbers, one or more for every example.
        """
        # An equal shape matters: a row of another one would be broadcast in silence.
        if type(value) is ndarray and value.shape == self._shape and value.dtype is self._dtype and not self._waiting:
            left = self._left
            left.pop()(value.tobytes())
            if not left:
                self._reduce_chunk()
        elif lives_on_device(value):
            self._waiting.append(value)
            if len(self._waiting) == MOST_WAITING:
                self._fetch()
        else:
            self._fetch()
            self._add_row(as_numbers(value))

    def _fetch(self) -> None:
        for value in fetched(self._waiting):
            self._add_row(as_numbers(value))
        self._waiting.clear()

    def _add_row(self, row: Values) -> None:
        if row.shape != self._shape or row.dtype != self._dtype:
            self._reduce_chunk()
            rows = min(MOST_ROWS, MOST_BYTES // max(1, row.nbytes))
            self._capacity, self._dtype = rows if rows > 1 else 0, row.dtype
            self._shape, self._size = row.shape if self._capacity else None, row.size
            self._left = [self._buffer.write] * self._capacity
        if not self._capacity:
            self._reduce(row.reshape(-1))
            return
        self._left.pop()(row.tobytes())
        if not self._left:
            self._reduce_chunk()

    def _filled(self) -> Values:
        """All values of the rows that were not reduced yet; none can be added as long as somebody looks at them."""
        rows = self._capacity - len(self._left)
        return np.frombuffer(self._buffer.getbuffer(), self._dtype, rows * self._size)

    def _reduce_chunk(self) -> None:
        if len(self._left) < self._capacity:
            self._reduce(self._filled())
            self._buffer.seek(0)
            self._left = [self._buffer.write] * self._capacity

    def _reduce(self, values: Values) -> None:
        piece = Piece(values)
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
        rows = self._capacity - len(self._left)
        return {
            "chunk": self._filled().reshape(rows, *(self._shape or ())).copy() if rows else None,
            "partials": {name: None if partial is None else list(partial) for name, partial in self._partials.items()},
        }

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` of an equal column returned.

        Raises:
            StateError: If it has other aggregations.
        """
        check_state("statistics", state, {"chunk": (np.ndarray, None), "partials": object})
        self._partials = restored_partials(self._partials, state["partials"])
        chunk = state["chunk"]
        if chunk is not None:
            if chunk.ndim < 2 or chunk.dtype.kind not in "biuf":
                raise StateError(f"statistics: no rows of numbers, but {chunk.dtype} {list(chunk.shape)}")
            for row in chunk:
                self._add_row(row)


def restored_partials(own: Iterable[str], state: StateTree) -> dict[str, Partial | None]:
    """Aggregation → its partial, as tuples again.

    Raises:
        StateError: If the state is of other aggregations, or a partial gives no result.
    """
    numbers = {name: [Number] * len(STREAMING[name].extend(None, _A_PIECE) or ()) for name in own}
    check_state("partials", state, {name: (of_name, None) for name, of_name in numbers.items()})
    partials = {name: None if state[name] is None else tuple(state[name]) for name in numbers}
    for name, partial in partials.items():
        try:
            STREAMING[name].result(partial)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise StateError(f"partials: {name}: {error}") from error
    return partials
