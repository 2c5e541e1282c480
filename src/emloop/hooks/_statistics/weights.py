"""Statistics of values that have weights: a mean is ``Σ w·v / Σ w``, and what weighs nothing is left out of all.

``var`` and ``std`` are those around that mean, ``Σ w·(v - mean)² / Σ w``; ``sum`` is ``Σ w·v``, ``nanfraction`` the
share of the weight. Others, such as ``max``, are of the values whose weight is not 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy import ndarray

from emloop._state.kinds import check_state
from emloop.errors import StateError, VariableTypeError
from emloop.types import StateTree

from .._variables.batches import MOST_WAITING, as_numbers, fetched, lives_on_device
from .columns import MOST_BYTES, MOST_ROWS, restored_partials
from .reductions import STREAMING, Partial, Piece, Scalar, Values

__all__ = ["WeightedColumn", "as_weights"]

_BOOLEAN = np.dtype(np.bool_)


def as_weights(value: Any, shape: tuple[int, ...]) -> Values:
    """Weights as ``float64``, spread to the shape of what they weigh; of further axes, a value has the sum over them.

    Raises:
        VariableTypeError: If they are below 0, infinite or NaN, or their shape is no leading part of the other.
    """
    given = as_numbers(value)
    if given.shape[: len(shape)] != shape[: given.ndim]:
        raise VariableTypeError(
            f"its weight has the shape {list(given.shape)}, which is no leading part of {list(shape)}"
        )
    weights = given.astype(np.float64)
    wrong = weights[~((weights >= 0) & (weights < np.inf))]
    if wrong.size:
        raise VariableTypeError(f"a weight must be a number from 0 on, got {wrong[0]:g}")
    weights = weights.sum(axis=tuple(range(len(shape), weights.ndim)))
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)), shape)


class WeightedColumn:
    """Aggregations of all batches that were added, with their weights.

    Rows are cut into the same chunks as those of a :class:`Column`, so that weights of 1 change no bit.

    Args:
        aggregations: Names out of ``STREAMING``.
    """

    def __init__(self, aggregations: Iterable[str]) -> None:
        self._partials: dict[str, Partial | None] = dict.fromkeys(aggregations)
        self._waiting: list[tuple[Any, Any]] = []
        self._rows: list[tuple[Values, Values]] = []
        self._has_rows = self._has_weight = False
        self._shape: tuple[int, ...] | None = None  # of the rows, with their dtype
        self._dtype = np.dtype(np.float64)
        self._capacity = MOST_ROWS  # rows of a chunk

    @property
    def weighs_nothing(self) -> bool:
        """Whether there were values, but all of weight 0."""
        return self._has_rows and not self._has_weight

    def add(self, value: Any, weight: Any) -> None:
        """Take a batch's values and weights, copied, or kept for a while if they live on a device.

        Raises:
            VariableTypeError: If they are not numbers, one or more for every example, or no weights.
        """
        # What most are: booleans say what counts, and no more has to be found out about them.
        if (
            type(value) is ndarray
            and type(weight) is ndarray
            and value.shape == self._shape == weight.shape
            and value.dtype is self._dtype
            and weight.dtype is _BOOLEAN
            and not self._waiting
        ):
            self._rows.append((value.copy(), weight.copy()))
            if len(self._rows) >= self._capacity:
                self._reduce_chunk()
        elif lives_on_device(value) or lives_on_device(weight):
            self._waiting.append((value, weight))
            if len(self._waiting) == MOST_WAITING:
                self._fetch()
        else:
            self._fetch()
            self._add_row(value, weight)

    def _fetch(self) -> None:
        if self._waiting:
            for value, weight in zip(*map(fetched, zip(*self._waiting, strict=True)), strict=True):
                self._add_row(value, weight)
        self._waiting.clear()

    def _add_row(self, value: Any, weight: Any) -> None:
        row = as_numbers(value)
        weights = as_weights(weight, row.shape)
        if (row.shape, row.dtype) != (self._shape, self._dtype):
            self._reduce_chunk()
            self._shape, self._dtype = row.shape, row.dtype
            self._capacity = min(MOST_ROWS, MOST_BYTES // max(1, row.nbytes))
        self._rows.append((row.copy(), weights.copy()))
        if len(self._rows) >= self._capacity:
            self._reduce_chunk()

    def _reduce_chunk(self) -> None:
        if not self._rows:
            return
        values, weights = (np.stack(part).reshape(-1) for part in zip(*self._rows, strict=True))
        self._rows.clear()
        self._has_rows = True
        counts = weights > 0
        if not counts.all():
            values, weights = values[counts], weights[counts]
        self._has_weight = self._has_weight or bool(weights.size)
        piece = Piece(values, None if (weights == 1).all() else weights)
        # Infinities and NaN are results here.
        with np.errstate(all="ignore"):
            for name, partial in self._partials.items():
                self._partials[name] = STREAMING[name].extend(partial, piece)

    def results(self) -> dict[str, Scalar]:
        """Every aggregation of all that was added; nothing can be added afterwards.

        Raises:
            VariableTypeError: If arrays that were still on a device are no numbers, or no weights.
        """
        self._fetch()
        self._reduce_chunk()
        return {name: STREAMING[name].result(partial) for name, partial in self._partials.items()}

    def state(self) -> StateTree:
        """The unfinished statistics, including the unfinished chunk as it is."""
        self._fetch()
        return {
            "rows": [[row, weights.astype(np.float64)] for row, weights in self._rows],
            "seen": [self._has_rows, self._has_weight],
            "partials": {name: None if partial is None else list(partial) for name, partial in self._partials.items()},
        }

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` of an equal column returned.

        Raises:
            StateError: If it has other aggregations, or is of a variable without weights.
        """
        rows = [[np.ndarray, np.ndarray], ...]
        check_state("weighted statistics", state, {"rows": rows, "seen": [bool, bool], "partials": object})
        partials = restored_partials(self._partials, state["partials"])
        for row, weights in state["rows"]:
            if not np.array_equal(as_weights(weights, as_numbers(row).shape), weights):
                raise StateError("weighted statistics: the weights do not fit the values")
        self._rows, self._shape, self._partials = [], None, partials
        for row, weights in state["rows"]:
            self._add_row(row, weights)
        self._has_rows, self._has_weight = state["seen"]
