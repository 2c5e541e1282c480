"""``emloop ensemble``: the runs of one config become one model."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import emloop as el
from emloop.cli.app import main
from emloop.utils import load_yaml, yaml_to_file

pytest.importorskip("sklearn")
pytest.importorskip("skops")
pytestmark = pytest.mark.slow

CONFIG = {
    "dataset": {"class": "Arrays", "path": "points.npz", "folds": 3, "split": {"test": 0.2, "stratify": "label"}},
    "model": {
        "name": "points",
        "class": "emloop_sklearn.BaseModel",
        "inputs": ["features", "label"],
        "outputs": ["predictions", "probabilities", "accuracy"],
        "classes": 2,
        "estimator": {"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss", "random_state": 0},
    },
    "hooks": [
        {"ComputeStats": {"variables": ["accuracy"]}},
        {"SaveBest": {"variable": "accuracy", "condition": "max"}},
        {"ClassificationMetrics": {"predicted_variable": "predictions", "gt_variable": "label", "var_prefix": "of_"}},
    ],
    "main_loop": {"seed": 1, "epochs_count": 2, "extra_streams": ["valid"]},
}


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """A directory with the runs of three folds and their ensemble, all by one command."""
    root = tmp_path_factory.mktemp("folds")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    np.savez(root / "points.npz", features=rng.normal(size=(300, 4)) + labels[:, None], label=labels)
    yaml_to_file(CONFIG, str(root), "config.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train = f"{shlex.quote(sys.executable)} -m emloop train config.yaml"
        assert main(["gridsearch", train, "dataset.fold=[0, 1, 2]", "--ensemble", "log/three"]) == 0
    return root


@pytest.fixture
def in_folds(folds, monkeypatch):
    """The directory, to stand in."""
    monkeypatch.chdir(folds)
    return folds


def members(root):
    """The runs that the ensemble names, in its order."""
    paths = load_yaml("log/three/config.yaml")["model"]["model_paths"]
    return [os.path.normpath(root / "log/three" / path) for path in paths]


def test_the_folds_of_a_config_become_one_model(in_folds, monkeypatch, tmp_path):
    """It gives the mean of what the members' best models give, and their vote, from anywhere and without labels."""
    paths = members(in_folds)
    assert [0, 1, 2] == [load_yaml(f"{path}/config.yaml")["dataset"]["fold"] for path in paths]
    monkeypatch.chdir(tmp_path)
    predictor = el.load(in_folds / "log/three")
    features = np.random.default_rng(1).normal(size=(9, 4))
    each = [el.load(path).predict({"features": features}) for path in paths]
    together = predictor.predict({"features": features})

    assert (["features"], ["predictions", "probabilities"]) == (list(predictor.inputs), list(together))
    np.testing.assert_array_equal(np.mean([one["probabilities"] for one in each], axis=0), together["probabilities"])
    votes = np.sum([one["predictions"] for one in each], axis=0)
    np.testing.assert_array_equal(votes >= 2, together["predictions"])
    assert "float64 [any, 4]" in repr(predictor)


def test_it_is_evaluated_on_what_no_member_has_trained_on(in_folds, capsys):
    """The stream that was set aside; of the folds, every example was trained on, so none of them is held out."""
    assert main(["check", "log/three"]) == 0
    assert main(["eval", "test", "log/three", "--output_dir", "tested"]) == 0
    (record,) = map(json.loads, (in_folds / "log/tested/metrics.jsonl").read_text().splitlines())
    assert record["test"]["of_accuracy"] > 0.8
    capsys.readouterr()

    assert main(["eval", "valid", "log/three"]) == 2
    assert "the dataset Arrays has no method 'valid_stream'" in capsys.readouterr().err
    dataset = el.create_dataset(load_yaml("log/three/config.yaml"))
    assert len(np.concatenate([batch["label"] for batch in dataset.train_stream()])) == 240
    assert not hasattr(dataset, "valid_stream")


def test_runs_that_are_there_are_assembled(in_folds, capsys):
    """Hooks that read what is no output any more are left out; whatever else differs in the data is told."""
    first, second, _ = members(in_folds)
    config = load_yaml(f"{second}/config.yaml")
    yaml_to_file({**config, "dataset": {**config["dataset"], "batch_size": 16}}, second, "config.attempt-2.yaml")
    evaluated = {"test": {"hooks": [{"ComputeStats": {"variables": ["accuracy"]}}, "LogVariables"]}}
    yaml_to_file({**load_yaml(f"{first}/config.yaml"), "eval": evaluated}, first, "config.attempt-2.yaml")
    try:
        assert main(["ensemble", first, second, "-o", "pair"]) == 0
    finally:
        for run in (first, second):
            Path(run, "config.attempt-2.yaml").unlink()
    said = capsys.readouterr()

    assert [["ClassificationMetrics"]] == [list(hook) for hook in load_yaml("pair/config.yaml")["hooks"]]
    assert load_yaml("pair/config.yaml")["eval"]["test"]["hooks"] == ["LogVariables"]
    assert "ComputeStats is left out, since it reads 'accuracy'" in said.err
    assert "the runs differ in dataset.batch_size; the ensemble has that of" in said.err
    assert "mean ± deviation" in said.out
    assert el.load("pair").predict({"features": np.zeros((1, 4))})["predictions"].shape == (1,)


def test_nothing_is_left_of_an_ensemble_that_cannot_be(in_folds, capsys):
    """A name that is taken is refused before anything is trained, a single run is none."""
    first, *_ = members(in_folds)
    assert main(["gridsearch", "./not-there", "x=[1]", "--ensemble", "log"]) == 2
    assert "log is there already; name a new directory" in capsys.readouterr().err
    assert main(["ensemble", first, "-o", "one"]) == 2
    assert main(["gridsearch", "./not-there", "x=[1]", "--ensemble", "one"]) == 1
    assert "`emloop ensemble RUN … -o one` makes it" in capsys.readouterr().err
    assert not os.path.lexists("one")
