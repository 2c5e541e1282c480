"""Ten batches of short sequences in four classes: as numbers, and as tokens."""

import numpy as np

import emloop as el


class Data(el.BaseDataset):
    """Each class has a pattern of its own, under noise."""

    def _configure_dataset(self, size=12, **kwargs):
        rng = np.random.default_rng(5)
        patterns = rng.normal(size=(4, 6, 8))
        self._batches = []
        for number in range(10):
            examples = size - number % 3
            labels = rng.integers(0, 4, examples)
            signals = patterns[labels] + rng.normal(size=(examples, 6, 8))
            tokens = (labels[:, None] * 4 + rng.integers(0, 4, (examples, 9))).astype(np.int64)
            self._batches.append({"signals": signals.astype(np.float32), "tokens": tokens, "labels": labels})

    def train_stream(self):
        return self._batches
