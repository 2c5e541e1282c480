"""The digits example as its README runs it, and under fire."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.kills import wait_for_end

from emloop._state.commit import newest_commit
from emloop.saved_models import find_saved

from .conftest import Project, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = "examples/digits/config.yaml"
QUICK = ("~hooks.SaveConfusionMatrix", "~hooks.ShowProgress")


@pytest.fixture
def project(tmp_path, processes):
    """A checkout of nothing but the examples."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return Project(tmp_path, processes)


def metrics(run: Path) -> dict:
    """The last line of a run's metrics."""
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def outcome(run: Path) -> dict:
    """What must not depend on interruptions."""
    commit, rejected = newest_commit(run / "checkpoints", set_aside=False)
    assert commit is not None
    assert [] == rejected
    trees = {name: commit.load(name) for name in commit.components}
    return {
        "csv": (run / "training.csv").read_text(),
        "metrics": (run / "metrics.jsonl").read_text(),
        "best": find_saved(run).manifest["files"],
        "state": {name: repr_tree(tree) for name, tree in trees.items()},
    }


def repr_tree(tree: object) -> object:
    """A state tree in a form that compares to the bit."""
    if isinstance(tree, dict):
        return {name: repr_tree(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [repr_tree(value) for value in tree]
    if isinstance(tree, np.ndarray):
        return (tree.dtype.str, tree.shape, tree.tobytes())
    return tree


def test_the_example_learns_and_its_commands_work_even_without_the_models_source(project):
    """At least 0.95 on the test digits; eval reports what training reported for the restored model; predict labels."""
    project.emloop("train", CONFIG, "main_loop.extra_streams=[valid, test]", "--output_dir", "digits")
    trained = project.run("digits")

    project.emloop("eval", "test", "@", "--output_dir", "with-source")
    (project.path / "examples" / "digits" / "digits_model.py").unlink()
    said = project.emloop("eval", "test", "@", "--output_dir", "without-source")
    project.emloop("eval", "predict", "@", "--output_dir", "predicted")
    project.emloop("resume", "@", "main_loop.epochs_count=14", *QUICK)

    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    best = max(reversed(lines[:13]), key=lambda line: line["valid"]["accuracy"]["mean"])
    first_best = next(line for line in lines if line["valid"]["accuracy"] == best["valid"]["accuracy"])
    for name in ("with-source", "without-source"):
        assert first_best["test"]["accuracy"] == metrics(project.run(name))["test"]["accuracy"]
    assert first_best["test"]["accuracy"]["mean"] >= 0.95
    assert "examples.digits.digits_model.Network is restored as emloop_sklearn.BaseModel" in said
    assert 14 == metrics(trained)["epoch_id"]
    with (project.run("predicted") / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = load_digits().target
    right = [labels[int(row["ids"])] == int(row["predictions"]) for row in rows]
    assert np.mean(right) == pytest.approx(first_best["test"]["accuracy"]["mean"])


def test_the_example_runs_from_the_config_alone(project):
    """An estimator named in YAML, no model code."""
    (config,) = sorted((project.path / "examples" / "digits").glob("*only*.yaml"))

    project.emloop("train", str(config.relative_to(project.path)), "--output_dir", "digits", *QUICK[:0])

    assert metrics(project.run("digits"))["valid"]["accuracy"]["mean"] >= 0.9


@pytest.mark.torture
def test_killed_at_random_instants_the_training_ends_as_if_untouched(project):
    """SIGKILL, whatever the process is doing; resumed each time. No committed epoch is ever lost."""
    arguments = ("model.hidden=[32]", "main_loop.commit.every=1ep", *QUICK)
    instants, run = random.Random(1797), project.run("cut")
    process = project.start("train", CONFIG, "--output_dir", "cut", "main_loop.epochs_count=99999", *arguments)
    started = monotonic()
    wait_for(process, run / "checkpoints" / "00000002")
    reach = min(2 * (monotonic() - started), 1.5)  # as long again as it takes to start, but for the first start of all
    kills, seq, epoch = 0, 0, 0
    while True:
        process.kill()
        process.communicate()
        kills += 1
        commit, _ = newest_commit(run / "checkpoints", set_aside=False)
        assert commit is not None
        assert commit.seq >= seq
        seq, epoch = commit.seq, commit.info["epoch"]
        if kills == 40:
            break
        process = project.start("resume", "cut")
        # However busy the machine is, every other process gets two epochs further.
        while kills % 2 and max(project.commits("cut")) < seq + 2:
            assert process.poll() is None
            wait_for_end(process, 0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(instants.uniform(0.0, 0.1) if kills % 2 else instants.uniform(0.1, reach))

    # How far it came depends on the machine; a run that had this limit from the start is its equal.
    limit = f"main_loop.epochs_count={epoch + 2}"
    project.emloop("resume", "cut", limit)
    project.emloop("train", CONFIG, "--output_dir", "whole", limit, *arguments)

    assert epoch > 10
    assert outcome(project.run("whole")) == outcome(run)
