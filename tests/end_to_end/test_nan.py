"""A training whose loss is not a number says so, in its log, its status and its listing."""

from __future__ import annotations

import json

DIVERGING = ["model.rate=.nan", "~hooks.SaveBest", "main_loop.epochs_count=2"]


def test_a_run_shows_where_its_loss_became_nan(project):
    """Also after a resume, whose own epochs begin with it."""
    project.emloop("train", "config.yaml", "--output_dir", "run", *DIVERGING)
    said = "first in batch 2 of stream 'train' in epoch 1"

    log = (project.run("run") / "train.log").read_text()
    assert [line.partition(": ")[2].partition(": ")[2] for line in log.splitlines() if "NaN" in line] == [
        f"The loss is NaN, {said}"
    ]
    assert json.loads((project.run("run") / "status.json").read_text())["data"]["nan"] == said
    assert "done, NaN" in project.emloop("ls", "log", "--columns", "status")

    project.emloop("resume", "run", "main_loop.epochs_count=3")
    assert json.loads((project.run("run") / "status.json").read_text())["data"]["nan"] == said
    assert said in project.emloop("ls", "log", "status == done", "--columns", "name,nan")


def test_a_sound_run_shows_nothing(project):
    """Nor does its status have it."""
    project.emloop("train", "config.yaml", "--output_dir", "run")

    assert json.loads((project.run("run") / "status.json").read_text())["data"]["nan"] is None
    assert "NaN" not in project.emloop("ls", "log", "--columns", "status")
