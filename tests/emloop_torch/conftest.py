"""Batches to learn from, and a way to make models of a few lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emloop._state.random import use_seed
from emloop._state.tree import copy_tree, equal_trees


@pytest.fixture(autouse=True, scope="session")
def _one_thread(one_torch_thread):
    """Sums are taken in one order."""


@pytest.fixture
def batches():
    """Twelve batches of 8 points in two classes."""
    rng = np.random.default_rng(2)
    batches = []
    for _ in range(12):
        labels = rng.integers(0, 2, 8)
        points = rng.normal(size=(8, 3)) + labels[:, None]
        batches.append({"points": points.astype(np.float32), "labels": labels})
    return batches


@pytest.fixture
def create(tmp_path):
    """Create a model of a module, or of the parts of a configuration."""
    emloop_torch = pytest.importorskip("emloop_torch")

    def create(make=None, *, cls=None, log_dir=tmp_path, restore_from=None, seed=3, **config):
        config = {"inputs": ["points", "labels"], "outputs": ["loss"], "device": "cpu"} | config
        if make is not None:
            cls = type("Model", (cls or emloop_torch.BaseModel,), {"create_model": lambda self: make()})
        with use_seed(seed):
            return (cls or emloop_torch.BaseModel)(
                None, None if log_dir is None else str(log_dir), restore_from, **config
            )

    return create


@pytest.fixture
def manifest():
    """What a saved model says of itself."""
    return lambda path: json.loads(Path(path, "manifest.json").read_text())


@pytest.fixture
def goes_on_exactly(create, batches):
    """Check that a training of a module goes on to the bit: with its source, without, and from a state alone.

    It is cut after five batches of epochs of three; ``change`` is done to the model before, if anything.
    """

    def check(make, change=None, **config):
        model = create(make, **config)
        for number in range(5):
            _train(model, batches, number)
        if change is not None:
            change(model)
        path = model.save("best")
        others = {
            "with source": create(make, restore_from=path, **config),
            "without source": create(restore_from=path, **config),
            "from a state": create(make, **config),
        }
        _train(others["from a state"], batches, 0)
        others["from a state"].load_state_dict(copy_tree(model.state_dict()))
        for number in range(5, len(batches)):
            expected = _train(model, batches, number)
            for how, other in others.items():
                assert equal_trees(expected, _train(other, batches, number)), f"{how}: batch {number}"
        for how, other in others.items():
            for key in ("parameters", "buffers", "training"):
                assert equal_trees(model.state_dict()[key], other.state_dict()[key]), f"{how}: {key}"
        return model

    return check


def _train(model, batches, number):
    outputs = model.run(batches[number], train=True)
    if number % 3 == 2:
        model.end_epoch()
    return {**outputs, "learning_rate": np.array(model.get_variable("learning_rate"))}
