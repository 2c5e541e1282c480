"""What is noted inside epochs: running means that ``LogEvery`` computes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from emloop import AbstractHook
from emloop._run_dir.summary import last_line
from emloop.api import resume_emloop_training
from emloop.hooks import LogEvery

from .conftest import CountingModel, ListDataset, batches
from .test_commits_inside import BATCHES, config, result, train


class Notes(AbstractHook):
    """Keeps what is noted."""

    stateless = True

    def __init__(self):
        super().__init__()
        self.heard = []

    def after_note(self, batches, data):
        self.heard.append((batches, data))


def noted(make_loop, streams, every, *, model=None, epochs=2, **arguments):
    """What a ``LogEvery`` notes of ``y``, which is twice the input."""
    notes = Notes()
    hook = LogEvery(every, ["y"], **arguments)
    loop = make_loop([hook, notes], ListDataset(**streams), model, epochs_count=epochs, extra_streams=["valid"])
    loop.run_training()
    return [(number, data["train"]["y"]["mean"]) for number, data in notes.heard]


def test_means_are_over_the_training_batches_since_the_last_note(make_loop):
    """An interval goes on in the next epoch; evaluations, the zeroth epoch among them, are not part of it."""
    streams = {"train": batches(1, 2, 3, 4, 5), "valid": batches(100)}

    assert noted(make_loop, streams, 3) == [(3, 4.0), (6, 20 / 3), (9, 6.0)]


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        pytest.param("4sa", [(2, 6.0), (3, 12.0), (5, 6.0), (6, 12.0)], id="samples-are-counted-by-batch"),
        pytest.param("1ep", [(3, 9.0), (6, 9.0)], id="epochs"),
        pytest.param("2ep", [(6, 9.0)], id="two-epochs"),
        pytest.param("99ba", [], id="longer-than-the-training"),
    ],
)
def test_intervals_have_one_grammar(make_loop, every, expected):
    """A note comes with the batch that fills the interval, also where it holds more than that."""
    streams = {"train": [{"x": [1.0]}, {"x": [3.0, 4.0, 4.0]}, {"x": [6.0] * 4}], "valid": batches(100)}

    assert noted(make_loop, streams, every) == expected


def test_an_interval_of_time_is_measured_from_note_to_note(make_loop):
    """Here a second passes with every look at the clock: two after the hook was made, or has noted."""
    seconds = iter(range(1000))
    streams = {"train": batches(1, 2, 3, 4), "valid": batches(100)}

    assert noted(make_loop, streams, "2s", epochs=1, clock=lambda: next(seconds)) == [(2, 3.0), (4, 7.0)]


def test_means_are_weighted_as_the_model_says(make_loop):
    """The sum of weight × value ÷ the sum of weights."""

    class Weighing(CountingModel):
        input_names = ("x", "w")
        weights = {"y": "w"}  # noqa: RUF012

    train = [{"x": [1.0, 9.0], "w": [1.0, 0.0]}, {"x": [3.0, 4.0], "w": [1.0, 2.0]}]

    assert noted(make_loop, {"train": train, "valid": train}, 2, model=Weighing(), epochs=1) == [(2, 2 * 12 / 4)]


def watched(**main_loop):
    """A configuration that notes something every three batches of five, and stops early."""
    settings = config(**main_loop)
    settings["hooks"] += [
        {"LogEvery": {"every": "3ba"}},
        {"LogEvery": {"every": "20sa", "variables": ["loss"], "name": "by-samples"}},
        {"EarlyStopping": {"patience": 2, "min_delta": 10.0}},
    ]
    return settings


def test_notes_are_lines_of_steps(tmp_path):
    """The batches trained on so far, the epoch, and the mean that NumPy gives for these batches."""
    run = train(watched(), tmp_path, "run")
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    every_third = [(line["batches"], line["epoch_id"]) for line in lines if line["batches"] in (3, 6, 9)]

    assert (3, 1) in every_third
    assert (6, 2) in every_third
    assert all(list(line) == ["batches", "epoch_id", "train"] for line in lines)
    assert all(np.isfinite(line["train"]["loss"]["mean"]) for line in lines)
    assert last_line(run, "steps.jsonl") == lines[-1]
    assert last_line(run, "metrics.jsonl")["epoch_id"] == 2


@pytest.mark.parametrize("buffer", [0, 3])
def test_notes_and_early_stopping_go_on_exactly_after_a_kill_at_any_batch(tmp_path, buffer, monkeypatch):
    """Whichever batch the last commit followed, with later lines in the file: the run ends as if never killed."""
    monkeypatch.setattr("emloop.main_loop.commit_policy._PACE", 0)  # looks at the clock after every batch
    settings = watched(buffer=buffer, epochs_count=9, commit={"every": "0.0001s", "keep": 1000})
    each = train(settings, tmp_path, "each")
    whole, steps = (
        result(train(watched(buffer=buffer, epochs_count=9), tmp_path, "whole")),
        (each / "steps.jsonl").read_bytes(),
    )
    assert result(each) == whole
    commits = sorted(path.name for path in (each / "checkpoints").iterdir())
    assert len((each / "metrics.jsonl").read_text().splitlines()) == 3, "stopped early"
    assert len(commits) >= 6 * BATCHES

    for number in range(buffer % 2, len(commits) - 1, 2):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(each, copy)
        for later in commits[number + 1 :]:
            shutil.rmtree(copy / "checkpoints" / later)
        resume_emloop_training(
            settings | {"main_loop": settings["main_loop"] | {"commit": {"every": "1ep"}}}, copy
        ).main_loop.run_training()
        assert result(copy) == whole, commits[number]
        assert (copy / "steps.jsonl").read_bytes() == steps
