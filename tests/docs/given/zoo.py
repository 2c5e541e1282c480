"""A dataset and a model that have every variable which the reference of hooks mentions."""

import numpy as np

import emloop as el
from emloop.datasets import IndexStream

NUMBERS = ("loss", "accuracy", "error", "depth", "prediction", "target")


class Zoo(el.BaseDataset):
    """Examples of three classes, with sequences of length one."""

    def _configure_dataset(self):
        labels = np.arange(12) % 3
        self._animals = {
            "ids": [f"animal {number}" for number in range(12)],
            "labels": labels,
            "tags": labels[:, np.newaxis],
            "words": [["Miaow"], ["Woof"], ["Neigh"]] * 4,
            "mask": np.ones((12, 1), bool),
            "masks": np.ones((12, 4, 4)),
            "image_paths": [f"image_{number}" for number in range(12)],
        }

    def train_stream(self):
        return IndexStream(self._animals, 6, rng=self.rng("train"))

    def valid_stream(self):
        return IndexStream(self._animals, 6)

    test_stream = valid_stream


class Guesses(el.AbstractModel):
    """Says the same of every animal."""

    def __init__(self, dataset, log_dir, restore_from=None):
        self._log_dir = log_dir

    input_names = ("ids", "labels", "tags", "words", "mask", "masks", "image_paths")
    output_names = (*NUMBERS, "predictions", "probabilities")

    def run(self, batch, train):
        count = len(batch["ids"])
        numbers = dict.fromkeys(NUMBERS, np.full(count, 0.5))
        return {**numbers, "predictions": np.zeros(count, int), "probabilities": np.full((count, 3), 1 / 3)}

    def save(self, name_suffix):
        return self._log_dir

    def get_variable(self, name):
        return 0.1

    def set_variable(self, name, value):
        pass

    def importances(self):
        return {"tags": 0.75, "words": 0.25}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
