"""Models of a few lines, batches to train them on, and what can be seen of them afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from emloop._state.random import use_seed

from . import nets

SGD = {"class": "SGD", "learning_rate": 0.1}


def batches_of(sizes, seed=2):
    """Points in two classes."""
    rng = np.random.default_rng(seed)
    return [
        {"points": rng.normal(size=(size, 3)).astype(np.float32), "labels": rng.integers(0, 2, size)} for size in sizes
    ]


BATCHES = batches_of([8, 8, 5, 8, 8, 1, 8, 8, 3])


def make(cls=nets.Classifier, restore_from=None, *, log_dir=None, seed=3, **config):
    """Make a model, in a run if there is a seed."""
    config = {"inputs": ["points", "labels"], "outputs": ["loss", "logits"], "device": "cpu"} | config
    with use_seed(seed):
        return cls(None, None if log_dir is None else str(log_dir), restore_from, **config)


def trained(model):
    """The model, which has seen a batch."""
    model.run(BATCHES[0], train=True)
    return model


def step(model, batch, *, last=False):
    """Train on a batch; everything that can be seen of it."""
    outputs = {name: np.array(values) for name, values in model.run(batch, train=True).items()}
    if last:
        model.end_epoch()
    return outputs | {"rate": np.array(model.get_variable("learning_rate"))}


def weights_in(model):
    """All variables of a model, by name."""
    return model.state_dict()["variables"]


def manifest(path):
    """What a saved model says of itself."""
    return json.loads(Path(path, "manifest.json").read_text())
