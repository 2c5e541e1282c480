"""Histograms of values that come in pieces, in memory that does not grow.

All buckets of a histogram have one width, a power of two, and begin at multiples of it. When new values need too many
buckets, the width is doubled and neighbours are joined, which loses nothing but detail. So the result depends on the
smallest and the largest value, not on how the values were cut into pieces.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from emloop._state.kinds import check_state
from emloop.types import StateTree

from .columns import Column

MOST_BUCKETS = 64

_DIGITS = 52
"""Bits of a bucket's number that a float can hold exactly."""

_SMALLEST_EXPONENT = -1074
"""The smallest of any number but zero."""


@dataclass(frozen=True)
class Histogram:
    """How many of some finite values lie in each bucket.

    Args:
        exponent: The width of a bucket is two to this power.
        first: The first bucket begins at this multiple of the width.
        counts: Number of values in each bucket, ``int64 [N]``; neither the first nor the last is 0.
        smallest: Smallest value.
        largest: Largest value.
        total: Sum of the values.
        squares: Sum of their squares.
    """

    exponent: int
    first: int
    counts: npt.NDArray[np.int64]
    smallest: float
    largest: float
    total: float
    squares: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Self:
        """The histogram of values along one axis: at least one, all finite."""
        smallest, largest = values.min().item(), values.max().item()
        exponent = _exponent(smallest, largest)
        numbers = _bucket_numbers(values, exponent)
        first = int(numbers.min())
        counts = np.bincount(numbers - first).astype(np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            total, squares = values.sum().item(), np.square(values).sum().item()
        return cls(exponent, first, counts, smallest, largest, total, squares)

    @property
    def count(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def right_edges(self) -> npt.NDArray[np.float64]:
        """Where the buckets end, ``float64 [N]``; an edge does not belong to its bucket."""
        with np.errstate(over="ignore"):
            edges = np.ldexp(self.first + 1.0 + np.arange(len(self.counts)), self.exponent)
        limited: npt.NDArray[np.float64] = np.minimum(edges, np.finfo(np.float64).max)
        return limited

    def join(self, other: Self) -> Self:
        """The histogram of the values of both."""
        smallest, largest = min(self.smallest, other.smallest), max(self.largest, other.largest)
        exponent = _exponent(smallest, largest)
        parts = [part._buckets(exponent) for part in (self, other)]
        first = min(int(numbers[0]) for numbers, _ in parts)
        counts = np.zeros(max(int(numbers[-1]) for numbers, _ in parts) - first + 1, np.int64)
        for numbers, of_part in parts:
            np.add.at(counts, numbers - first, of_part)
        total, squares = self.total + other.total, self.squares + other.squares
        return type(self)(exponent, first, counts, smallest, largest, total, squares)

    def _buckets(self, exponent: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The buckets' numbers among those of a greater width, and their counts."""
        numbers: npt.NDArray[np.int64] = self.first + np.arange(len(self.counts))
        return numbers >> min(exponent - self.exponent, 63), self.counts


def _exponent(smallest: float, largest: float) -> int:
    """Exponent of the smallest width with which values between these two fit into the buckets."""
    farthest = max(abs(smallest), abs(largest))
    exact = max(math.frexp(farthest)[1] - _DIGITS, _SMALLEST_EXPONENT) if farthest else _SMALLEST_EXPONENT
    first, last = map(int, _bucket_numbers(np.array([smallest, largest]), exact))
    joined = max(0, (last - first).bit_length() - MOST_BUCKETS.bit_length())
    while (last >> joined) - (first >> joined) >= MOST_BUCKETS:
        joined += 1
    return exact + joined


def _bucket_numbers(values: npt.NDArray[np.float64], exponent: int) -> npt.NDArray[np.int64]:
    scaled = np.ldexp(values, -exponent)
    # A value too small to be scaled still belongs on its side of zero.
    return np.where(scaled, np.floor(scaled), -(values < 0.0).astype(np.float64)).astype(np.int64)


class HistogramColumn(Column):
    """The unfinished histogram of one variable in one stream; values that are not finite are left out."""

    def __init__(self) -> None:
        super().__init__([])
        self._histogram: Histogram | None = None

    def _reduce(self, values: npt.NDArray[Any]) -> None:
        with np.errstate(over="ignore"):
            flat = values.astype(np.float64)
        finite = flat[np.isfinite(flat)]
        if finite.size:
            added = Histogram.of(finite)
            self._histogram = added if self._histogram is None else self._histogram.join(added)

    def histogram(self) -> Histogram | None:
        """The histogram of all that was added; ``None`` if nothing was.

        Raises:
            VariableTypeError: If an array that was still on a device does not hold numbers.
        """
        self._fetch()
        self._reduce_chunk()
        return self._histogram

    def state(self) -> StateTree:
        """The unfinished histogram."""
        return {**super().state(), "histogram": self._histogram and asdict(self._histogram)}

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` returned."""
        kind: dict[str, Any] = dict.fromkeys(("smallest", "largest", "total", "squares"), float)
        kind |= {"exponent": Integral, "first": Integral, "counts": np.dtype(np.int64)}
        check_state("histogram", state, {"chunk": object, "partials": object, "histogram": (kind, None)})
        super().load({key: state[key] for key in ("chunk", "partials")})
        self._histogram = state["histogram"] and Histogram(**state["histogram"])
