"""The digits example with a network of each framework, as its configs say it is run, and all of them in one vote."""

from __future__ import annotations

import csv
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.end_to_end.conftest import Project
from tests.kills import Killing

pytest.importorskip("sklearn")

from sklearn.datasets import load_digits

from emloop._state.commit import newest_commit
from emloop._state.tree import equal_trees

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = "examples/digits/config_{}.yaml"
LENGTH = {
    "torch": "model.lr_schedule.T_max",
    "jax": "model.lr_schedule.decay_steps",
    "tensorflow": "model.lr_schedule.decay_steps",
}
"""Framework → the key that says after how many epochs the rate has fallen."""
QUICK = ("~hooks.SaveConfusionMatrix", "~hooks.ShowProgress", "model.channels=8")

FRAMEWORKS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name in LENGTH
]
of_every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


@pytest.fixture
def emloop(tmp_path, emloop_in):
    """Run the command line beside a copy of the example."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return emloop_in(tmp_path)


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_source(path, framework):
    (path / "examples" / "digits" / f"digits_{framework}_model.py").unlink()


def committed(run):
    return newest_commit(run / "checkpoints", set_aside=False)[0].load("model")


@of_every_framework
def test_the_network_learns_and_everything_works_from_the_run_alone(emloop, tmp_path, framework):
    """At least 0.97 on the test digits, also without the source."""
    length = ("main_loop.epochs_count=7", f"{LENGTH[framework]}=7")
    emloop("train", CONFIG.format(framework), "--output_dir", "digits", *length, *QUICK[:2])
    without_source(tmp_path, framework)
    said = emloop("eval", "test", "@", "--output_dir", "tested")
    emloop("eval", "predict", "digits", "--output_dir", "predicted")

    assert f"ConvNet is restored as emloop_{framework}.BaseModel" in said
    accuracy = metrics(tmp_path / "log" / "tested")[-1]["test"]["accuracy"]["mean"]
    assert accuracy >= 0.97
    with (tmp_path / "log" / "predicted" / "predictions.csv").open() as file:
        right = [load_digits().target[int(row["ids"])] == int(row["predictions"]) for row in csv.DictReader(file)]
    assert np.mean(right) == pytest.approx(accuracy)


@of_every_framework
def test_a_run_resumed_without_source_ends_as_if_untouched(emloop, tmp_path, framework):
    """Metrics, CSV and the committed model are the same, to the bit."""
    config = CONFIG.format(framework)
    emloop("train", config, "--output_dir", "whole", "main_loop.epochs_count=4", *QUICK)
    emloop("train", config, "--output_dir", "cut", "main_loop.epochs_count=2", *QUICK)
    without_source(tmp_path, framework)
    emloop("resume", "cut", "main_loop.epochs_count=4")

    whole, cut = tmp_path / "log" / "whole", tmp_path / "log" / "cut"
    assert metrics(whole) == metrics(cut)
    assert (whole / "training.csv").read_text() == (cut / "training.csv").read_text()
    assert equal_trees(committed(whole), committed(cut))


@pytest.mark.torture
@pytest.mark.parametrize("framework", ["jax", "tensorflow"])
def test_killed_again_and_again_the_run_ends_as_if_untouched(emloop, tmp_path, processes, framework):
    """SIGKILL at random instants in every part of a training: nothing committed is lost, nothing else differs."""
    pytest.importorskip(framework)
    (tmp_path / "config.yaml").write_text(f"extends: {CONFIG.format(framework)}\n")
    killing = Killing(Project(tmp_path, processes), "cut", ("main_loop.commit={every: 7ba}", *QUICK))
    killing.run(60)
    emloop("train", "config.yaml", "--output_dir", "whole", killing.limit(0), *QUICK)

    whole, cut = tmp_path / "log" / "whole", tmp_path / "log" / "cut"
    assert (whole / "metrics.jsonl").read_text() == (cut / "metrics.jsonl").read_text()
    assert (whole / "training.csv").read_text() == (cut / "training.csv").read_text()
    assert equal_trees(committed(whole), committed(cut))


def test_a_model_of_each_framework_has_a_vote(emloop, tmp_path):
    """One process restores and runs all four, and is right more often than 0.97."""
    for name in LENGTH:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    length = ("main_loop.epochs_count=8", *QUICK[:2])
    emloop("train", "examples/digits/config.yaml", "--output_dir", "config", *length)
    for framework in LENGTH:
        emloop("train", CONFIG.format(framework), "--output_dir", f"config_{framework}", *length, QUICK[2])
    emloop("eval", "test", "examples/digits/config_ensemble.yaml", "--output_dir", "vote")

    assert metrics(tmp_path / "log" / "vote")[-1]["test"]["accuracy"] >= 0.97
