"""A small project, and command lines that several processes run together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from ..processes import EMLOOP

CONFIG = """
dataset: {class: toy.Numbers}
model: {class: toy.Linear, name: toy}
hooks:
  - ComputeStats: {variables: [loss, {predictions: [mean, std, max]}]}
  - SaveBest: {variable: loss, condition: min}
  - WriteCSV: {variables: [loss]}
  - toy.Ids
  - StopAfter: {epochs: 3}
main_loop: {extra_streams: [valid], seed: 5, on_unused_sources: ignore}
"""
PATIENCE = 60
"""Seconds after which a test gives up."""


class Project:
    """A directory with a config, in which trainings run."""

    def __init__(self, directory, processes):
        self.directory = directory
        self._processes = processes
        self.write(CONFIG)
        shutil.copy(Path(__file__).with_name("toy.py"), directory)

    def write(self, text):
        (self.directory / "config.yaml").write_text(text)

    def start(self, count, *words, **environment):
        """Processes that run a command together, in the order of their ranks; of several, each may have own words."""
        place = self.directory / f"socket-{len(list(self.directory.glob('socket-*')))}-{os.getpid()}"
        started = []
        for rank in range(count):
            own = [word[rank] if isinstance(word, tuple) else word for word in words]
            scene = {} if count == 1 else {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": str(place)}
            scene |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count), "MASTER_PORT": "1"} if scene else {}
            env = {**os.environ, **scene, "OMP_NUM_THREADS": "1", **environment}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            started.append(self._processes.Popen([*EMLOOP, *own], cwd=self.directory, env=env, **pipes))
        return started

    def ended(self, started, *, expect=0):
        """What each has printed, once all have ended with a code."""
        try:
            said = [process.communicate(timeout=PATIENCE)[0] for process in started]
        finally:
            for process in started:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
        codes = [process.returncode for process in started]
        assert codes == ([expect] * len(started) if isinstance(expect, int) else expect), "\n".join(said)
        return said

    def run(self, count, *words, expect=0, **environment):
        """What each process has printed."""
        return self.ended(self.start(count, *words, **environment), expect=expect)

    def train(self, name, count, *words, expect=0):
        """A training, which is named."""
        self.run(count, "train", "config.yaml", "--output_dir", name, *words, expect=expect)
        return self.result(name)

    def result(self, name):
        """What a training has left."""
        directory = self.directory / "log" / name
        rows = [line.split(",") for line in (directory / "training.csv").read_text().splitlines()[1:]]
        return SimpleNamespace(
            directory=directory,
            csv=(directory / "training.csv").read_text(),
            losses=[float(value) for row in rows for value in row[1:]],
            ids=yaml.safe_load((directory / "ids.yaml").read_text()),
            parameters=(directory / "model_best" / "parameters.npy").read_bytes(),
        )


@pytest.fixture
def project(tmp_path, processes):
    """The project."""
    return Project(tmp_path, processes)
