"""Batches to try a model with: real ones of the dataset or, where there is none, made-up ones of the right shape.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, UsageError
from emloop.types import Batch

__all__ = ["made_up", "of_several_sizes", "two_of"]

_LOOKED_AT = 8
"""Batches among which one of another shape is looked for."""

_FEWEST = 4
"""Examples of the largest batch, at least."""

_SEED = 20


def two_of(stream: Iterable[Batch], names: Iterable[str]) -> list[Batch]:
    """The first batch of a stream, and the next one in which sources have other shapes, if it comes soon.

    Args:
        stream: The stream.
        names: The sources whose shapes count.

    Raises:
        BatchError: If there is no batch at all.
    """
    batches = iter(stream)
    first = next(batches, None)
    if first is None:
        raise BatchError("the stream is empty")
    shapes = _shapes(first, names)
    other = next((batch for batch in islice(batches, _LOOKED_AT) if _shapes(batch, names) != shapes), None)
    return [first] if other is None else [first, other]


def of_several_sizes(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of three sizes made of the first one, down to a single example, and the others as they are."""
    first = batches[0]
    full = max(_count(first), _FEWEST)
    return [*(_taken(first, count) for count in (full, full // 2, 1)), *batches[1:]]


def made_up(described: Mapping[str, Any], origin: str) -> Batch:
    """A batch of random numbers: floats around 0, bytes of any value, and whole numbers 0 and 1.

    Greater numbers may not stand for anything, such as a word.

    Args:
        described: Source → ``dtype`` and ``shape``, see :func:`emloop.saved_models.describe_variables`.
        origin: Who describes them.

    Raises:
        UsageError: If they are not described.
    """
    unknown = [name for name, source in described.items() if source is None]
    if unknown or not described:
        raise UsageError(f"{origin} does not say what {', '.join(unknown) or 'its inputs'} look like")
    random = np.random.default_rng(_SEED)
    return {name: _random(random, source) for name, source in described.items()}


def _random(random: np.random.Generator, source: Mapping[str, Any]) -> Any:
    dtype, shape = np.dtype(source["dtype"]), [size or _FEWEST for size in source["shape"]]
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    return random.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def _count(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _taken(batch: Batch, count: int) -> Batch:
    """A batch of so many examples, taken in turn."""
    places = np.arange(count) % _count(batch)
    return {name: _at(values, places) for name, values in batch.items()}


def _at(values: Any, places: npt.NDArray[np.int64]) -> Any:
    return values[places] if hasattr(values, "shape") else [values[place] for place in places]


def _shapes(batch: Batch, names: Iterable[str]) -> list[tuple[int, ...]]:
    return [np.shape(batch[name])[1:] for name in names if name in batch]
