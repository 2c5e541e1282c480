"""Directories of runs: made by hand, really trained, held by a process, killed, and left by emloop 0.2."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import emloop as el
from emloop._run_dir.config import write_config
from emloop._run_dir.info import RunInfo, to_line, write_info
from emloop._run_dir.trace import Trace, write_trace

CONFIG = "model:\n  name: Toy\n  class: nets.toy.Net\ndataset:\n  class: data.Digits\n"

MODULE = """
from pathlib import Path

import numpy as np

import emloop as el


class Numbers(el.BaseDataset):
    def _configure_dataset(self, size=4, **kwargs):
        self._size = size

    def train_stream(self):
        rng = self.rng("train")
        for _ in range(2):
            yield {"x": rng.normal(size=self._size)}


class Mean(el.AbstractModel):
    input_names = ("x",)
    output_names = ("loss",)

    def __init__(self, dataset, log_dir, restore_from=None, *, rate=0.1):
        self._mean, self._rate, self._log_dir = 0.0, rate, Path(log_dir or ".")

    def run(self, batch, train, stream=None):
        if train:
            self._mean += self._rate * (np.mean(batch["x"]) - self._mean)
        return {"loss": (batch["x"] - self._mean) ** 2}

    def save(self, name_suffix):
        directory = self._log_dir / f"model_{name_suffix}"
        directory.mkdir(exist_ok=True)
        (directory / "mean.txt").write_text(str(self._mean))
        return str(directory)

    def state_dict(self):
        return {"mean": self._mean}

    def load_state_dict(self, state):
        self._mean = state["mean"]
"""

HOLDER = """
import sys
from pathlib import Path
from emloop._run_dir.run import Run
directory = Path(sys.argv[1])
directory.mkdir(parents=True, exist_ok=True)
run = Run.create(directory, kind="training", config_text="model: {class: nets.Net}\\n", source=None, seed=1, command=[])
run.update_trace(epochs_done=int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read()
"""


class Log:
    """A directory of runs, and ways to fill it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.processes: list[subprocess.Popen[str]] = []

    def run(self, name, *, hours=1, took=None, status="done", kind="training", config=CONFIG, metrics=(), **trace):
        """Make a run that began some hours ago."""
        directory = self.root / name
        directory.mkdir(parents=True)
        begin = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
        write_info(directory, RunInfo(kind, seed=1, created=begin.replace(tzinfo=UTC)))
        end = None if took is None else begin + timedelta(hours=took)
        write_trace(directory, Trace(begin, end, status=status, timezone="+00:00", attempts=1, **trace))
        # A broken one cannot be written as a run does it.
        (write_config if config == CONFIG else Path.write_text)(directory / "config.yaml", config)
        if metrics:
            (directory / "metrics.jsonl").write_text("".join(map(to_line, metrics)))
        return directory

    def old_run(self, name, trace="epochs_done: 8\n"):
        """Make a run as emloop 0.2 left it; with ``None`` for a trace, one that broke before there was one."""
        directory = self.root / name
        directory.mkdir(parents=True)
        (directory / "config.yaml").write_text(CONFIG)
        (directory / "train.log").touch()
        if trace is not None:
            (directory / "trace.yaml").write_text(trace)
        return directory

    def train(self, name, *, epochs=2, rate=0.1, hooks=()):
        """Train really."""
        config = {
            "dataset": {"class": "cli_toy.Numbers"},
            "model": {"class": "cli_toy.Mean", "name": "mean", "rate": rate},
            "hooks": [{"ComputeStats": {"variables": ["loss"]}}, *hooks],
            "main_loop": {"epochs_count": epochs, "seed": 1},
        }
        training = el.create_emloop_training(config, self.root, None, name)
        training.main_loop.run_training()
        return Path(training.output_dir)

    def hold(self, name, *, epochs=0):
        """Let a process create a run and work on it."""
        command = [sys.executable, "-c", HOLDER, os.fspath(self.root / name), str(epochs)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        if process.stdout.readline() != "ready\n":
            raise AssertionError(process.communicate())
        return self.root / name

    def kill(self, name, *, epochs=0):
        """Make a run whose process was killed."""
        directory = self.hold(name, epochs=epochs)
        self.processes[-1].kill()
        self.processes[-1].wait()
        return directory


@pytest.fixture
def terminal():
    """Runs emloop on a terminal of its own, and returns what it shows there."""

    def run(*words, columns=80, cwd=None, module="emloop"):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        command = [sys.executable, "-m", module, *words]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux ends a terminal with an error
            while more := os.read(ours, 1 << 16):
                shown += more
        os.close(ours)
        process.wait()
        return shown.decode().replace("\r\n", "\n")

    return run


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A directory of runs that does not exist yet."""
    (tmp_path / "cli_toy.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cli_toy", raising=False)
    log = Log(tmp_path / "log")
    yield log
    for process in log.processes:
        process.kill()
        process.communicate()
