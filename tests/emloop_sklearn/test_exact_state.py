"""Training that goes on from a state is the training that was never interrupted, to the bit."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

import emloop_sklearn
from emloop._state.commit import write_commit
from emloop._state.tree import equal_trees
from emloop.errors import SavedModelError, StateError
from emloop.saved_models import find_saved

ESTIMATORS = {
    "sgd": {"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss", "random_state": 1},
    "sgd-averaged": {"class": "sklearn.linear_model.SGDClassifier", "average": True, "random_state": 1},
    "passive-aggressive": {"class": "sklearn.linear_model.PassiveAggressiveClassifier", "random_state": 1},
    "naive-bayes": {"class": "sklearn.naive_bayes.GaussianNB"},
    "perceptron-adam": {"class": "sklearn.neural_network.MLPClassifier", "hidden_layer_sizes": [8], "random_state": 1},
    "perceptron-momentum": {
        "class": "sklearn.neural_network.MLPRegressor",
        "hidden_layer_sizes": [8, 4],
        "solver": "sgd",
        "random_state": 1,
    },
    "k-means": {"class": "sklearn.cluster.MiniBatchKMeans", "n_clusters": 3, "random_state": 1},
    "pca": {"class": "sklearn.decomposition.IncrementalPCA", "n_components": 4},
    "scaler": {"class": "sklearn.preprocessing.StandardScaler"},
    "pipeline": {
        "class": "sklearn.pipeline.Pipeline",
        "steps": [
            ["scale", {"class": "sklearn.preprocessing.StandardScaler"}],
            ["classify", {"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss", "random_state": 1}],
        ],
    },
}


class WithGenerator(emloop_sklearn.BaseModel):
    """A perceptron that draws from a generator object, whose position is part of the state."""

    def create_model(self):
        perceptron = importlib.import_module("sklearn.neural_network").MLPClassifier
        return perceptron([8], random_state=np.random.RandomState(5))


@pytest.fixture(params=[*ESTIMATORS, "perceptron-generator"])
def fresh(request, create):
    """Create a model with one of many estimators; again and again the same."""
    if request.param == "perceptron-generator":
        return lambda **config: create(WithGenerator, outputs=["predictions"], **config)
    module, _, name = ESTIMATORS[request.param]["class"].rpartition(".")
    if not hasattr(importlib.import_module(module), name):
        pytest.skip(f"this scikit-learn has no {name}")
    outputs = ["transformed"] if request.param in ("pca", "scaler") else ["predictions"]
    return lambda **config: create(estimator=ESTIMATORS[request.param], outputs=outputs, **config)


pytestmark = pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")


def train(model, batches):
    return [model.run(batch, train=True) for batch in batches]


def test_training_goes_on_from_a_saved_model_as_if_nothing_had_happened(fresh, batches):
    """Ten batches, saved, restored, ten more: outputs and the whole state equal those of twenty in a row."""
    uninterrupted = fresh()
    train(uninterrupted, batches[:10])
    path = uninterrupted.save("middle")
    expected = train(uninterrupted, batches[10:])

    restored = fresh(restore_from=path)
    outputs = train(restored, batches[10:])

    assert equal_trees(outputs, expected)
    assert equal_trees(restored.state_dict(), uninterrupted.state_dict())


def test_training_goes_on_from_a_state_as_if_nothing_had_happened(fresh, batches, tmp_path):
    """A commit's state brings a fresh model to where the old one was, even after other batches."""
    uninterrupted = fresh()
    train(uninterrupted, batches[:7])
    commit = write_commit(tmp_path / "checkpoints", 1, {"model": uninterrupted.state_dict()}, {})
    expected = train(uninterrupted, batches[7:])

    resumed = fresh()
    train(resumed, batches[12:])
    resumed.load_state_dict(commit.load("model"))

    assert equal_trees(train(resumed, batches[7:]), expected)
    assert equal_trees(resumed.state_dict(), uninterrupted.state_dict())


def test_a_state_is_taken_without_changing_the_training(fresh, batches):
    """Committing more or less often makes no difference."""
    quiet, observed = fresh(), fresh()
    train(quiet, batches)
    for batch in batches:
        observed.run(batch, train=True)
        observed.state_dict()

    assert equal_trees(observed.state_dict(), quiet.state_dict())


def test_a_state_taken_earlier_does_not_change_later(create, sgd, batches):
    """It is a copy of what was, not a window on what is."""
    model = create(estimator=sgd)
    train(model, batches[:3])
    state = model.state_dict()
    before = hashlib.sha256(state["estimator"]).hexdigest()
    train(model, batches[3:])

    assert hashlib.sha256(state["estimator"]).hexdigest() == before
    assert (state["batches"], state["examples"]) == (3, 96)


HASH_OF_A_STATE = """
import hashlib
import numpy as np
import emloop_sklearn

model = emloop_sklearn.BaseModel(
    None, None, inputs=["x", "y"], outputs=[], classes=3,
    estimator={"class": "sklearn.neural_network.MLPClassifier", "hidden_layer_sizes": [5], "random_state": 1},
)
rng = np.random.default_rng(0)
for _ in range(5):
    model.run({"x": rng.normal(size=(9, 4)), "y": rng.integers(0, 3, 9)}, train=True)
print(hashlib.sha256(model.state_dict()["estimator"]).hexdigest())
"""


def test_equal_trainings_have_equal_states_in_every_process():
    """Bytes hold no addresses, times or random names, so runs can be compared by their files."""
    hashes = [
        subprocess.run(
            [sys.executable, "-c", HASH_OF_A_STATE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert len(hashes[0]) == 65
    assert hashes[0] == hashes[1]


def test_a_model_saved_before_its_first_batch_learns_as_a_fresh_one(fresh, batches):
    """The zeroth epoch may save, too."""
    first = fresh()
    first.run(batches[0], train=False)
    restored = fresh(restore_from=first.save("zeroth"))

    assert equal_trees(train(restored, batches[:5]), train(fresh(), batches[:5]))


def test_a_state_of_something_else_is_refused(create, sgd, batches):
    """Another backend's, another estimator's, or another number of classes; the message says which."""
    model = create(estimator=sgd)
    train(model, batches[:2])
    with pytest.raises(StateError, match="expected a model's state of the format 'emloop_sklearn 1', got None"):
        model.load_state_dict({"weights": np.ones(3)})
    with pytest.raises(
        StateError, match="the state is that of a SGDClassifier, the configuration describes a GaussianNB"
    ):
        create(estimator={"class": "sklearn.naive_bayes.GaussianNB"}).load_state_dict(model.state_dict())
    with pytest.raises(StateError, match="the state knows 3 classes, the configuration or dataset 4"):
        create(estimator=sgd, classes=4).load_state_dict(model.state_dict())
    path = model.save("best")
    with pytest.raises(SavedModelError, match=f"{path}: the state knows 3 classes"):
        create(estimator=sgd, classes=4, restore_from=path)


def test_a_saved_model_holds_the_state_that_a_checkpoint_would(create, sgd, batches):
    """One writer, one tree."""
    model = create(estimator=sgd)
    train(model, batches[:2])

    assert equal_trees(find_saved(model.save("x")).tree(), model.state_dict())
