"""Vectors of random bits, and whether there are more ones or more zeros in them."""

from __future__ import annotations

import numpy as np

import emloop as el
from emloop.datasets import IndexStream


class Majority(el.BaseDataset):
    """Random vectors whose label is the bit that they have more of.

    A batch holds ``x: float32 [B, D]`` of zeros and ones, and ``y: int64 [B]``.
    """

    num_classes = 2

    def _configure_dataset(self, examples: int = 3000, dimension: int = 11, batch_size: int = 32) -> None:
        """Draw all vectors.

        Args:
            examples: Number of vectors; five sixths of them train the model.
            dimension: Bits in a vector; an odd number, so that there is a majority.
            batch_size: Number of examples in a batch.
        """
        if dimension % 2 == 0:
            raise ValueError(f"dimension: expected an odd number, got {dimension}")
        bits = self.rng("bits").integers(0, 2, (examples, dimension))
        self._columns = {"x": bits.astype(np.float32), "y": (bits.sum(axis=1) > dimension // 2).astype(np.int64)}
        self._train_examples = examples * 5 // 6
        self._batch_size = batch_size

    def train_stream(self) -> el.Stream:
        """The training vectors, in another order in every epoch."""
        return self._stream(slice(self._train_examples), self.rng("train"))

    def test_stream(self) -> el.Stream:
        """The other vectors."""
        return self._stream(slice(self._train_examples, None))

    def _stream(self, part: slice, rng: np.random.Generator | None = None) -> el.Stream:
        return IndexStream({name: column[part] for name, column in self._columns.items()}, self._batch_size, rng=rng)
