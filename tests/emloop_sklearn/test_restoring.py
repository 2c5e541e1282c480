"""A saved scikit-learn model can be restored wherever the library is, and trained further."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import SGDClassifier

import emloop_sklearn
from emloop._state.commit import write_commit
from emloop._state.random import use_seed
from emloop._state.tree import equal_trees
from emloop.errors import ConfigError, SavedModelError, UntrustedError
from emloop.saved_models import write_saved_model
from emloop.seeding import current_seed


def train(model, batches):
    return [model.run(batch, train=True) for batch in batches]


def test_a_saved_model_tells_what_it_is(create, sgd, batches):
    """Backend, variables, versions, and that it needs no source."""
    model = create(estimator=sgd, outputs=["probabilities", "loss"])
    train(model, batches[:1])
    path = model.save("best")

    manifest = json.loads((model_file(path, "manifest.json")).read_text())
    assert path.endswith("model_best")
    assert (manifest["backend"], manifest["restore_fallback"]) == ("sklearn", "emloop_sklearn.BaseModel")
    assert (manifest["rung"], manifest["reason"]) == ("estimator", None)
    assert manifest["inputs"]["images"] == {"dtype": "float64", "shape": [None, 2, 4]}
    assert manifest["outputs"]["probabilities"] == {"dtype": "float64", "shape": [None, 3]}
    assert manifest["extra"]["versions"].keys() == {"scikit-learn", "skops"}


def model_file(path, suffix):
    return next(file for file in Path(path).iterdir() if file.name.endswith(suffix))


def test_a_model_can_be_saved_before_it_has_seen_a_batch(create, sgd):
    """Its variables are known by name only."""
    path = create(estimator=sgd, outputs=["loss"]).save("0")

    manifest = json.loads(model_file(path, "manifest.json").read_text())
    assert (manifest["inputs"], manifest["outputs"]) == ({"images": None, "labels": None}, {"loss": None})


SOURCE = """
import emloop_sklearn
from sklearn.neural_network import MLPClassifier

class Network(emloop_sklearn.BaseModel):
    def create_model(self, hidden=7):
        return MLPClassifier([hidden], random_state=self.seed)
"""

PRELUDE = """
import hashlib
import sys
import numpy as np
from emloop._state.random import use_seed

rng = np.random.default_rng(0)
batches = [{"x": rng.normal(size=(9, 4)), "y": rng.integers(0, 3, 9)} for _ in range(20)]
config = {"inputs": ["x", "y"], "outputs": ["probabilities"], "classes": 3, "hidden": 5}
run = sys.argv[1]
def train(model, batches):
    for batch in batches:
        out = model.run(batch, train=True)["probabilities"]
    print(out.tobytes().hex(), hashlib.sha256(model.state_dict()["estimator"]).hexdigest())
"""

WITH_SOURCE = """
from my_networks import Network
with use_seed(4):
    model = Network(None, run, **config)
for batch in batches[:10]:
    model.run(batch, train=True)
model.save("best")
train(model, batches[10:])
"""

WITHOUT_SOURCE = """
import importlib.util
import emloop_sklearn
if importlib.util.find_spec("my_networks"):
    raise SystemExit("the source is still there")
model = emloop_sklearn.BaseModel(None, None, restore_from=run, **config)
train(model, batches[10:])
"""


def python(processes, script, *arguments, path):
    done = processes.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_without_the_source_trains_further_to_the_bit(tmp_path, processes):
    """Another process, another directory, no module of the user's: the same twenty batches, the same model."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "my_networks.py").write_text(SOURCE)
    (tmp_path / "run").mkdir()

    expected = python(processes, PRELUDE + WITH_SOURCE, tmp_path / "run", path=tmp_path / "src")
    shutil.move(tmp_path / "run", tmp_path / "shipped")
    found = python(processes, PRELUDE + WITHOUT_SOURCE, tmp_path / "shipped", path=tmp_path / "nowhere")

    assert len(expected) > 200
    assert found == expected


def test_without_the_source_its_arguments_are_still_checked(create, linear, batches):
    """What create_model took is accepted, since the configuration still has it; a misspelling is not."""
    model = create(linear, alpha=0.01)
    train(model, batches[:2])
    path = model.save("best")

    create(alpha=0.02, restore_from=path)
    with pytest.raises(ConfigError, match=r"BaseModel: unknown argument 'alhpa'\n  did you mean 'alpha'\?"):
        create(alhpa=0.02, restore_from=path)


def test_without_the_source_it_can_be_saved_and_restored_again(create, linear, batches):
    """As often as one likes; it stays the same model."""
    with use_seed(4):
        model = create(linear, alpha=0.01)
    train(model, batches[:5])
    first = create(alpha=0.01, restore_from=model.save("a"))
    second = create(alpha=0.01, restore_from=first.save("b"))

    assert equal_trees(second.state_dict(), first.state_dict())
    assert equal_trees(train(second, batches[5:]), train(model, batches[5:]))


