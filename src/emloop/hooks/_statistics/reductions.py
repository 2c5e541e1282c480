"""Aggregations of all values of a variable in an epoch, most of them without keeping the values.

Each gives what NumPy's function of that name gives for the whole epoch at once, up to rounding (floats are summed in
double precision). Of nothing, it gives NumPy's neutral element if there is one, otherwise NaN.

A :class:`Streaming` one sees the values in pieces, which are never empty. What it remembers of a piece, its *partial*,
is a short tuple of numbers; what several need of a piece is computed once.
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


class _once:  # noqa: N801 - reads like what it is used like
    """``functools.cached_property`` without its lock, which up to Python 3.11 takes as long as a sum."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self._compute = compute

    def __get__(self, piece: Any, owner: type) -> Any:
        found = vars(piece)[self._compute.__name__] = self._compute(piece)
        return found


class Piece:
    """Values of one axis, and what several aggregations need of them.

    Args:
        values: The values.
        weights: Their weights, ``float64`` and not 0; ``None`` if all are 1.
    """

    def __init__(self, values: Values, weights: Values | None = None) -> None:
        self.values = values
        self.weights = weights

    @_once
    def without_nan(self) -> Piece:
        """The values that are numbers, of floats."""
        there = ~np.isnan(self.values)
        return Piece(self.values[there], None if self.weights is None else self.weights[there])

    @_once
    def total(self) -> Any:
        """Sum of the values, in double precision."""
        return np.add.reduce(self.values, dtype=np.float64).item()

    @_once
    def moments(self) -> Partial:
        """Weight, mean, and weighted sum of squared distances from the mean."""
        if self.weights is None:
            weight, mean = self.values.size, self.total / self.values.size
        else:
            weight = self.weights.sum().item()
            mean = _weighted_sum(self.values, self.weights) / weight
        distances = np.subtract(self.values, mean, dtype=np.float64)
        squares = np.square(distances, out=distances)
        return weight, mean, squares.sum().item() if self.weights is None else _weighted_sum(squares, self.weights)


@dataclass(frozen=True)
class Streaming:
    """An aggregation that is joined from pieces.

    Args:
        of_piece: A piece → its partial.
        of_weighted: Values and their weights → the partial of that piece; ``None`` if weights do not matter, or
            ``of_piece`` looks at them itself.
        join: Two partials → the partial of both pieces together.
        finish: A partial → the result.
        of_nothing: The result if no piece came.
        skips_nan: Whether NaN is left out beforehand.
    """

    of_piece: Callable[[Piece], Partial]
    join: Callable[[Partial, Partial], Partial]
    finish: Callable[[Partial], Scalar] = operator.itemgetter(0)
    of_nothing: Scalar = math.nan
    skips_nan: bool = False
    of_weighted: Callable[[Values, Values], Partial] | None = None

    def extend(self, partial: Partial | None, piece: Piece) -> Partial | None:
        """The partial of all pieces so far and one more."""
        if self.skips_nan and piece.values.dtype.kind == "f":
            piece = piece.without_nan
        if not piece.values.size:
            return partial
        weigh, weights = self.of_weighted, piece.weights
        added = self.of_piece(piece) if weigh is None or weights is None else weigh(piece.values, weights)
        return added if partial is None else self.join(partial, added)

    def result(self, partial: Partial | None) -> Scalar:
        """The aggregation of all pieces so far."""
        return self.of_nothing if partial is None else self.finish(partial)


def _add(left: Partial, right: Partial) -> Partial:
    return tuple(map(operator.add, left, right))


def _nans(values: Values) -> Any:
    return np.isnan(values).sum().item()


def _share(partial: Partial) -> Any:
    return partial[0] / partial[1]


def _weighted_sum(values: Values, weights: Values) -> Any:
    return np.multiply(values, weights, dtype=np.float64).sum().item()


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


