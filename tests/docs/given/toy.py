"""A dataset and a model that need nothing but NumPy, for pages that are about something else."""

import numpy as np

import emloop as el
from emloop import saved_models
from emloop.datasets import IndexStream


class Numbers(el.BaseDataset):
    """Numbers from 0 to 1."""

    def _configure_dataset(self, size: int = 40):
        self._numbers = {"x": np.linspace(0.0, 1.0, size)}

    def train_stream(self):
        return IndexStream(self._numbers, 10, rng=self.rng("train"))

    def valid_stream(self):
        return IndexStream(self._numbers, 10)


class Mean(el.AbstractModel):
    """Learns the mean of its input."""

    def __init__(self, dataset, log_dir, restore_from=None, rate: float = 0.1):
        self._guess = 0.0
        self.rate = rate
        if restore_from is not None:
            self.load_state_dict(saved_models.find_saved(restore_from).tree())

    input_names = ("x",)
    output_names = ("loss",)

    def run(self, batch, train):
        error = np.asarray(batch["x"]) - self._guess
        if train:
            self._guess += self.rate * error.mean()
        return {"loss": error**2}

    def save(self, name_suffix):
        raise NotImplementedError

    def state_dict(self):
        return {"guess": self._guess}

    def load_state_dict(self, state):
        self._guess = state["guess"]
