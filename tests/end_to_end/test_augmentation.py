"""Random changes of examples by a user's functions: the same run whoever loads, and however often it is killed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.kills import Killing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are counted by their files in /proc")

MODULE = '''
import os
import time
from pathlib import Path

import numpy as np
import toy


def jittered(example, rng, strength: float = 0.1):
    """Draws as often as it likes, so that the next one must not depend on how much that was."""
    Path(f"loads-{os.getpid()}").touch()
    noise = rng.normal(0, strength, (rng.integers(1, 9), 3)).mean(axis=0)
    return {**example, "x": example["x"] + noise}


class Mixed:
    """Mixes the examples of a batch with one another."""

    def __init__(self, most: float):
        self._most = most
        Path(f"ready-{os.getpid()}").touch()

    def __call__(self, batch, rng):
        share = rng.uniform(0, self._most, (len(batch["y"]), 1))
        other = rng.permutation(len(batch["y"]))
        return {**batch, "x": (1 - share) * batch["x"] + share * batch["x"][other]}


class Net(toy.Stateful):
    """Begins once so many workers have made the dataset."""

    def __init__(self, *args, workers=0, **kwargs):
        super().__init__(*args, pause=0.005, **kwargs)
        self._workers = workers
        Path(f"trains-{os.getpid()}").touch()

    def run(self, batch, train, stream=None):
        while train and self._workers:
            ready = [path.name[6:] for path in Path().glob("ready-*")]
            if sum(Path("/proc", number).exists() for number in ready) > self._workers:
                self._workers = 0
            time.sleep(0.01)
        return super().run(batch, train, stream)
'''

CONFIG = """\
dataset:
  class: Arrays
  path: points.npz
  batch_size: 8
  split: {train: 0.9, valid: 0.1}
  transforms:
    train: [{class: augment.jittered, strength: 0.3}, {class: augment.Mixed, most: 0.5, per: batch}, augment.jittered]
model: {name: toy, class: augment.Net}
hooks: [{ComputeStats: {variables: [loss, accuracy]}}, WriteCSV, SaveBest]
main_loop: {seed: 7, extra_streams: [valid], epochs_count: 2, skip_zeroth_epoch: true, commit: {every: 2ba}}
"""


@pytest.fixture
def augmented(project):
    """A project whose training examples are changed at random, one by one and batch by batch."""
    (project.path / "augment.py").write_text(MODULE)
    (project.path / "config.yaml").write_text(CONFIG)
    x = np.random.default_rng(0).normal(size=(640, 3))
    np.savez(project.path / "points.npz", x=x, y=(x.sum(axis=1) > 0).astype(float))
    return project


def loaders(project):
    """Processes that have loaded a batch and do not train."""
    names = [path.name.partition("-") for path in project.path.iterdir()]
    loads, trains = ({number for what, _, number in names if what == wanted} for wanted in ("loads", "trains"))
    return loads - trains


torture = pytest.mark.torture


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "kills"),
    [
        (2, 3),
        pytest.param(0, 30, marks=torture),
        pytest.param(1, 30, marks=torture),
        pytest.param(4, 30, marks=torture),
    ],
)
def test_random_changes_are_the_same_however_often_the_run_was_killed(augmented, workers, kills):
    """SIGKILL at random instants within epochs, while the trainer loads or its workers do; the rest others."""
    words = f"main_loop.workers={workers}", "main_loop.buffer=3", f"model.workers={workers}"
    killing = Killing(augmented, "cut", words, seed=workers)
    killing.run_within_epochs(kills, seconds=1.5)
    assert bool(loaders(augmented)) == bool(workers)
    augmented.emloop("resume", "cut", killing.limit(1), "main_loop.workers=1", "model.workers=1")
    augmented.emloop("train", "config.yaml", "--output_dir", "whole", killing.limit(0))

    assert augmented.result("whole") == augmented.result("cut")
    print(killing.fell, [attempt["commit"] for attempt in augmented.attempts("cut") if attempt["event"] == "start"])
