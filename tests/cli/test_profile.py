"""``emloop profile`` says where the time goes, and names the setting that would save most of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from emloop.cli._training.profile import Profile, first_change
from emloop.cli._training.running import Rehearsal

CODE = """
import time

import emloop as el


def work(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Indexed:
    def __init__(self, load, number):
        self._load, self._number = load, number

    def __len__(self):
        return self._number

    def __getitem__(self, index):
        work(self._load)
        return {"x": [1.0, 2.0]}


class Data(el.BaseDataset):
    def _configure_dataset(self, load=0.0, number=40, **kwargs):
        self._load, self._number = load, number

    def train_stream(self):
        for _ in range(self._number):
            work(self._load)
            yield {"x": [1.0, 2.0]}

    def indexed_stream(self):
        return Indexed(self._load, self._number)

    def valid_stream(self):
        raise AssertionError("an evaluation was begun")


class Model(el.AbstractModel):
    input_names, output_names = ["x"], ["loss"]

    def __init__(self, dataset, log_dir, restore_from=None, step=0.0):
        self._step = step

    def run(self, batch, train, stream=None):
        work(self._step)
        return {"loss": batch["x"]}

    def save(self, name_suffix):
        raise AssertionError("nothing is to be saved")


class Slow(el.AbstractHook):
    def __init__(self, seconds):
        self._seconds = seconds

    def after_batch(self, stream_name, batch_data):
        work(self._seconds)
"""
CONFIG = """
dataset: {class: timed.Data, load: %s}
model: {class: timed.Model, step: %s}
hooks:
- timed.Slow: {seconds: %s}
- ComputeStats: {variables: [loss]}
- SaveEvery
main_loop: {extra_streams: [valid], %s}
"""


SEQUENCE = "dataset: return an IndexStream, or another sequence of batches, from train_stream"


@pytest.fixture
def profiled(tmp_path):
    """What ``emloop profile --json`` says of a training that takes certain times."""

    def run(load, step, hook, main_loop="", *words, batches=30):
        (tmp_path / "timed.py").write_text(CODE)
        (tmp_path / "config.yaml").write_text(CONFIG % (load, step, hook, main_loop))
        before = sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts)
        command = [sys.executable, "-m", "emloop", "profile", "config.yaml", "--batches", str(batches), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert before == sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts)
        return done

    return run


@pytest.mark.parametrize(
    ("times", "main_loop", "slowest", "setting"),
    [
        pytest.param((0.006, 0.004, 0), "", "waiting", "main_loop.buffer=8", id="nothing-is-read-ahead"),
        pytest.param((0.012, 0.003, 0), "buffer: 4", "waiting", SEQUENCE, id="loading-is-slower"),
        pytest.param(
            (0.012, 0.003, 0),
            "train_stream_name: indexed, buffer: 4",
            "waiting",
            "main_loop.workers=",
            id="loading-is-slower-and-can-be-shared",
        ),
        pytest.param((0, 0.002, 0.008), "", "Slow", "hooks.Slow: give it a longer interval", id="a-hook"),
    ],
)
def test_the_slowest_part_is_the_one_to_change(profiled, times, main_loop, slowest, setting):
    """Whatever it is; and no evaluation is begun."""
    done = profiled(*times, main_loop, "--json")

    found = json.loads(done.stdout)
    parts = {"waiting": found["waiting"], "model": found["model"], **found["hooks"]}
    assert {"Slow", "ComputeStats"} == set(found["hooks"])
    assert found["batches"] == 26
    assert slowest == max(parts, key=parts.get)
    assert found["change"]["setting"].startswith(setting)
    assert all(parts[name] >= least for name, least in zip(("model", "Slow"), times[1:], strict=True))
    assert found["loading"] >= times[0]


def test_it_is_told_in_lines(profiled):
    """Where nothing could be better, too; a stream that is shorter than asked for is read again."""
    done = profiled(0, 0.002, 0, "", "~main_loop.extra_streams", "~hooks.SaveEvery", batches=50)

    said = done.stdout.splitlines()
    assert said[0].startswith("44 training batches, ")
    assert [line.split("  ")[0] for line in said[2:7]] == [
        "waiting for data",
        "model",
        "hook Slow",
        "hook ComputeStats",
        "loop",
    ]
    assert said[-1] == "Nothing stands out."
    assert done.returncode == 0


def test_too_few_batches_are_refused(profiled):
    """With the number that there was."""
    done = profiled(0, 0, 0, "", batches=1)

    assert done.returncode == 2
    assert "the training ended after 1 batches, which are too few to tell anything" in done.stderr


def test_workers_are_not_advised_where_they_cannot_share(profiled):
    """A generator is loaded by one process; the advice gives the reason."""
    found = json.loads(profiled(0.006, 0.004, 0, "", "--json").stdout)

    assert found["undivided"] == "it is no sequence, which could be read at any batch"
    assert found["change"]["why"] == "batches are loaded while the model computes, in a thread"
    assert found["change"]["setting"] == "main_loop.buffer=8"


PROFILE = Profile(100, 10.0, 0.2, 0.2, 9.0, {}, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changed", "arguments", "expected"),
    [
        pytest.param({}, {}, None, id="the-model-alone"),
        pytest.param({"commit": 50.0, "commits": 0.1}, {}, "main_loop.commit.every=auto", id="commits"),
        pytest.param({"waiting": 4.0, "loading": 4.0}, {}, "main_loop.buffer=8", id="loading"),
        pytest.param(
            {"waiting": 4.0, "loading": 8.0}, {"buffer": 4, "workers": 2}, "main_loop.workers=3", id="workers"
        ),
        *(
            pytest.param(
                {"waiting": 4.0, "loading": 8.0, "undivided": "it is a generator"},
                {"buffer": 4, "workers": workers, "train_stream_name": "fit"},
                "dataset: return an IndexStream, or another sequence of batches, from fit_stream",
                id=f"{workers}-workers-that-cannot-share",
            )
            for workers in (0, 2)
        ),
    ],
)
def test_the_change_that_saves_most_is_named(changed, arguments, expected):
    """If it saves more than a twentieth."""
    rehearsed = Rehearsal({}, arguments, None, object(), [], "")

    change = first_change(replace(PROFILE, **changed), rehearsed)

    assert expected == (None if change is None else change.setting)