_VARIANCE = Streaming(operator.attrgetter("moments"), _join_moments, lambda partial: partial[2] / partial[0])
_WITH_NAN = {
    "mean": Streaming(
        lambda piece: (piece.total, piece.values.size),
        _add,
        _share,
        of_weighted=lambda values, weights: (_weighted_sum(values, weights), weights.sum().item()),
    ),
    "sum": Streaming(
        lambda piece: (piece.total if piece.values.dtype.kind == "f" else piece.values.sum().item(),),
        _add,
        of_nothing=0.0,
        of_weighted=lambda values, weights: (_weighted_sum(values, weights),),
    ),
    "prod": Streaming(
        lambda piece: (piece.values.prod(dtype=np.float64).item(),), lambda a, b: (a[0] * b[0],), of_nothing=1.0
    ),
    "var": _VARIANCE,
    "std": replace(_VARIANCE, finish=lambda partial: math.sqrt(partial[2] / partial[0])),
    "min": Streaming(lambda piece: (piece.values.min().item(),), lambda a, b: (_smaller(a[0], b[0]),)),
    "max": Streaming(lambda piece: (piece.values.max().item(),), lambda a, b: (_larger(a[0], b[0]),)),
}

STREAMING = {
    **_WITH_NAN,
    **{f"nan{name}": replace(one, skips_nan=True) for name, one in _WITH_NAN.items()},
    "average": _WITH_NAN["mean"],
    "amin": _WITH_NAN["min"],
    "amax": _WITH_NAN["max"],
    "ptp": Streaming(
        lambda piece: (piece.values.min().item(), piece.values.max().item()),
        lambda a, b: (_smaller(a[0], b[0]), _larger(a[1], b[1])),
        lambda partial: partial[1] - partial[0],
    ),
    "all": Streaming(lambda piece: (piece.values.all().item(),), lambda a, b: (a[0] and b[0],), of_nothing=True),
    "any": Streaming(lambda piece: (piece.values.any().item(),), lambda a, b: (a[0] or b[0],), of_nothing=False),
    "size": Streaming(lambda piece: (piece.values.size,), _add, of_nothing=0),
    "count_nonzero": Streaming(lambda piece: (int(np.count_nonzero(piece.values)),), _add, of_nothing=0),
    "nancount": Streaming(lambda piece: (_nans(piece.values),), _add, of_nothing=0),
    "nanfraction": Streaming(
        lambda piece: (_nans(piece.values), piece.values.size),
        _add,
        _share,
        of_weighted=lambda values, weights: (weights[np.isnan(values)].sum().item(), weights.sum().item()),
    ),
}
"""Aggregations whose memory does not grow, by name."""

GATHERING: dict[str, Callable[[Values], Any]] = {
    "median": np.median,
    "nanmedian": np.median,
    "argmax": np.argmax,
    "argmin": np.argmin,
}
"""Aggregations that need all values of the epoch at its end, by name; see :func:`gathered`."""


def gathered(name: str, values: Values, weights: Values | None = None) -> Scalar:
    """An aggregation of ``GATHERING``, of all values of an epoch, of any shape, and their weights, if any."""
    flat, places = values.reshape(-1), None
    if weights is not None:
        weights = weights.reshape(-1)
        places = np.flatnonzero(weights)
        flat, weights = flat[places], weights[places]
    if name.startswith("nan"):
        there = ~np.isnan(flat)
        flat, weights = flat[there], None if weights is None else weights[there]
    if not flat.size:
        return math.nan
    if weights is not None and name in ("median", "nanmedian"):
        return _weighted_median(flat, weights)
    found = GATHERING[name](flat).item()
    return places[found].item() if places is not None else found  # type: ignore[no-any-return]


def _weighted_median(values: Values, weights: Values) -> float:
    """The smallest value up to which half of the weight lies; with exactly half, the middle to the next one."""
    if np.isnan(values).any():
        return math.nan
    order = np.argsort(values, kind="stable")
    values, sums = values[order], np.cumsum(weights[order])
    first = np.searchsorted(sums, sums[-1] / 2)
    following = np.searchsorted(sums, sums[-1] / 2, side="right")
    return float(np.mean(values[[first, following]]))
