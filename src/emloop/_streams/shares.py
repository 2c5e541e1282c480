"""What one of several processes computes of a batch that all of them share.

``B`` is the number of examples in the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from emloop.types import Batch

__all__ = ["Divisible", "Part", "Share"]


class Part(dict[str, Any]):
    """Some rows of a batch.

    Args:
        columns: Source → the rows.
        rows: ``B``.
        is_filler: Whether there was none left for this process: it gets the first row, to keep step with the others,
            and that counts nothing.
        whole: The whole batch, where it was read.
    """

    __slots__ = ("is_filler", "rows", "whole")

    def __init__(
        self, columns: Mapping[str, Any], rows: int, *, is_filler: bool = False, whole: Batch | None = None
    ) -> None:
        super().__init__(columns)
        self.rows = rows
        self.is_filler = is_filler
        self.whole = whole


class Share(NamedTuple):
    """Which rows of every batch are a process's own: neighbours, as many as the others have, or one more or less.

    Args:
        index: Number of the process, from 0.
        count: How many there are.
    """

    index: int
    count: int

    def rows(self, size: int) -> slice:
        """The rows of a batch of ``size`` examples; the first of them for a process that would have none."""
        each, more = divmod(size, self.count)
        start = self.index * each + min(self.index, more)
        stop = start + each + (self.index < more)
        return slice(start, stop) if stop > start else slice(0, min(size, 1))

    def is_filler(self, size: int) -> bool:
        """Whether no rows of a batch of ``size`` examples are left for this process."""
        return self.index >= size

    def of(self, batch: Batch) -> Part | None:
        """The rows of a batch that was read whole; ``None`` if nobody can tell which, since columns differ in length.

        What cannot be sliced is read row by row.
        """
        try:
            sizes = {len(column) for column in batch.values()}
        except (AttributeError, TypeError):
            return None
        if len(sizes) != 1 or not (size := sizes.pop()):
            return None
        rows = self.rows(size)
        cut = {name: _sliced(column, rows) for name, column in batch.items()}
        return Part(cut, size, is_filler=self.is_filler(size), whole=batch)


@runtime_checkable
class Divisible(Protocol):
    """A sequence of batches of which a process can read its own rows alone."""

    def part(self, index: int, share: Share) -> Part:
        """The process's rows of a batch."""


def _sliced(column: Any, rows: slice) -> Any:
    try:
        return column[rows]
    except (KeyError, TypeError):
        return [column[number] for number in range(rows.start, rows.stop)]
