"""Aggregations of all values of a variable in an epoch, most of them without keeping the values.

Each gives what NumPy's function of that name gives for the whole epoch at once, up to rounding (floats are summed in
double precision). Of nothing, it gives NumPy's neutral element if there is one, otherwise NaN.

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

Values: TypeAlias = npt.NDArray[Any]
Scalar: TypeAlias = bool | int | float
Partial: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Streaming:
    """An aggregation that is joined from pieces.

    Args:
        of_piece: A piece → its partial.
        join: Two partials → the partial of both pieces together.
        finish: A partial → the result.
        of_nothing: The result if no piece came.
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


def _add(left: Partial, right: Partial) -> Partial:
    return tuple(map(operator.add, left, right))


def _nans(values: Values) -> Any:
    return np.isnan(values).sum().item()


def _share(partial: Partial) -> Any:
    return partial[0] / partial[1]


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


_VARIANCE = Streaming(_moments, _join_moments, lambda partial: partial[2] / partial[0])
_WITH_NAN = {
    "mean": Streaming(lambda values: (values.sum(dtype=np.float64).item(), values.size), _add, _share),
    "sum": Streaming(
        lambda values: (values.sum(dtype=np.float64 if values.dtype.kind == "f" else None).item(),),
        _add,
        of_nothing=0.0,
    ),
    "prod": Streaming(
        lambda values: (values.prod(dtype=np.float64).item(),), lambda a, b: (a[0] * b[0],), of_nothing=1.0
    ),
    "var": _VARIANCE,
    "std": replace(_VARIANCE, finish=lambda partial: math.sqrt(partial[2] / partial[0])),
    "min": Streaming(lambda values: (values.min().item(),), lambda a, b: (_smaller(a[0], b[0]),)),
    "max": Streaming(lambda values: (values.max().item(),), lambda a, b: (_larger(a[0], b[0]),)),
}

STREAMING = {
    **_WITH_NAN,
    **{f"nan{name}": replace(one, skips_nan=True) for name, one in _WITH_NAN.items()},
    "average": _WITH_NAN["mean"],
    "amin": _WITH_NAN["min"],
    "amax": _WITH_NAN["max"],
    "ptp": Streaming(
        lambda values: (values.min().item(), values.max().item()),
        lambda a, b: (_smaller(a[0], b[0]), _larger(a[1], b[1])),
        lambda partial: partial[1] - partial[0],
    ),
    "all": Streaming(lambda values: (values.all().item(),), lambda a, b: (a[0] and b[0],), of_nothing=True),
    "any": Streaming(lambda values: (values.any().item(),), lambda a, b: (a[0] or b[0],), of_nothing=False),
    "size": Streaming(lambda values: (values.size,), _add, of_nothing=0),
    "count_nonzero": Streaming(lambda values: (int(np.count_nonzero(values)),), _add, of_nothing=0),
    "nancount": Streaming(lambda values: (_nans(values),), _add, of_nothing=0),
    "nanfraction": Streaming(lambda values: (_nans(values), values.size), _add, _share),
}
"""Aggregations whose memory does not grow, by name."""

GATHERING: dict[str, Callable[[Values], Any]] = {
    "median": np.median,
    "nanmedian": np.median,
    "argmax": np.argmax,
    "argmin": np.argmin,
}
"""Aggregations that need all values of the epoch at its end, by name; see :func:`gathered`."""


def gathered(name: str, values: Values) -> Scalar:
    """An aggregation of ``GATHERING``, of all values of an epoch, of any shape."""
    flat = values.reshape(-1)
    if name.startswith("nan"):
        flat = _without_nan(flat)
    return GATHERING[name](flat).item() if flat.size else math.nan
