"""A table with mixed columns, by a configuration alone: check, train, kill, resume, evaluate, predict, load."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
import textwrap

import numpy as np
import pytest
import yaml
from tests.kills import ENDING

from emloop._state.commit import list_commits
from emloop._state.tree import equal_trees
from emloop.cli.app import main

pytest.importorskip("lightgbm")
pytest.importorskip("xgboost")
pytestmark = pytest.mark.slow

DATA = '''
import csv

import emloop as el
from emloop.datasets import IndexStream


class People(el.BaseDataset):
    """Rows of a CSV file, the last third of which validate."""

    def _configure_dataset(self, file, **kwargs):
        with open(file, newline="") as opened:
            rows = list(csv.DictReader(opened))
        self.columns = {name: [row[name] or None for row in rows] for name in ("city", "bought")}
        self.columns["age"] = [float(row["age"]) if row["age"] else None for row in rows]
        self.columns["job"] = [int(row["job"]) for row in rows]

    def part(self, first, last):
        return IndexStream({name: column[first:last] for name, column in self.columns.items()}, 32)

    def train_stream(self):
        return self.part(0, 128)

    def valid_stream(self):
        return self.part(128, None)
'''
PIPELINE = {
    "class": "sklearn.pipeline.Pipeline",
    "steps": [
        [
            "columns",
            {
                "class": "sklearn.compose.ColumnTransformer",
                "transformers": [
                    ["text", {"class": "sklearn.preprocessing.OneHotEncoder", "handle_unknown": "ignore"}, ["city"]],
                    ["numbers", {"class": "sklearn.preprocessing.StandardScaler"}, ["age", "job"]],
                ],
            },
        ],
        ["fit", {"class": "sklearn.ensemble.HistGradientBoostingClassifier"}],
    ],
}
ESTIMATORS = {
    "pipeline": PIPELINE,
    "lightgbm": {"class": "lightgbm.LGBMClassifier", "n_jobs": 1, "subsample": 0.8, "subsample_freq": 1},
    "xgboost": {"class": "xgboost.XGBClassifier", "n_jobs": 1, "subsample": 0.8, "enable_categorical": True},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with a table of people and the code that reads it."""
    rng = np.random.default_rng(0)
    with (tmp_path / "people.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["age", "city", "job", "bought"])
        for _ in range(192):
            age, city, job = rng.normal(), rng.choice(["Oslo", "Rome", "Köln"]), rng.integers(0, 5)
            bought = "yes" if age + (city == "Rome") + job / 4 + rng.normal() > 1 else "no"
            table.writerow([f"{age:.3f}" if rng.random() > 0.1 else "", city, job, bought])
    (tmp_path / "people.py").write_text(DATA)
    (tmp_path / "ending.py").write_text(ENDING)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configured(estimator):
    config = {
        "dataset": {"class": "people.People", "file": "people.csv"},
        "model": {
            "class": "emloop_sklearn.BaseModel",
            "name": "people",
            "estimator": estimator,
            "rounds_per_epoch": 3,
            "features": ["age", "city", "job"],
            "labels": "bought",
            "classes": ["no", "yes"],
            "outputs": ["predictions", "probabilities", "loss", "accuracy"],
        },
        "hooks": [
            {"ComputeStats": {"variables": ["loss", "accuracy"]}},
            {"WriteCSV": {"variables": ["loss", "accuracy"]}},
            {"SaveBest": {"variable": "loss"}},
            {"EarlyStopping": {"variable": "loss", "patience": 3}},
            "ending.Stop",
        ],
        "main_loop": {"seed": 7, "epochs_count": 4, "extra_streams": ["valid"], "commit": {"every": "1ep"}},
    }
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


@pytest.fixture
def emloop(processes):
    """Run the command line; ``stop`` is what the hook takes that ends it."""

    def run(*arguments, stop="0 none"):
        command = [sys.executable, "-m", "emloop", *arguments]
        environment = os.environ | {"STOP": stop, "OMP_NUM_THREADS": "1"}
        return processes.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    return run


def state_of(run):
    return list_commits(run / "checkpoints")[0].states()


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(estimator, id=name, marks=[] if number == 0 else pytest.mark.torture)
        for number, (name, estimator) in enumerate(ESTIMATORS.items())
    ],
)
def test_a_boosting_that_is_stopped_anywhere_ends_as_if_it_were_not(project, emloop, processes, estimator):
    """By ^C amid an epoch, and killed in each; it is then evaluated, and loaded far from its code, by four threads."""
    (project / "config.yaml").write_text(configured(estimator), encoding="utf-8")
    assert main(["check", "config.yaml"]) == 0
    done = emloop("train", "config.yaml", "--output_dir", "untouched")
    assert done.returncode == 0, done.stderr
    stopped = emloop("train", "config.yaml", "--output_dir", "stopped", stop="6 SIGINT")
    assert stopped.returncode == 75, stopped.stderr
    assert "a resume repeats what came after it: 2 batches" in stopped.stderr
    # Four batches an epoch, of which the process that goes on sees those after the last commit.
    for stop in ("3 SIGKILL", "7 SIGKILL"):
        assert emloop("resume", "stopped", stop=stop).returncode == -signal.SIGKILL
    resumed = emloop("resume", "stopped")
    assert resumed.returncode == 0, resumed.stderr

    untouched, stopped = project / "log" / "untouched", project / "log" / "stopped"
    ours, theirs = state_of(untouched), state_of(stopped)
    assert equal_trees(ours["model"], theirs["model"])
    assert (untouched / "training.csv").read_bytes() == (stopped / "training.csv").read_bytes()
    lines = (untouched / "metrics.jsonl").read_text().splitlines()[1:]
    losses = [json.loads(line)["valid"]["loss"]["mean"] for line in lines]
    assert losses[-1] < losses[0]
    assert emloop("eval", "valid", "untouched").returncode == 0

    elsewhere = project / "elsewhere"
    shutil.copytree(untouched, elsewhere / "run")
    (project / "people.py").unlink()
    code = """
        import json, threading
        import emloop
        predictor = emloop.load("run")
        inputs = {"age": [0.5, None, -1.0], "city": ["Rome", "Oslo", "Atlantis"], "job": [4, 0, 2]}
        found = [None] * 4
        def predict(n):
            found[n] = predictor.predict(inputs)["probabilities"].tolist()
        threads = [threading.Thread(target=predict, args=(n,)) for n in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert all(one == found[0] for one in found)
        print(json.dumps(found[0]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    loaded = processes.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    probabilities = np.array(json.loads(loaded.stdout.splitlines()[-1]))
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert probabilities[0, 1] > probabilities[1, 1]
