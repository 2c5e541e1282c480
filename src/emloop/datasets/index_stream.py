"""Batches by index, in an order drawn once: a stream that resumes anywhere without reading what came before."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, SupportsIndex, overload, runtime_checkable

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, UsageError
from emloop.types import Batch

__all__ = ["BatchSource", "IndexStream"]


@runtime_checkable
class BatchSource(Protocol):
    """Examples accessed by index, many at a time."""

    def __len__(self) -> int:
        """Number of examples."""

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        """The examples with these indices, in this order.

        Args:
            indices: ``int64 [B]``, each from 0 to the number of examples, exclusive.
        """


class IndexStream(Sequence[Batch]):
    """The batches of one pass.

    .. code-block:: python

        def train_stream(self):
            return IndexStream({"images": self._images, "labels": self._labels}, 32, rng=self.rng("train"))

    The order is drawn when the object is created, so it depends on the generator alone: not on how far the stream was
    read, by how many threads, or whether it was ever interrupted. A batch is made on demand.

    Args:
        source: Name → column of ``N`` examples (an array, or anything that takes an index), or a :class:`BatchSource`.
            A batch holds arrays of NumPy columns, and lists of any others.
        batch_size: Number of examples in a batch.
        rng: Generator to shuffle with, usually ``self.rng(stream)``; without one, examples keep their order.
        drop_last: Whether to leave out a last batch that is smaller than the others.

    Raises:
        UsageError: If ``batch_size`` is not a positive integer, or ``rng`` not a generator.
        BatchError: If columns differ in length, or there is not a single batch.
    """

    def __init__(
        self,
        source: Mapping[str, Any] | BatchSource,
        batch_size: int,
        *,
        rng: np.random.Generator | None = None,
        drop_last: bool = False,
    ) -> None:
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise UsageError(
                f"rng: expected a numpy.random.Generator such as self.rng('train'), got {type(rng).__name__} {rng!r}"
            )
        if not isinstance(source, Mapping | BatchSource):
            raise UsageError(
                "source: expected a mapping of names to columns, or an object with __len__ and batch(indices), "
                f"got {type(source).__name__}"
            )
        if not isinstance(batch_size, SupportsIndex) or operator.index(batch_size) < 1:
            raise UsageError(f"batch_size: expected a number of examples, at least 1, got {batch_size!r}")
        self._source = _Columns(source) if isinstance(source, Mapping) else source
        self._batch_size = operator.index(batch_size)
        count = len(self._source)
        self._order = np.arange(count, dtype=np.int64) if rng is None else rng.permutation(count).astype(np.int64)
        self._length = count // self._batch_size if drop_last else -(-count // self._batch_size)
        if not self._length:
            raise BatchError(
                f"the source has {count} examples, not enough for one batch of {self._batch_size} with drop_last"
                if count
                else "the source has no examples"
            )

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Indices of the examples in the order in which the pass visits them, ``int64 [N]``; a copy."""
        return self._order.copy()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        # Sequence's own iterator would take an IndexError of the source for the end.
        return (self[number] for number in range(self._length))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._length))]
        return self.part(operator.index(index))

    def size(self, index: int) -> int:
        """Number of examples in a batch."""
        return len(self._indices(index))

    def part(self, index: int, rows: slice = slice(None)) -> Batch:
        """Some rows of a batch; the others are not read. So each of several processes reads its own.

        Raises:
            IndexError: If there is no such batch.
        """
        return self._source.batch(self._indices(index)[rows])

    def _indices(self, index: int) -> npt.NDArray[np.int64]:
        if not -self._length <= index < self._length:
            raise IndexError(f"batch {index} of {self._length}")
        start = index % self._length * self._batch_size
        return self._order[start : start + self._batch_size]


class _Columns:
    """Columns of equal length as a source."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        # pandas would index by label, and polars not take an array at all.
        self._columns = {
            name: column.to_numpy() if hasattr(column, "to_numpy") else column for name, column in columns.items()
        }
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise BatchError(f"all columns must have the same number of examples: {found}")
        self._length = next(iter(lengths.values()), 0)

    def __len__(self) -> int:
        return self._length

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        numbers = indices.tolist()
        examples: dict[str, Any] = {}
        for name, column in self._columns.items():
            is_array = isinstance(column, np.ndarray)
            examples[name] = column[indices] if is_array else [column[number] for number in numbers]
        return examples
