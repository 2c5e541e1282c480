"""Keeps the batches of an epoch until an estimator learns from all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError

__all__ = ["Epoch", "Gathered"]

_Array = npt.NDArray[Any]


class Epoch(NamedTuple):
    """All examples of an epoch, ``N`` of them.

    Args:
        features: ``[N, F]``, or name → ``[N]``.
        labels: ``[N]`` or ``[N, T]``, if there are any.
        weight: What each example counts, ``[N]``; ``None``: all alike.
    """

    features: Any
    labels: Any
    weight: Any

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return len(next(iter(self.features.values())) if isinstance(self.features, dict) else self.features)

    @property
    def size(self) -> int:
        """What they take in memory, in bytes; a text counts as its reference."""
        features = self.features.values() if isinstance(self.features, dict) else [self.features]
        return sum(array.nbytes for array in (*features, self.labels, self.weight) if array is not None)


class Gathered:
    """The batches of the epoch in progress."""

    def __init__(self) -> None:
        self._batches: list[Epoch] = []

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, features: Any, labels: _Array | None, weight: _Array | None) -> None:
        """Keep a copy of a batch, since streams may use their arrays again."""
        is_table = isinstance(features, dict)
        kept = {name: column.copy() for name, column in features.items()} if is_table else features.copy()
        self._batches.append(Epoch(kept, None if labels is None else labels.copy(), weight))

    def take(self) -> Epoch:
        """All batches as one, in order; nothing is kept.

        Raises:
            BatchError: If they do not go together.
        """
        batches, self._batches = self._batches, []
        first, features, labels, weight = batches[0], *zip(*batches, strict=True)
        joined: Any = (
            {name: _joined(f"column {name!r}", [table[name] for table in features]) for name in first.features}
            if isinstance(first.features, dict)
            else _joined("the features", features)
        )
        return Epoch(
            joined,
            None if first.labels is None else _joined("the labels", labels),
            None if first.weight is None else np.concatenate(weight),
        )


def _joined(name: str, arrays: Sequence[_Array]) -> _Array:
    """One array of all batches.

    Raises:
        BatchError: If their shapes or kinds do not go together.
    """
    # A column of a batch without any text in it is one of missing numbers.
    kinds = {array.dtype == object for array in arrays if array.dtype.kind != "f" or not np.isnan(array).all()}
    if len(kinds) > 1:
        examples = [next(array[0] for array in arrays if (array.dtype == object) is kind) for kind in (True, False)]
        raise BatchError(f"{name} mixes text and numbers, in different batches: {examples[0]!r} and {examples[1]!r}")
    try:
        return np.concatenate(arrays)
    except ValueError as error:
        shapes = sorted({str(list(array.shape[1:])) for array in arrays})
        raise BatchError(f"{name} differ in shape between batches: {', '.join(shapes)}") from error
