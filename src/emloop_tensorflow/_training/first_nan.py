"""Which batch's loss was not a number first, without waiting for a device more than once in many batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["FirstNaN"]

_TOGETHER = 64
"""Batches looked at in one go."""


class FirstNaN:
    """Remembers the first of many mean losses that was NaN."""

    def __init__(self) -> None:
        self._means: list[Any] = []
        self._before = self._first = 0

    def look(self, mean: Any) -> None:
        """Take the mean loss of one batch."""
        self._means.append(mean)
        if len(self._means) == _TOGETHER:
            self._reduce()

    def take(self) -> int | None:
        """Number of the first batch since the last call, from 1, or 0; ``None`` if there was no loss."""
        self._reduce()
        first = self._first if self._before else None
        self._before = self._first = 0
        return first

    def _reduce(self) -> None:
        if self._means:
            found = np.flatnonzero(np.isnan(tf.stack(self._means).numpy()))
            if found.size and not self._first:
                self._first = self._before + int(found[0]) + 1
            self._before += len(self._means)
            self._means = []
