"""Commits beside the training: what the loop waits for is only a copy of the arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from .tree import EncodedTree

__all__ = ["HostBuffer", "Writer", "size_of"]

_ALIGNMENT = 64  # bytes

_SPARE = 32
"""A part of what is needed is added, for what grows from commit to commit, such as statistics of an epoch."""


_LARGE = 4 << 20  # bytes; what is smaller is touched in a millisecond or two


class HostBuffer:
    """Memory for the arrays of one commit, kept for the next: the first touch of new memory takes several times as long
    as a copy. It is one piece, since NumPy asks for large pages only where a piece is large.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._preparing: threading.Thread | None = None

    def prepare(self, size: int) -> None:
        """Touch memory for so many bytes of arrays, in a thread, so that the first :meth:`copy` need not."""
        if size < max(_LARGE, len(self._memory)):
            return
        self._preparing = threading.Thread(target=self._allocate, args=(size,), name="memory", daemon=True)
        self._preparing.start()

    def copy(self, tree: EncodedTree) -> EncodedTree:
        """Copy the arrays of a tree, so that those may change; the copies last until the next call."""
        if self._preparing is not None:
            self._preparing.join()
        needed = size_of(tree)
        if needed > len(self._memory):
            self._memory = np.empty(0, np.uint8)  # never both
            self._memory = _empty(needed)
        copies, start = {}, 0
        for place, array in tree.arrays.items():
            copy = self._memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            np.copyto(copy, array)
            copies[place] = copy
            start += _aligned(array.nbytes)
        return tree._replace(arrays=copies)

    def _allocate(self, size: int) -> None:
        with suppress(MemoryError):  # for the commit to tell
            memory = _empty(size)
            memory.fill(0)
            self._memory = memory


def size_of(tree: EncodedTree) -> int:
    """Bytes that the arrays of a tree take in a buffer."""
    return sum(_aligned(array.nbytes) for array in tree.arrays.values())


def _empty(size: int) -> npt.NDArray[np.uint8]:
    return np.empty(size + size // _SPARE, np.uint8)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class Writer:
    """Writes in a thread, one thing at a time; an error waits for whoever asks next."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def start(self, write: Callable[[], None], *, failed: Callable[[], None]) -> None:
        """Begin to write.

        Args:
            write: What to do.
            failed: Called in the thread if that raises.

        Raises:
            BaseException: As :meth:`wait`.
        """
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write, failed), name="commit", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return once nothing is being written.

        Raises:
            BaseException: What went wrong since the last call.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """
        Raises:
            BaseException: What has gone wrong since the last call, as far as is known now.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    @property
    def has_failed(self) -> bool:
        """Whether :meth:`check` would raise something."""
        return self._failure is not None

    def _run(self, write: Callable[[], None], failed: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # noqa: BLE001 - raised by the next who asks
            self._failure = error
            failed()
