"""Animals that were measured, somewhat carelessly."""

from __future__ import annotations

import numpy as np

import emloop as el
from emloop.datasets import IndexStream

SPECIES = {
    #           kind       legs wings fins eggs  log10(kg)
    "mouse":   ("mammal",  4,   0,    0,   0,    -1.7),
    "dog":     ("mammal",  4,   0,    0,   0,     1.3),
    "bat":     ("mammal",  2,   2,    0,   0,    -2.0),
    "whale":   ("mammal",  0,   0,    3,   0,     4.5),
    "sparrow": ("bird",    2,   2,    0,   1,    -1.5),
    "penguin": ("bird",    2,   2,    0,   1,     1.0),
    "ostrich": ("bird",    2,   2,    0,   1,     2.0),
    "trout":   ("fish",    0,   0,    7,   1,     0.3),
    "shark":   ("fish",    0,   0,    6,   0,     2.7),
    "ant":     ("insect",  6,   0,    0,   1,    -5.5),
    "bee":     ("insect",  6,   4,    0,   1,    -4.0),
}  # fmt: skip
KINDS = ["mammal", "bird", "fish", "insect"]


class Animals(el.BaseDataset):
    """Measurements of animals, and what kind of animal each is.

    A batch holds ``measures: float64 [B, 5]`` (legs, wings, fins, whether it lays eggs, decimal logarithm of its
    kilograms) and ``kinds: int64 [B]``, indices into ``classes_names()``.
    """

    def _configure_dataset(self, animals: int = 600, noise: float = 0.3, batch_size: int = 20) -> None:
        """Measure the animals.

        Args:
            animals: How many; a third of them is kept for validation.
            noise: Standard deviation of the measurements' errors.
            batch_size: Number of animals in a batch.
        """
        rng = self.rng("animals")
        rows = list(SPECIES.values())
        chosen = rng.integers(len(rows), size=animals)
        true = np.array([row[1:] for row in rows], dtype=float)[chosen]
        self._measures = true + rng.normal(scale=noise, size=true.shape)
        self._kinds = np.array([KINDS.index(row[0]) for row in rows])[chosen]
        self._valid_animals = animals // 3
        self._batch_size = batch_size

    def train_stream(self) -> el.Stream:
        """Two thirds of the animals, in another order every time."""
        return self._stream(slice(self._valid_animals, None), self.rng("train"))

    def valid_stream(self) -> el.Stream:
        """The other third."""
        return self._stream(slice(self._valid_animals))

    def num_classes(self) -> int:
        """Number of kinds."""
        return len(KINDS)

    def classes_names(self) -> list[str]:
        """Names of the kinds, by label."""
        return KINDS

    def _stream(self, part: slice, rng: np.random.Generator | None = None) -> el.Stream:
        return IndexStream({"measures": self._measures[part], "kinds": self._kinds[part]}, self._batch_size, rng=rng)
