"""Networks of PyTorch are members of ensembles and sequences like any other model, with their source or without."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skops")

from emloop.api import create_emloop_training, create_model  # noqa: E402
from emloop.errors import SavedModelError  # noqa: E402
from emloop.models import Ensemble, Sequence  # noqa: E402
from emloop.utils import load_config  # noqa: E402

SOURCE = """
import numpy as np
from torch import nn
from torch.nn import functional

import emloop as el
import emloop_torch


def points():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 150)
    places = rng.normal(size=(3, 6))[labels] + rng.normal(size=(150, 6))
    return {"points": places.astype(np.float32), "labels": labels}


class Points(el.BaseDataset):
    def _configure_dataset(self, seen_by=None):
        self._data = points()
        if seen_by is not None:
            model = el.create_model(el.utils.load_config(f"{seen_by}/config.yaml"), None, None, seen_by)
            self._data = {**self._data, **model.run(self._data, False)}

    def train_stream(self):
        return el.datasets.IndexStream(self._data, 30, rng=self.rng("train"))


class Net(nn.Module):
    def __init__(self, size, hidden):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Dropout(0.1))
        self.outer = nn.Linear(hidden, 3)

    def predict(self, points):
        features = self.inner(points)
        logits = self.outer(features)
        answers = {"probabilities": logits.softmax(1), "predictions": logits.argmax(1)}
        return {"features": features, "logits": logits, **answers}

    def forward(self, points, labels):
        outputs = self.predict(points)
        return {**outputs, "loss": functional.cross_entropy(outputs["logits"], labels, reduction="none")}


class NetOnFeatures(Net):
    def forward(self, features, labels):
        return super().forward(features, labels)


class Network(emloop_torch.BaseModel):
    def create_model(self, hidden=8):
        return Net(6, hidden)


class SecondNetwork(emloop_torch.BaseModel):
    def create_model(self):
        return NetOnFeatures(8, 8)
