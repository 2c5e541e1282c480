"""Commits beside the training: what the loop waits for is only a copy of the arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .tree import EncodedTree

__all__ = ["HostBuffers", "Writer"]


class HostBuffers:
    """Memory for the arrays of one commit, kept for the next: the first touch of new memory takes several times as long
    as a copy.
    """

    def __init__(self) -> None:
        self._kept: dict[str, npt.NDArray[Any]] = {}

    def copy(self, tree: EncodedTree) -> EncodedTree:
        """Copy the arrays of a tree, so that those may change; the copies last until the next call."""
        before, self._kept = self._kept, {}
        for place, array in tree.arrays.items():
            buffer = before.pop(place, None)
            if buffer is None or buffer.shape != array.shape or buffer.dtype != array.dtype:
                buffer = np.empty(array.shape, array.dtype)
            np.copyto(buffer, array)
            self._kept[place] = buffer
        return EncodedTree(tree.skeleton, self._kept)


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
