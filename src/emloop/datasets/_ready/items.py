"""Items of one size in a file, read by index, and pieces of any size: what is not asked for is never read."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Items", "Pieces"]


class Pieces:
    """Stretches of bytes of a file, which is open as long as this object is there.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._number)

    def __call__(self, start: int, length: int) -> bytes:
        return os.pread(self._number, length, start)

    def fill(self, row: npt.NDArray[np.uint8], start: int) -> None:
        """Read as much as an array holds."""
        os.preadv(self._number, [row.data], start)


class Items:
    """Items of one dtype and shape.

    The file is mapped into memory; where there is no address space for that, each item is read when it is asked for.

    Args:
        path: The file.
        dtype: Of an item, or of its elements.
        count: Number of items.
        shape: Of an item.
        offset: Where the first one begins, in bytes.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], count: int, shape: tuple[int, ...] = (), offset: int = 0
    ) -> None:
        self.dtype, self.shape = dtype, shape
        self._count, self._offset = count, offset
        self._pieces = Pieces(path)
        self._map: npt.NDArray[Any] | None = None
        if not count or 0 in shape:  # nothing cannot be mapped
            self._map = np.empty((count, *shape), dtype)
            return
        with suppress(OSError):
            self._map = np.memmap(path, dtype, "r", offset, (count, *shape)).view(np.ndarray)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """A copy of the items with these indices."""
        if self._map is not None:
            return self._map.take(indices, axis=0)
        found = np.empty((len(indices), *self.shape), self.dtype)
        rows = found.reshape(len(indices), -1).view(np.uint8)
        for row, index in zip(rows, indices.tolist(), strict=True):
            self._pieces.fill(row, self._offset + index * rows.shape[1])
        return found
