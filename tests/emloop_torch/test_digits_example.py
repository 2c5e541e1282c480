"""The digits example with a convolutional network, as its config says it is run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from sklearn.datasets import load_digits

from emloop._state.commit import newest_commit
from emloop._state.tree import equal_trees

ROOT = Path(__file__).parents[2]
CONFIG = "examples/digits/config_torch.yaml"
QUICK = ("~hooks.SaveConfusionMatrix", "~hooks.ShowProgress", "model.channels=8")


@pytest.fixture
def emloop(tmp_path, emloop_in):
    """Run the command line beside a copy of the example."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return emloop_in(tmp_path)


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_network_learns_and_everything_works_from_the_run_alone(emloop, tmp_path):
    """At least 0.98 on the test digits; eval, predict and resume need no source."""
    emloop("train", CONFIG, "--output_dir", "digits", "main_loop.epochs_count=12", "model.lr_schedule.T_max=12")
    (tmp_path / "examples" / "digits" / "digits_torch_model.py").unlink()
    said = emloop("eval", "test", "@", "--output_dir", "tested")
    emloop("eval", "predict", "@", "--output_dir", "predicted")

    assert "ConvNet is restored as emloop_torch.BaseModel" in said
    accuracy = metrics(tmp_path / "log" / "tested")[-1]["test"]["accuracy"]["mean"]
    assert accuracy >= 0.98
    with (tmp_path / "log" / "predicted" / "predictions.csv").open() as file:
        right = [load_digits().target[int(row["ids"])] == int(row["predictions"]) for row in csv.DictReader(file)]
    assert np.mean(right) == pytest.approx(accuracy)


@pytest.mark.slow
def test_a_run_resumed_without_source_ends_as_if_untouched(emloop, tmp_path):
    """Metrics, CSV and the committed model are the same, to the bit."""
    emloop("train", CONFIG, "--output_dir", "whole", "main_loop.epochs_count=4", *QUICK)
    emloop("train", CONFIG, "--output_dir", "cut", "main_loop.epochs_count=2", *QUICK)
    (tmp_path / "examples" / "digits" / "digits_torch_model.py").unlink()
    emloop("resume", "cut", "main_loop.epochs_count=4")

    whole, cut = tmp_path / "log" / "whole", tmp_path / "log" / "cut"
    assert metrics(whole) == metrics(cut)
    assert (whole / "training.csv").read_text() == (cut / "training.csv").read_text()
    states = [newest_commit(run / "checkpoints", set_aside=False)[0].load("model") for run in (whole, cut)]
    assert equal_trees(*states)
