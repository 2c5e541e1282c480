"""Scanned handwritten digits, in three parts that share no image."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

import emloop as el
from emloop.datasets import IndexStream

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Digits(el.BaseDataset):
    """1797 scanned digits that come with scikit-learn, split at random into train, valid and test.

    A batch holds ``images: float32 [B, 8, 8]`` from 0 (paper) to 1 (ink) and ``labels: int64 [B]``. The stream
    ``predict`` shows the test images as they would come in production: with ``ids``, without labels.
    """

    def _configure_dataset(self, batch_size: int = 32, valid_share: float = 0.15, test_share: float = 0.15) -> None:
        """Load and split the digits.

        Args:
            batch_size: Number of examples in a batch.
            valid_share: Part of all digits that the model is watched on while it trains.
            test_share: Part of all digits that the model never meets in training.
        """
        images, labels = load_digits(return_X_y=True)
        self._images = (images / 16).astype(np.float32).reshape(-1, 8, 8)
        self._labels = labels
        self._batch_size = batch_size
        # The run's seed decides, so an evaluation of the run has the same test digits.
        order = self.rng("split").permutation(len(labels))
        ends = np.cumsum([round(share * len(labels)) for share in (test_share, valid_share)])
        self._parts = dict(zip(("test", "valid", "train"), np.split(order, ends), strict=True))

    def train_stream(self) -> el.Stream:
        """All training digits, in another order in every epoch."""
        return IndexStream(self._columns("train"), self._batch_size, rng=self.rng("train"))

    def valid_stream(self) -> el.Stream:
        """The validation digits."""
        return IndexStream(self._columns("valid"), self._batch_size)

    def test_stream(self) -> el.Stream:
        """The test digits."""
        return IndexStream(self._columns("test"), self._batch_size)

    def predict_stream(self) -> el.Stream:
        """The test digits without what they are: numbers of the scans, and images."""
        part = self._parts["test"]
        return IndexStream({"ids": part, "images": self._images[part]}, self._batch_size)

    def num_classes(self) -> int:
        """Number of different digits."""
        return len(NAMES)

    def classes_names(self) -> list[str]:
        """Names of the digits, by label."""
        return NAMES

    @property
    def num_batches(self) -> dict[str, int]:
        """Stream → number of batches, so that progress can be shown."""
        batches = {name: -(-len(part) // self._batch_size) for name, part in self._parts.items()}
        return {**batches, "predict": batches["test"]}

    def _columns(self, part: str) -> dict[str, np.ndarray]:
        return {"images": self._images[self._parts[part]], "labels": self._labels[self._parts[part]]}
