"""`main_loop.workers` changes nothing of a run but who loads its batches, and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from time import monotonic

import pytest

from .conftest import interrupt, wait_for

MODULE = '''
import os
import time
from pathlib import Path

import numpy as np
import toy

from emloop.datasets import IndexStream


class Rows:
    """A source that can hold whoever is no trainer."""

    def __init__(self, count):
        self._x = np.random.default_rng(0).normal(size=(count, 3))

    def __len__(self):
        return len(self._x)

    def batch(self, indices):
        Path(f"loads-{os.getpid()}").touch()
        if Path("hold").exists() and not Path(f"trains-{os.getpid()}").exists():
            Path("reached").touch()
            time.sleep(60)
        x = self._x[indices]
        return {"x": x, "y": (x.sum(axis=1) > 0).astype(float)}


class Data(toy.Data):
    def _configure_dataset(self, count=200, size=10, **kwargs):
        self._count, self._size = count, size
        Path(f"made-{os.getpid()}").touch()

    def train_stream(self):
        return IndexStream(Rows(self._count), self._size, rng=self.rng("train"))

    def valid_stream(self):
        return IndexStream(Rows(45), self._size)


class Net(toy.Stateful):
    """Tells who trains, which begins once so many datasets have been made besides."""

    def __init__(self, *args, others=0, **kwargs):
        super().__init__(*args, **kwargs)
        self._others = others
        Path(f"trains-{os.getpid()}").touch()

    def run(self, batch, train, stream=None):
        while train and len(list(Path().glob("made-*"))) <= self._others:
            time.sleep(0.01)
        return super().run(batch, train, stream)
'''


@pytest.fixture
def fed(project):
    """The project, with a stream that workers can load, and a model that waits long enough for them."""
    (project.path / "fed.py").write_text(MODULE)
    (project.path / "json.py").write_text("raise RuntimeError('it takes the place of the library')")
    config = (project.path / "config.yaml").read_text()
    config = config.replace("toy.Data", "fed.Data").replace("toy.Stateful", "fed.Net")
    (project.path / "config.yaml").write_text(config)
    return project


def loaders(fed):
    """Processes that have loaded a batch and do not train."""
    names = [path.name for path in fed.path.iterdir()]
    return {name[6:] for name in names if name.startswith("loads-")} - {
        name[7:] for name in names if name.startswith("trains-")
    }


def gone(numbers):
    """Wait until processes have ended."""
    until = monotonic() + 20
    while any(Path("/proc", number).exists() for number in numbers):
        assert monotonic() < until, "a worker has been left behind"
        os.sched_yield()


SLOW = "model.pause=0.02"
"""So that workers get their turn."""


@pytest.mark.parametrize(
    ("workers", "common", "words"),
    [
        pytest.param(1, (), ("main_loop.buffer=0",), id="one"),
        pytest.param(2, (), ("main_loop.buffer=4",), id="two-and-a-thread"),
        pytest.param(2, ("main_loop.fixed_epoch_size=33",), (), id="fixed-epochs"),
    ],
)
def test_a_run_with_workers_is_the_run_without(fed, workers, common, words):
    """Metrics, saved models and commits are equal to the bit; nothing runs on afterwards."""
    fed.emloop("train", "config.yaml", "--output_dir", "alone", *common)
    assert not loaders(fed)
    asked = f"main_loop.workers={workers}", f"model.others={workers + 1}"
    fed.emloop("train", "config.yaml", "--output_dir", "fed", SLOW, *common, *words, *asked)

    assert loaders(fed)
    gone(loaders(fed))
    assert fed.result("alone") == fed.result("fed")


TWO = "main_loop.workers=2", "model.others=3"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_run_with_workers_goes_on_where_it_was_cut(fed, number):
    """Within an epoch, while a worker loads; the rest is loaded by another number of workers."""
    fed.emloop("train", "config.yaml", "--output_dir", "whole")
    (fed.path / "hold").touch()
    process = fed.start("train", "config.yaml", "--output_dir", "cut", SLOW, *TWO, "main_loop.commit.every=5")
    wait_for(process, fed.path / "reached")
    if number == signal.SIGKILL:
        process.kill()
        process.communicate()
    else:
        sent = monotonic()
        code, err = interrupt(process, number)
        assert 75 == code, err
        assert monotonic() - sent < 15, "it has waited for a worker"  # of 60 seconds
        assert "Traceback" not in err
    gone(loaders(fed))
    (fed.path / "hold").unlink()

    fed.emloop("resume", "cut", "main_loop.workers=1", "model.others=0")

    assert fed.result("whole") == fed.result("cut")


def test_a_worker_that_is_killed_ends_the_run_with_a_clear_error(fed):
    """As one of whose memory there was too little; the run can be resumed."""
    (fed.path / "hold").touch()
    process = fed.start("train", "config.yaml", "--output_dir", "cut", SLOW, "main_loop.workers=1", "model.others=1")
    wait_for(process, fed.path / "reached")
    (worker,) = loaders(fed)
    os.kill(int(worker), signal.SIGKILL)
    _, err = process.communicate(timeout=30)

    assert 1 == process.returncode
    assert re.search(
        r"worker 1 of 1 was ended by SIGKILL while it loaded batch \d+ of stream '(train|valid)'; where "
        "memory runs out, have fewer main_loop.workers",
        err,
    )
    (fed.path / "hold").unlink()
    fed.emloop("resume", "cut", "model.others=0")
    assert "status: done" in (fed.run("cut") / "trace.yaml").read_text()


def test_other_commands_do_with_workers_or_without(fed):
    """A dry run loads by itself; an evaluation has workers, too; a stranger's run has none."""
    fed.emloop("train", "config.yaml", "--dry-run", "2", "main_loop.workers=2")
    fed.emloop("train", "config.yaml", "--output_dir", "alone", "main_loop.workers=1")
    said = fed.emloop("eval", "valid", "alone", "main_loop.workers=2")

    assert "loaded by this process alone" not in said
    assert "Traceback" not in said
