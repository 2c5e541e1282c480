"""What do commits cost a training, and how long does a resume take?

* ``stall``: how long the loop waits for a commit of a state of arrays, as share of a plain durable write of the same
  bytes in the same run; the first commit, whose memory was touched in a thread meanwhile, and those after it; and the
  peak of memory beside the state itself, as share of it. Asked: at most 0.2, and 1.1.
* ``auto``: the time of a training with ``commit.every: auto``, as multiple of the same one without commits inside.
  Asked: at most 1.015.
* ``resume``: seconds from the start of the process to the first batch, of a new run, and of resumes near the start and
  near the end of a long pass over a stream that jumps. Asked: no more than 1 s and the loading in addition.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, time
from typing import Any

import numpy as np

import emloop as el
from emloop._state.background import HostBuffer, Writer, size_of
from emloop._state.commit import write_encoded
from emloop._state.tree import encode_components
from emloop.api import create_emloop_training

from ..figures import Figure, figure

STEP = 0.002
"""Seconds that a batch takes."""


class Data(el.BaseDataset):
    """A stream that jumps to any batch."""

    def _configure_dataset(self, batches: int = 1000, **kwargs: Any) -> None:
        self._batches = batches

    def train_stream(self) -> Any:
        """Batches of one number."""
        return el.datasets.IndexStream({"x": np.zeros(self._batches * 8, np.float32)}, 8, rng=self.rng("train"))


class Model(el.AbstractModel):
    """So many megabytes of parameters, and steps that take their time."""

    input_names = ("x",)
    output_names = ("loss",)

    def __init__(self, dataset: object, log_dir: str, *, megabytes: float = 5, step: float = STEP, **_: Any) -> None:
        self._parameters = {str(number): np.ones(int(megabytes * 1e6 / 8 / 16)) for number in range(16)}
        self._step = step
        self.first: float | None = None
        self.last = 0.0

    def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
        """Change the parameters a little."""
        self.first = self.first or monotonic()
        end = monotonic() + self._step
        while monotonic() < end:
            self._parameters["0"][:1000] *= -1
        self.last = end
        return {"loss": batch["x"]}

    def state_dict(self) -> Any:
        """The parameters."""
        return dict(self._parameters)

    def load_state_dict(self, state: Any) -> None:
        """The parameters."""
        self._parameters = state

    def save(self, name_suffix: str) -> str:
        """Nothing."""
        return name_suffix


def config(*, batches: int, **main_loop: Any) -> dict[str, Any]:
    """A training of one epoch."""
    return {
        "dataset": {"class": f"{__name__}.Data", "batches": batches},
        "model": {"class": f"{__name__}.Model", "name": "m"},
        "main_loop": {"seed": 1, "epochs_count": 1, "skip_zeroth_epoch": True, **main_loop},
    }


class Memory:
    """The peak of this process's memory."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[Memory]:
        """Watch it, and compare with what it is at the beginning."""
        self._start = self.peak = self._now()
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,))
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
            self.growth = self.peak - self._start

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.002):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stall(megabytes: float, repetitions: int, directory: Path) -> list[Figure]:
    """Commit arrays, and write the same bytes plainly."""
    draw = np.random.default_rng(0)
    arrays = {str(number): draw.random(int(megabytes * 1e6 / 8 / 16)) for number in range(16)}
    stalls, writes = [], []
    buffers, writer = HostBuffer(), Writer()
    with Memory().watched() as memory:
        buffers.prepare(
            size_of(encode_components({"model": arrays}))
        )  # as a training does, half way to its first commit
        for number in range(1, repetitions + 2):
            path, started = directory / "plain", monotonic()
            with path.open("wb") as file:
                for array in arrays.values():
                    file.write(array.data)
                file.flush()
                os.fsync(file.fileno())
            writes.append(monotonic() - started)
            path.unlink()
            started = monotonic()
            encoded = buffers.copy(encode_components({"model": arrays}))
            stalls.append(monotonic() - started)
            writer.start(
                lambda encoded=encoded, number=number: write_encoded(directory / "checkpoints", number, encoded, {}),
                failed=lambda: None,
            )
            writer.wait()
    shutil.rmtree(directory / "checkpoints")
    size = sum(array.nbytes for array in arrays.values())
    of, write = f"{megabytes:g} MB", "a plain durable write"
    return [
        figure(f"stall of the first commit, {of}", "s", stalls[:1], write, writes[:1], 0.2),
        figure(f"stall of later ones, {of}", "s", stalls[1:], write, writes[1:], 0.2),
        figure(f"memory of commits, {of}", "B", [memory.growth], "the state", [size], 1.1),
    ]


def slowdown(seconds: float, repetitions: int, directory: Path) -> Figure:
    """Train with ``commit.every: auto``, in turn with a rhythm that commits only at the end."""
    times: dict[str, list[float]] = {"auto": [], "24h": []}
    for number in range(repetitions + 1):
        for every, found in times.items():
            batches = int(seconds / STEP) if number else 10  # the first time is slower
            settings = config(batches=batches, commit={"every": every})
            training = create_emloop_training(settings, str(directory), output_dir_name=f"{every}-{number}")
            model: Any = training.model
            training.main_loop.run_training()
            if number:
                found.append(model.last - model.first)
    return figure("commit.every: auto", "s", times["auto"], "no commits inside", times["24h"], 1.015)


FIRST = """
import sys
from time import time
started = float(sys.argv[1])
from benchmarks.core import commits
from emloop.api import create_emloop_training, resume_emloop_training
run = commits.Model.run
def first(model, *arguments, **keywords):
    print("first", time() - started)
    raise SystemExit
commits.Model.run = first
settings = commits.config(batches=int(sys.argv[2]))
if sys.argv[4] == "new":
    create_emloop_training(settings, sys.argv[3], output_dir_name=sys.argv[1]).main_loop.run_training()
else:
    resume_emloop_training(settings, sys.argv[4]).main_loop.run_training()
"""


STOP = """
import sys
from benchmarks.core import commits
from emloop.api import create_emloop_training
settings = commits.config(batches=int(sys.argv[1]))
settings["hooks"] = [{"StopAfter": {"iterations": int(sys.argv[2])}}]
settings["model"]["step"] = 0
create_emloop_training(settings, sys.argv[3], output_dir_name=sys.argv[4]).main_loop.run_training()
"""


def said_by(code: str, *words: object, directory: Path) -> str:
    """Run code in a process of its own, where nothing else has been imported, such as a backend."""
    here = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, env=env, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def resumes(batches: int, repetitions: int, directory: Path) -> list[Figure]:
    """The time to the first batch of a new run, and of resumes of runs stopped near the start and the end of a pass."""
    runs = {"new": "new"}
    for name, at in (("early", 3), ("late", batches - 3)):
        said_by(STOP, batches, at, directory, name, directory=directory)
        runs[name] = str(directory / name)
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            said = said_by(FIRST, time(), batches, directory, run, directory=directory)
            found[name].append(float(re.findall(r"first (\S+)", said)[0]))
    return [figure(f"first batch, {name}", "s", values) for name, values in found.items()]


def measure(quick: bool) -> list[Figure]:
    """All three."""
    sizes, repetitions, seconds, batches = ((1,), 1, 0.1, 20) if quick else ((50, 400), 5, 20, 20_000)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        return [
            *(one for size in sizes for one in stall(size, repetitions, directory)),
            slowdown(seconds, repetitions, directory),
            *resumes(batches, repetitions, directory),
        ]
