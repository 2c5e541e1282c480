"""What one of several processes computes of a batch that all of them share.

``B`` is the number of examples in the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from emloop.types import Batch

__all__ = ["Divisible", "Part", "Share", "Sharing"]


class Part(dict[str, Any]):
    """Some rows of a batch.

    Args:
        columns: Source → the rows.
        rows: ``B``.
        whole: Returns the whole batch, if need be by reading it again.
        is_read: Whether that is in memory.
        is_filler: Whether there was no row left for this process: it gets the first, to keep step with the others, and
            that counts nothing.
    """

    __slots__ = ("is_filler", "is_read", "rows", "whole")

    def __init__(
        self,
        columns: Mapping[str, Any],
        rows: int,
        whole: Callable[[], Batch],
        *,
        is_read: bool = False,
        is_filler: bool = False,
    ) -> None:
        super().__init__(columns)
        self.rows, self.whole = rows, whole
        self.is_read, self.is_filler = is_read, is_filler


@dataclass(frozen=True)
class Share:
    """Which rows of every batch are a process's own: neighbours, as many as the others have, or one more or less.

    Args:
        rank: Number of the process, from 0.
        size: How many there are.
    """

    rank: int
    size: int

    def rows(self, examples: int) -> slice:
        """The rows of a batch of so many examples; the first of them for a process that would have none."""
        each, more = divmod(examples, self.size)
        start = self.rank * each + min(self.rank, more)
        stop = start + each + (self.rank < more)
        return slice(start, stop) if stop > start else slice(0, min(examples, 1))

    def is_filler(self, examples: int) -> bool:
        """Whether no rows of a batch of so many examples are left for this process."""
        return self.rank >= examples

    def part(self, columns: Mapping[str, Any], examples: int, whole: Callable[[], Batch]) -> Part:
        """The process's rows of a batch of so many examples, which have been read."""
        return Part(columns, examples, whole, is_filler=self.is_filler(examples))

    def of(self, batch: Batch) -> Batch:
        """The rows of a batch that was read whole; the batch itself if columns differ in length, so nobody can tell.

        What cannot be sliced is taken row by row.
        """
        try:
            sizes = {len(column) for column in batch.values()}
        except (AttributeError, TypeError):
            return batch
        if len(sizes) != 1 or not (size := sizes.pop()):
            return batch
        rows = self.rows(size)
        columns = {name: _sliced(column, rows) for name, column in batch.items()}
        return Part(columns, size, lambda: batch, is_read=True, is_filler=self.is_filler(size))


class Sharing(NamedTuple):
    """How several processes share in the batches of a stream.

    Args:
        share: Which rows of every batch this process gets.
        hand: Makes of them what is handed out here.
    """

    share: Share
    hand: Callable[[Batch], Batch]


@runtime_checkable
class Divisible(Protocol):
    """A sequence of batches of which a process can read its own rows alone."""

    def size(self, index: int) -> int:
        """Number of examples in a batch."""

    def part(self, index: int, rows: slice) -> Batch:
        """Some rows of a batch."""


def _sliced(column: Any, rows: slice) -> Any:
    try:
        return column[rows]
    except (KeyError, TypeError):
        return [column[number] for number in range(rows.start, rows.stop)]