"""
NETWORK = {
    "class": "taught_nets.Network",
    "optimizer": {"class": "AdamW", "learning_rate": 0.05},
    "device": "cpu",
}
CLASSIFIER = {
    "class": "emloop_sklearn.BaseModel",
    "estimator": {"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss", "random_state": 0},
    "classes": 3,
}
ANSWERS = ["probabilities", "predictions"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of both backends on points, and of both on what a network has made of them; their root, and the points."""
    root = tmp_path_factory.mktemp("assembled")
    (root / "taught_nets.py").write_text(SOURCE)

    def train(name, given, outputs, seen_by=None, **model):
        config = {
            "dataset": {"class": "taught_nets.Points", "seen_by": seen_by},
            "model": {"inputs": [given, "labels"], "outputs": outputs, **model},
            "hooks": ["SaveLatest"],
            "main_loop": {"epochs_count": 4, "seed": 1, "on_unused_sources": "ignore"},
        }
        create_emloop_training(config, root / "log", None, name).main_loop.run_training()
        return str(root / "log" / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        train("net_4", "points", ANSWERS, **NETWORK, hidden=4)
        train("net_8", "points", ANSWERS, **NETWORK)
        train("linear", "points", ANSWERS, **CLASSIFIER)
        net = train("net", "points", ["features"], **NETWORK)
        train("linear_on_net", "features", ["predictions"], net, **CLASSIFIER)
        second = {**NETWORK, "class": "taught_nets.SecondNetwork"}
        train("net_on_net", "features", ["predictions"], net, **second)
        data = sys.modules.pop("taught_nets").points()
    return root / "log", data


@pytest.fixture(params=["with-source", "without-source"])
def log(trained, request, monkeypatch):
    """The root of the runs, where the class of the networks can be imported, or not."""
    root, _ = trained
    if request.param == "with-source":
        monkeypatch.syspath_prepend(str(root.parent))
    yield root
    was_imported = sys.modules.pop("taught_nets", None) is not None
    assert was_imported == (request.param == "with-source")


@pytest.fixture
def data(trained):
    """The points with their labels."""
    return trained[1]


def alone(run, batch, outputs):
    """What one model answers, made from its run without the others."""
    config = load_config(f"{run}/config.yaml", [f"model.inputs=[{', '.join(batch)}]", f"model.outputs={outputs}"])
    return create_model(config, None, None, str(run)).run(batch, False)


MEMBERS = {
    "networks": ["net_8", "net_4"],
    "one-counts-twice": ["net_4", "net_8", "net_8"],
    "of-both-backends": ["net_8", "linear", "net_4"],
    "saved-models-and-configs": ["net_8/model_latest", "linear/model_latest", "net_4/config.yaml"],
}


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_an_ensemble_answers_as_its_members_do(log, data, members):
    """Means and votes are those of the answers that each gives alone, without labels."""
    batch = {"points": data["points"]}
    aggregation = {"probabilities": "mean", "predictions": "major_vote"}
    ensemble = Ensemble(["points"], ANSWERS, aggregation, models_root=str(log), model_paths=members)
    found = ensemble.run(batch)

    answers = [alone(log / member.partition("/")[0], batch, ANSWERS) for member in members]
    mean = np.mean([answer["probabilities"] for answer in answers], axis=0)
    np.testing.assert_allclose(found["probabilities"], mean, rtol=1e-6)
    votes = np.stack([np.asarray(answer["predictions"]) for answer in answers], axis=1).tolist()
    assert [max(each, key=each.count) for each in votes] == found["predictions"].tolist()
    assert np.mean(found["predictions"] == data["labels"]) > 0.6


@pytest.mark.parametrize("last", ["linear_on_net", "net_on_net"])
def test_a_sequence_gives_what_one_has_made_to_the_next(log, data, last):
    """A network makes features, and a model of either backend tells classes by them."""
    sequence = Sequence(["net", last], models_root=str(log))
    found = sequence.run(data)

    features = alone(log / "net", data, "[features]")
    expected = alone(log / last, {**features, "labels": data["labels"]}, "[predictions]")
    np.testing.assert_array_equal(found["features"], features["features"])
    np.testing.assert_array_equal(found["predictions"], expected["predictions"])
    assert np.mean(found["predictions"] == data["labels"]) > 0.6


def test_members_with_source_and_without_answer_the_same(trained, data, monkeypatch):
    """To the bit."""
    root, _ = trained
    batch = {"points": data["points"]}
    without = Ensemble(["points"], ["probabilities"], "mean", str(root), ["net_4", "net_8"]).run(batch)
    monkeypatch.syspath_prepend(str(root.parent))
    with_source = Ensemble(["points"], ["probabilities"], "mean", str(root), ["net_4", "net_8"]).run(batch)
    loaded = sys.modules.pop("taught_nets", None)

    assert loaded is not None
    np.testing.assert_array_equal(without["probabilities"], with_source["probabilities"])


def test_a_copied_model_needs_neither_source_nor_run(trained, data, tmp_path):
    """What lies in the folder of a saved model is enough."""
    root, _ = trained
    for name in ("net_4", "linear"):
        shutil.copytree(root / name / "model_latest", tmp_path / name)
    batch = {"points": data["points"]}
    copied = Ensemble(["points"], ["probabilities"], "mean", models_root=str(tmp_path)).run(batch)
    at_home = Ensemble(["points"], ["probabilities"], "mean", str(root), ["linear", "net_4"]).run(batch)

    np.testing.assert_array_equal(copied["probabilities"], at_home["probabilities"])


def test_a_member_that_needs_its_source_is_named(trained, data, tmp_path):
    """A run that never saved has no program; the message says which one, and why."""
    root, _ = trained
    run = shutil.copytree(root / "net_4", tmp_path / "unsaved")
    shutil.rmtree(run / "program")
    shutil.rmtree(run / "model_latest")
    ensemble = Ensemble(["points"], ["predictions"], model_paths=[str(root / "linear"), str(run)])

    with pytest.raises(
        SavedModelError, match=r"unsaved/checkpoints/\d+: the model's source is needed: its run has never"
    ):
        ensemble.run({"points": data["points"]})
