"""Texts that are being written, one character of each at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .alphabet import decode, encode


class Texts:
    """Texts that begin with prompts; ``P`` of them.

    Args:
        prompts: What they begin with, one character each at least.
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        self._numbers = [encode(prompt).tolist() for prompt in prompts]
        self.written = 0
        """Number of characters that each has beyond its prompt."""

    def append(self, numbers: npt.ArrayLike) -> None:
        """Write one more character of every text.

        Args:
            numbers: The characters' numbers, ``[P]``.
        """
        for text, number in zip(self._numbers, np.asarray(numbers).tolist(), strict=True):
            text.append(number)
        self.written += 1

    def ends(self, size: int) -> dict[str, npt.NDArray[np.int64]]:
        """The last characters of every text, for a model that sees ``size`` of them.

        Returns:
            ``text: int64 [P, size]``, filled up behind the end of a shorter text, and ``length: int64 [P]``.
        """
        ends = [text[-size:] for text in self._numbers]
        windows = np.zeros((len(ends), size), np.int64)
        for window, end in zip(windows, ends, strict=True):
            window[: len(end)] = end
        return {"text": windows, "length": np.array([len(end) for end in ends])}

    def decoded(self) -> list[str]:
        """The texts as far as they are written, prompts included."""
        return [decode(text) for text in self._numbers]
