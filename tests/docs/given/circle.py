"""Points in the plane, inside or outside of a circle, for pages that are about something else."""

import emloop as el
from emloop.datasets import IndexStream


class Circle(el.BaseDataset):
    """Uniformly distributed points; label 1 inside of the unit circle."""

    def _configure_dataset(self, examples: int = 400, batch_size: int = 20):
        self._batch_size = batch_size
        self._train = self._points("train points", examples)
        self._valid = self._points("valid points", examples // 4)
        self._test = self._points("test points", examples // 4)

    def _points(self, name, count):
        points = self.rng(name).uniform(-1.25, 1.25, (count, 2))
        return {
            "points": points,
            "labels": (points**2).sum(axis=1) < 1,
            "ids": [str(number) for number in range(count)],
        }

    def train_stream(self):
        return IndexStream(self._train, self._batch_size, rng=self.rng("train"))

    def valid_stream(self):
        return IndexStream(self._valid, self._batch_size)

    def test_stream(self):
        return IndexStream(self._test, self._batch_size)
