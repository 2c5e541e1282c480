"""Runs of real backends, assembled from a config alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import emloop as el
from emloop.api import create_emloop_training, create_model
from emloop.models import Ensemble, Sequence
from emloop.utils import load_config, yaml_to_file

pytest.importorskip("sklearn")
pytest.importorskip("skops")

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Three networks for digits that were trained too little, each in another way; the root of their runs."""
    root = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        for name, hidden, rate in (("a", 12, 0.01), ("b", 16, 0.02), ("c", 20, 0.005)):
            overrides = [
                f"model.hidden=[{hidden}]",
                f"model.learning_rate={rate}",
                "main_loop.epochs_count=3",
                "main_loop.extra_streams=[valid]",
                "hooks=[ComputeStats: {variables: [accuracy]}, SaveBest: {variable: accuracy, condition: max}]",
            ]
            config = load_config(str(DIGITS / "config.yaml"), overrides)
            create_emloop_training(config, root / "log", None, name).main_loop.run_training()
    return root


@pytest.fixture
def in_root(digits, monkeypatch):
    """The working directory of somebody who has trained them."""
    monkeypatch.chdir(digits)
    monkeypatch.syspath_prepend(str(ROOT))
    return digits


def accuracy(config, restore_from, name):
    """What an evaluation of the test digits writes down."""
    shutil.rmtree(Path("log", name), ignore_errors=True)
    training = create_emloop_training(config, "log", restore_from, name)
    training.main_loop.run_evaluation("test")
    metrics = json.loads(Path(training.output_dir, "metrics.jsonl").read_text())
    return metrics["test"]["accuracy"]


def assembled(**model):
    """The config of an evaluation that needs no model of its own."""
    section = {"class": "Ensemble", "inputs": ["images", "labels"], "outputs": ["predictions", "probabilities"]}
    return {
        "dataset": {"class": "examples.digits.digits_dataset.Digits", "batch_size": 32},
        "model": {**section, **model},
        "hooks": [
            {
                "ClassificationMetrics": {
                    "predicted_variable": "predictions",
                    "gt_variable": "labels",
                    "f1_average": "macro",
                }
            }
        ],
        "main_loop": {"seed": 1797},
    }


def test_an_ensemble_of_three_is_at_least_as_good_as_the_best_of_them(in_root):
    """Within what one of 270 digits makes; by vote, and by the mean of probabilities."""
    single = [
        accuracy(assembled(model_paths=[name], models_root="log", aggregation="major_vote"), None, f"single_{name}")
        for name in "abc"
    ]
    voted = accuracy(
        assembled(
            model_paths=["a", "b", "c"],
            models_root="log",
            aggregation={"predictions": "major_vote", "probabilities": "mean"},
        ),
        None,
        "voted",
    )

    assert max(single) < 0.99, "the members are too good for an ensemble to be of use"
    assert voted >= max(single) - 1 / 270


def test_an_ensemble_is_evaluated_from_the_command_line(in_root):
    """``emloop eval test @ --config ensemble.yaml``: the config names the members, with nothing to train."""
    yaml_to_file(assembled(model_paths=["a", "b", "c"], models_root="log"), ".", "ensemble.yaml")
    command = [sys.executable, "-m", "emloop", "eval", "test", "log/a", "--config", "ensemble.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--output_dir", "by_command"], env=environment, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()
    metrics = json.loads(Path("log", "by_command", "metrics.jsonl").read_text())
    assert metrics["test"]["accuracy"] > 0.9


def test_runs_saved_models_and_copies_may_be_mixed(in_root, tmp_path):
    """All of one training are the same member; a copy without a config tells itself what it is."""
    shutil.copytree("log/a/model_best", tmp_path / "copied")
    paths = ["log/a", "log/a/config.yaml", "log/a/model_best", str(tmp_path / "copied")]
    members = Ensemble(["images"], ["probabilities"], "mean", model_paths=paths)
    images = np.random.default_rng(0).random((5, 8, 8))
    one = create_model(
        load_config("log/a/config.yaml", ["model.inputs=[images]", "model.outputs=[probabilities]"]),
        None,
        None,
        "log/a",
    )

    np.testing.assert_allclose(
        members.run({"images": images})["probabilities"], one.run({"images": images}, False)["probabilities"]
    )


def test_members_may_be_of_different_backends(in_root, trained):
    """A network of scikit-learn, and a class that somebody has written."""
    always_three = trained("always_three", {"predictions": 3})
    members = Ensemble(["images"], ["predictions"], model_paths=["log/a", always_three, always_three])
    images = np.random.default_rng(0).random((5, 8, 8))

    assert members.run({"images": images})["predictions"].tolist() == [3] * 5


def test_a_member_without_its_source_is_restored_all_the_same(in_root, monkeypatch):
    """By the fallback that is written into every run."""
    config = load_config("log/a/config.yaml", ["model.class=lost.Network"])
    shutil.copytree("log/a", "log/lost")
    yaml_to_file(dict(config), "log/lost", "config.yaml")
    images = np.random.default_rng(0).random((5, 8, 8))
    there, lost = (
        Ensemble(["images"], ["predictions"], model_paths=[path]).run({"images": images})["predictions"].tolist()
        for path in ("log/a", "log/lost")
    )
    shutil.rmtree("log/lost")

    assert there == lost


class Pieces(el.BaseDataset):
    """Points of two classes along one direction of many; after a while, as somebody else has transformed them."""

    def _configure_dataset(self, transformed_by=None):
        rng = np.random.default_rng(3)
        labels = np.repeat([0, 1], 60)
        points = rng.normal(size=(120, 6)) + labels[:, None] * 4
        self._data = {"points": points, "labels": labels}
        if transformed_by is not None:
            config = load_config(f"{transformed_by}/config.yaml")
            features = create_model(config, None, None, transformed_by).run(self._data, False)
            self._data = {**features, "labels": labels}

    def train_stream(self):
        return el.datasets.IndexStream(self._data, 30, rng=self.rng("train"))


def test_a_sequence_of_features_and_a_classifier(tmp_path, monkeypatch):
    """Each was trained by a run of its own; assembled, they answer to what the first one takes."""
    module = types.ModuleType("pieces")
    module.Pieces = Pieces
    monkeypatch.setitem(sys.modules, "pieces", module)
    log = tmp_path / "log"

    def train(name, dataset, **model):
        config = {
            "dataset": {"class": "pieces.Pieces", **dataset},
            "model": {"class": "emloop_sklearn.BaseModel", **model},
            "main_loop": {"epochs_count": 3, "seed": 1, "on_unused_sources": "ignore"},
        }
        create_emloop_training(config, log, None, name).main_loop.run_training()

    train(
        "features",
        {},
        estimator={"class": "sklearn.decomposition.IncrementalPCA", "n_components": 2},
        inputs=["points"],
        outputs=["transformed"],
    )
    train(
        "classifier",
        {"transformed_by": str(log / "features")},
        estimator={"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss"},
        inputs=["transformed", "labels"],
        outputs=["predictions"],
        classes=2,
    )
    sequence = Sequence(["features", "classifier"], models_root=str(log))
    batch = Pieces("{}")._data
    outputs = sequence.run(batch)

    assert sequence.input_names == ["points"]
    assert outputs["transformed"].shape == (120, 2)
    assert (outputs["predictions"] == batch["labels"]).mean() > 0.95
