"""Aggregations of all values of a variable in an epoch, most of them without keeping the values.

Each gives what NumPy's function of that name gives for the whole epoch at once, up to rounding (floats are summed in
double precision). Of nothing, it gives NumPy's neutral element where there is one, otherwise NaN.

A :class:`Streaming` one sees the values in pieces of one axis, which are never empty. What it remembers of a piece, its
*partial*, is a short tuple of numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["GATHERING", "STREAMING", "Gathering", "Partial", "Scalar", "Streaming", "Values"]

Values: TypeAlias = npt.NDArray[Any]
Scalar: TypeAlias = bool | int | float
Partial: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Gathering:
    """An aggregation that needs all values together.

    Args:
        of_all: All values, one axis and not empty → the result.
        skips_nan: Whether NaN is left out beforehand.
    """

    of_all: Callable[[Values], Any]
    skips_nan: bool = False

    def result(self, values: Values) -> Scalar:
        """The aggregation of all values of an epoch, of any shape."""
        flat = values.reshape(-1)
        if self.skips_nan:
            flat = _without_nan(flat)
        scalar: Scalar = self.of_all(flat).item() if flat.size else math.nan
        return scalar


@dataclass(frozen=True)
class Streaming:
    """An aggregation that is joined from pieces.

    Args:
        of_piece: A piece → its partial.
        join: Two partials → the partial of both pieces together.
        finish: A partial → the result.
        of_nothing: The result where no piece came.
        skips_nan: Whether NaN is left out beforehand.
    """

    of_piece: Callable[[Values], Partial]
    join: Callable[[Partial, Partial], Partial]
    finish: Callable[[Partial], Scalar] = operator.itemgetter(0)
    of_nothing: Scalar = math.nan
    skips_nan: bool = False

    def extend(self, partial: Partial | None, values: Values) -> Partial | None:
        """The partial of all pieces so far and one more."""
        if self.skips_nan:
            values = _without_nan(values)
        if not values.size:
            return partial
        added = self.of_piece(values)
        return added if partial is None else self.join(partial, added)

    def result(self, partial: Partial | None) -> Scalar:
        """The aggregation of all pieces so far."""
        return self.of_nothing if partial is None else self.finish(partial)


def _without_nan(values: Values) -> Values:
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values


def _sum(values: Values) -> Scalar:
    total: Scalar = values.sum(dtype=np.float64 if values.dtype.kind == "f" else None).item()
    return total


def _add(left: Partial, right: Partial) -> Partial:
    return tuple(map(operator.add, left, right))


def _moments(values: Values) -> Partial:
    """Count, mean, and sum of squared distances from the mean."""
    mean = values.mean(dtype=np.float64)
    distances = np.subtract(values, mean, dtype=np.float64)
    return values.size, mean.item(), np.square(distances, out=distances).sum().item()


def _join_moments(left: Partial, right: Partial) -> Partial:
    """Chan's rule, which stays exact where a difference of sums would cancel out."""
    left_count, left_mean, left_squares = left
    right_count, right_mean, right_squares = right
    count = left_count + right_count
    shift = right_mean - left_mean
    mean = left_mean + shift * (right_count / count)
    return count, mean, left_squares + right_squares + shift * shift * (left_count * right_count / count)


def _smaller(left: Scalar, right: Scalar) -> Scalar:
    return left if left <= right or math.isnan(left) else right


def _larger(left: Scalar, right: Scalar) -> Scalar:
    return left if left >= right or math.isnan(left) else right


_TOTAL = Streaming(lambda values: (_sum(values),), _add, of_nothing=0.0)
_PRODUCT = Streaming(
    lambda values: (values.prod(dtype=np.float64).item(),), lambda left, right: (left[0] * right[0],), of_nothing=1.0
)
_MEAN = Streaming(
    lambda values: (values.sum(dtype=np.float64).item(), values.size), _add, lambda partial: partial[0] / partial[1]
)
_VARIANCE = Streaming(_moments, _join_moments, lambda partial: partial[2] / partial[0])
_DEVIATION = replace(_VARIANCE, finish=lambda partial: math.sqrt(partial[2] / partial[0]))
_SMALLEST = Streaming(lambda values: (values.min().item(),), lambda left, right: (_smaller(left[0], right[0]),))
_LARGEST = Streaming(lambda values: (values.max().item(),), lambda left, right: (_larger(left[0], right[0]),))
_RANGE = Streaming(
    lambda values: (values.min().item(), values.max().item()),
    lambda left, right: (_smaller(left[0], right[0]), _larger(left[1], right[1])),
    lambda partial: partial[1] - partial[0],
)
_NAN_SHARE = Streaming(
    lambda values: (np.isnan(values).sum().item(), values.size), _add, lambda partial: partial[0] / partial[1]
)
_MEDIAN = Gathering(np.median)

STREAMING = {
    "mean": _MEAN,
    "average": _MEAN,
    "nanmean": replace(_MEAN, skips_nan=True),
    "sum": _TOTAL,
    "nansum": replace(_TOTAL, skips_nan=True),
    "prod": _PRODUCT,
    "nanprod": replace(_PRODUCT, skips_nan=True),
    "var": _VARIANCE,
    "nanvar": replace(_VARIANCE, skips_nan=True),
    "std": _DEVIATION,
    "nanstd": replace(_DEVIATION, skips_nan=True),
    "min": _SMALLEST,
    "amin": _SMALLEST,
    "nanmin": replace(_SMALLEST, skips_nan=True),
    "max": _LARGEST,
    "amax": _LARGEST,
    "nanmax": replace(_LARGEST, skips_nan=True),
    "ptp": _RANGE,
    "all": Streaming(lambda values: (values.all().item(),), lambda a, b: (a[0] and b[0],), of_nothing=True),
    "any": Streaming(lambda values: (values.any().item(),), lambda a, b: (a[0] or b[0],), of_nothing=False),
    "size": Streaming(lambda values: (values.size,), _add, of_nothing=0),
    "count_nonzero": Streaming(lambda values: (int(np.count_nonzero(values)),), _add, of_nothing=0),
    "nancount": Streaming(lambda values: (np.isnan(values).sum().item(),), _add, of_nothing=0),
    "nanfraction": _NAN_SHARE,
}
"""Aggregations whose memory does not grow, by name."""

GATHERING = {
    "median": _MEDIAN,
    "nanmedian": replace(_MEDIAN, skips_nan=True),
    "argmax": Gathering(np.argmax),
    "argmin": Gathering(np.argmin),
}
"""Aggregations that need all values of the epoch at its end, by name."""