def test_a_model_is_restored_from_a_run_or_a_checkpoint(create, linear, batches, tmp_path):
    """The best saved model of a run; or any commit, by its directory."""
    model = create(linear)
    train(model, batches[:3])
    model.save("best")
    train(model, batches[3:6])
    commit = write_commit(tmp_path / "checkpoints", 1, {"model": model.state_dict()}, {})

    assert create(restore_from=tmp_path).state_dict()["batches"] == 3
    assert create(restore_from=str(commit.path)).state_dict()["batches"] == 6
    assert create(linear, restore_from=commit.path).state_dict()["batches"] == 6


class HalfWeights(emloop_sklearn.BaseModel):
    """A class that the saved estimator cannot stand for."""

    def create_model(self):
        return SGDClassifier(loss="log_loss", random_state=0)

    def fit_batch(self, estimator, features, labels):
        estimator.partial_fit(features, labels, classes=self.classes, sample_weight=np.full(len(labels), 0.5))


def test_a_class_that_learns_in_its_own_way_is_needed_to_train(create, batches, caplog):
    """The first save says so once, the manifest keeps it, and the fallback predicts, but refuses to train."""
    model = create(HalfWeights)
    train(model, batches[:2])
    path = model.save("best")
    model.save("latest")

    reason = f"{HalfWeights.__module__}.HalfWeights overrides fit_batch"
    offer = "saved_model: {capsule: on} takes it along, for those who trust it"
    assert [record.getMessage() for record in caplog.records] == [
        f"Training HalfWeights will need its source: {reason}; {offer}"
    ]
    assert caplog.records[0].levelno == logging.WARNING
    manifest = json.loads(model_file(path, "manifest.json").read_text())
    assert (manifest["rung"], manifest["reason"]) == ("inference", reason)
    alone = create(restore_from=path)
    for name, values in model.run(batches[2], train=False).items():
        np.testing.assert_array_equal(alone.run(batches[2], train=False)[name], values)
    for one in (alone, create(restore_from=alone.save("again"))):
        with pytest.raises(SavedModelError, match=f"BaseModel cannot train it further without the source: {reason}"):
            one.run(batches[2], train=True)
    assert equal_trees(create(HalfWeights, restore_from=path).state_dict(), model.state_dict())


class Doubting(HalfWeights):
    """Its outputs are its own, too."""

    def compute_outputs(self, estimator, features, labels):
        return {**super().compute_outputs(estimator, features, labels), "loss": np.ones(len(features))}


def test_a_class_with_outputs_of_its_own_is_needed_for_all(create, batches):
    """Nothing of it is restored by another one."""
    model = create(Doubting)
    train(model, batches[:2])
    path = model.save("best")

    reason = f"{Doubting.__module__}.Doubting overrides compute_outputs, fit_batch"
    assert json.loads(model_file(path, "manifest.json").read_text())["rung"] == "weights"
    with pytest.raises(SavedModelError, match=f"BaseModel cannot restore it without the source: {reason}"):
        create(restore_from=path)


class Majority(ClassifierMixin, BaseEstimator):
    """An estimator that no library has."""

    def partial_fit(self, features, labels, classes=None):
        if classes is not None:
            self.classes_ = classes
            self.counts_ = np.zeros(len(classes), int)
        self.counts_ += np.bincount(labels, minlength=len(self.classes_))
        return self

    def predict(self, features):
        return np.full(len(features), self.classes_[self.counts_.argmax()])


MAJORITY = f"{Majority.__module__}.Majority"


def test_an_estimator_of_one_s_own_must_be_trusted_by_name(create, batches, caplog):
    """When it is created, so that no run ends with a model that cannot be restored; and when it is restored."""

    class Voting(emloop_sklearn.BaseModel):
        def create_model(self):
            return Majority()

    with pytest.raises(
        ConfigError, match=rf"Majority could be saved but not restored.*\n.*trusted_types: \[{MAJORITY}\]"
    ):
        create(Voting)

    model = create(Voting, trusted_types=[MAJORITY], outputs=["predictions", "accuracy"])
    train(model, batches[:4])
    path = model.save("best")
    assert f"the estimator is made of {MAJORITY}" in caplog.text

    with pytest.raises(
        UntrustedError, match=rf"{MAJORITY}\n  if you know where it comes from: trusted_types: \[{MAJORITY}\]"
    ):
        create(restore_from=path)
    restored = create(restore_from=path, trusted_types=[MAJORITY])
    assert equal_trees(
        train(restored, batches[4:]), [{"predictions": out["predictions"]} for out in train(model, batches[4:])]
    )


