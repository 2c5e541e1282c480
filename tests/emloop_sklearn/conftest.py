"""Batches to learn from, and models of three lines."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

import emloop_sklearn


class Linear(emloop_sklearn.BaseModel):
    """A classifier whose source says how it is made, and nothing else."""

    def create_model(self, alpha=1e-3):
        return SGDClassifier(loss="log_loss", alpha=alpha, random_state=self.seed)


@pytest.fixture
def linear():
    """The class of a model with source."""
    return Linear


@pytest.fixture
def batches():
    """Twenty batches of 32 tiny images in three classes, with labels that can be learned."""
    rng = np.random.default_rng(3)
    centers = rng.normal(size=(3, 8))
    batches = []
    for _ in range(20):
        labels = rng.integers(0, 3, 32)
        images = centers[labels] + rng.normal(size=(32, 8))
        batches.append({"images": images.reshape(32, 2, 4), "labels": labels})
    return batches


@pytest.fixture
def create(tmp_path):
    """Create a model from its part of a configuration."""

    def create(cls=emloop_sklearn.BaseModel, *, dataset=None, log_dir=str(tmp_path), restore_from=None, **config):
        config = {"inputs": ["images", "labels"], "outputs": ["predictions"], "classes": 3} | config
        return cls(dataset=dataset, log_dir=log_dir, restore_from=restore_from, **config)

    return create


@pytest.fixture
def sgd():
    """A linear classifier with probabilities, as a configuration describes it."""
    return {"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss", "random_state": 0}
