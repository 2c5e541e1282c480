"""A small project on disk, and the command line run on it in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emloop._state.commit import Commit, newest_commit, open_commit
from emloop._state.tree import dump_tree
from emloop.saved_models import find_saved

MODULE = '''
import os
import time
from pathlib import Path

import numpy as np

import emloop as el


class Data(el.BaseDataset):
    """Points whose label says on which side of a plane they are."""

    def _configure_dataset(self, batches=6, size=32, wait_for=None, **kwargs):
        self._batches, self._size = batches, size

    def _read(self, stream):
        rng = self.rng(stream)
        for _ in range(self._batches):
            x = rng.normal(size=(self._size, 3))
            yield {"x": x, "y": (x.sum(axis=1) > 0).astype(float)}

    def train_stream(self):
        return self._read("train")

    def valid_stream(self):
        return self._read("valid")


class Noisy(el.AbstractModel):
    """Logistic regression whose steps also depend on the global random state."""

    input_names = ("x", "y")
    output_names = ("loss", "accuracy")

    def __init__(self, dataset, log_dir, restore_from=None, *, rate=0.5, pause=0.0, fail_at=None, stop_at=None):
        self._w = np.zeros(3)
        self._rate, self._pause, self._log_dir = rate, pause, log_dir
        self._fail_at, self._stop_at, self._steps = fail_at, stop_at, 0
        if restore_from is not None:
            path = Path(restore_from)
            self._w = np.load(path / "model_best.npy" if path.is_dir() else path)

    def run(self, batch, train, stream=None):
        p = 1 / (1 + np.exp(-batch["x"] @ self._w))
        if train:
            self._steps += 1
            if self._steps == self._fail_at:
                raise ZeroDivisionError("the model is broken")
            if self._steps == self._stop_at:
                Path(self._log_dir, "reached").touch()
                time.sleep(60)
            time.sleep(self._pause)
            noise = 0.01 * np.random.normal(size=3)
            self._w = self._w - self._rate * (batch["x"].T @ (p - batch["y"]) / len(p) + noise)
        loss = -np.log(np.where(batch["y"] > 0, p, 1 - p) + 1e-12)
        return {"loss": loss, "accuracy": ((p > 0.5) == batch["y"]).astype(float)}

    def save(self, name_suffix):
        path = Path(self._log_dir, f"model_{name_suffix}.npy")
        np.save(path, self._w)
        return str(path)


class Stateful(Noisy):
    """The same, with all that its training depends on as a state tree."""

    def state_dict(self):
        return {"w": self._w.copy(), "steps": self._steps}

    def load_state_dict(self, state):
        self._w, self._steps = state["w"], state["steps"]
'''

SAVING = '''

from emloop.saved_models import find_saved, saved_model_path, write_saved_model


class Saving(Stateful):
    """The same, saved as our backends save."""

    def __init__(self, dataset, log_dir, restore_from=None, **kwargs):
        super().__init__(dataset, log_dir, **kwargs)
        if restore_from is not None:
            self.load_state_dict(find_saved(restore_from).tree())

    def save(self, name_suffix):
        return write_saved_model(
            saved_model_path(self._log_dir, name_suffix), backend="toy", restore_fallback=None,
            inputs={}, outputs={}, tree=self.state_dict(), rung="weights",
        )
'''

CONFIG = """\
dataset:
  class: toy.Data
model:
  name: toy
  class: toy.Stateful
hooks:
  - ComputeStats: {variables: [loss, accuracy]}
  - WriteCSV
  - SaveBest
main_loop:
  seed: 7
  extra_streams: [valid]
  epochs_count: 3
  commit: {every: 1ep}
"""


@dataclass
class Project:
    """A directory with a module and a config, and a way to run commands in it.

    Args:
        path: Where the project lies.
        processes: Starts processes.
    """

    path: Path
    processes: Any

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``emloop`` and leave it running."""
        return self.processes.Popen(
            [sys.executable, "-m", "emloop", *arguments],
            cwd=self.path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            **options,
        )

    def emloop(self, *arguments: str, expect: int = 0) -> str:
        """Run ``emloop`` to its end and return what it said on both outputs."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert expect == process.returncode, f"exit code {process.returncode}:\n{out}{err}"
        return out + err

    def run(self, name: str) -> Path:
        """The directory of a run."""
        return self.path / "log" / name

    def result(self, name: str) -> dict[str, Any]:
        """Everything of a run that must not depend on how often it was interrupted."""
        run = self.run(name)
        return {
            "weights": (run / "model_best.npy").read_bytes(),
            "csv": (run / "training.csv").read_text(),
            "metrics": (run / "metrics.jsonl").read_text(),
            # What a progress display remembers of times is no state of the training.
            "state": {
                name: dump_tree(tree)
                for name, tree in _newest_commit(run).states().items()
                if "ShowProgress" not in name
            },
        }

    def attempts(self, name: str) -> list[dict[str, Any]]:
        """The lines of a run's ``attempts.jsonl``."""
        return [json.loads(line) for line in (self.run(name) / "attempts.jsonl").read_text().splitlines()]

    def commits(self, name: str) -> list[int]:
        """Numbers of a run's commits."""
        return sorted(int(path.name) for path in (self.run(name) / "checkpoints").glob("0*"))


def _newest_commit(run: Path) -> Commit:
    return open_commit(max((run / "checkpoints").glob("0*")))


@pytest.fixture
def project(tmp_path: Path, processes: Any) -> Project:
    """A fresh project."""
    (tmp_path / "toy.py").write_text(MODULE)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return Project(tmp_path, processes)


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    """Wait until a process has made a file."""
    while not path.exists():
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.communicate()}")
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal and return exit code and errors."""
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def saved_result(run: Path) -> dict[str, Any]:
    """Everything of a run of ``toy.Saving`` that must not depend on what happened to it; no commit may be damaged."""
    commit, rejected = newest_commit(run / "checkpoints", set_aside=False)
    assert rejected == []
    assert commit is not None
    return {
        "best": dump_tree(find_saved(run / "model_best").tree()),
        "csv": (run / "training.csv").read_bytes(),
        "metrics": (run / "metrics.jsonl").read_bytes(),
        "commit": {name: dump_tree(tree) for name, tree in commit.states().items()},
    }