def test_an_estimator_whose_class_is_gone_says_that_it_is_needed(create, batches, monkeypatch):
    """Even where its type is trusted."""
    model = create(estimator={"class": MAJORITY}, trusted_types=[MAJORITY])
    train(model, batches[:1])
    path = model.save("best")
    monkeypatch.delattr(sys.modules[Majority.__module__], "Majority")

    with pytest.raises(SavedModelError, match=f"the estimator cannot be read.*; the estimator is made of {MAJORITY}"):
        create(restore_from=path, trusted_types=[MAJORITY])


def test_rates_and_penalties_of_a_restored_model_follow_the_configuration(create, batches):
    """A fine-tuning with another learning rate needs no code; sizes stay, with one warning that names them."""
    perceptron = {"class": "sklearn.neural_network.MLPClassifier", "random_state": 0, "hidden_layer_sizes": [6]}
    model = create(estimator=perceptron)
    train(model, batches[:3])
    path = model.save("best")

    restored = create(estimator={**perceptron, "alpha": 0.5, "learning_rate_init": 0.125}, restore_from=path)
    assert restored.get_variable("learning_rate") == 0.125
    assert restored._estimator.alpha == 0.5
    assert restored._estimator._optimizer.learning_rate_init == 0.125


def test_sizes_and_choices_of_a_restored_model_stay_as_they_were(create, batches, caplog):
    """What the learned state was made for cannot change; one warning says what is different."""
    perceptron = {"class": "sklearn.neural_network.MLPClassifier", "random_state": 0, "hidden_layer_sizes": [6]}
    model = create(estimator=perceptron)
    train(model, batches[:3])
    path = model.save("best")
    assert caplog.records == []

    changed = {**perceptron, "hidden_layer_sizes": [9], "activation": "tanh", "random_state": 5}
    restored = create(estimator=changed, restore_from=path)
    said = [record.getMessage().partition(": ") for record in caplog.records]
    assert said == [
        (
            "The restored MLPClassifier keeps what its learned state was made for",
            ": ",
            "activation stays 'relu' (configured: 'tanh'); hidden_layer_sizes stays [6] (configured: [9])",
        )
    ]
    assert equal_trees(train(restored, batches[3:]), train(model, batches[3:]))


def test_what_a_hook_has_set_survives_an_unchanged_configuration(create, batches):
    """A learning rate that was lowered during training stays lowered after a resume."""
    perceptron = {"class": "sklearn.neural_network.MLPClassifier", "random_state": 0, "learning_rate_init": 0.01}
    model = create(estimator=perceptron)
    train(model, batches[:3])
    model.set_variable("learning_rate", 0.001)
    resumed = create(estimator=perceptron)
    resumed.load_state_dict(model.state_dict())

    assert resumed.get_variable("learning_rate") == 0.001
    assert equal_trees(train(resumed, batches[3:]), train(model, batches[3:]))


def test_the_run_s_seed_seeds_every_part_of_the_estimator(create, batches):
    """Where the configuration leaves it open; a class of one's own has it as ``self.seed``."""
    voting = {
        "class": "sklearn.multiclass.OneVsRestClassifier",
        "estimator": {"class": "sklearn.linear_model.SGDClassifier"},
    }
    with use_seed(2**40 + 11):
        model = create(estimator=voting)
        fixed = create(estimator={"class": "sklearn.linear_model.SGDClassifier", "random_state": 3})
        free = create(estimator={"class": "sklearn.linear_model.SGDClassifier", "random_state": None})
        assert current_seed() == 2**40 + 11

    assert model.seed == 11
    assert model._estimator.estimator.random_state == 11
    assert fixed._estimator.random_state == 3
    assert free._estimator.random_state is None
    assert create(estimator=voting).seed is None
    assert current_seed() is None


@pytest.mark.parametrize("suffix", ["manifest.json", ".safetensors", ".json"])
def test_a_damaged_model_is_refused(create, sgd, batches, suffix):
    """One bit is enough, in whichever file; the error names it."""
    model = create(estimator=sgd)
    train(model, batches[:1])
    path = model.save("best")
    damaged = model_file(path, suffix)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 4
    damaged.write_bytes(content)

    with pytest.raises(SavedModelError, match=damaged.name):
        create(estimator=sgd, restore_from=path)


def test_what_is_no_model_of_this_backend_is_refused(create, tmp_path):
    """Another backend's, one whose state is another's, or nothing."""
    arguments = {"restore_fallback": "torch.X", "inputs": {}, "outputs": {}, "tree": {"w": 1}, "rung": "exported"}
    other = write_saved_model(tmp_path / "model_other", backend="torch", **arguments)
    with pytest.raises(SavedModelError, match="saved by the backend 'torch', not by 'sklearn'"):
        create(restore_from=other)
    forged = write_saved_model(tmp_path / "model_forged", backend="sklearn", **arguments)
    with pytest.raises(SavedModelError, match=f"{forged} cannot be restored: .* format 'emloop_sklearn 1', got None"):
        create(restore_from=forged)
    with pytest.raises(SavedModelError, match="there is none"):
        create(restore_from=tmp_path / "model_gone")
