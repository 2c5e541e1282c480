"""Batches to learn from, and a way to make models of a few lines."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from emloop._state.random import use_seed


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Sums are taken in one order."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
