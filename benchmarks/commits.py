"""What do commits cost a training, and how long does a resume take?

* ``stall``: how long the loop waits for a commit of a state of arrays, as share of a plain durable write of the same
  bytes in the same run; the first commit, whose buffers are new, and those after it; and the peak of memory beside the
  state itself, as share of it. Asked: at most 0.2, and 1.1.
* ``auto``: the time of a training with ``commit.every: auto``, as multiple of the same one without commits inside.
  Asked: at most 1.015.
* ``resume``: seconds from the start of the process to the first batch, of a new run, and of resumes near the start and
  near the end of a long pass over a stream that jumps. Asked: no more than 1 s and the loading in addition.

Measured on two cores that others used, too: 50 MB 0.52 at first, then 0.16, memory 1.035; 400 MB 0.34, then 0.12, and
1.002; auto 1.013; first batch after 0.82 s (new), 1.11 s (3 batches into the pass), 1.05 s (3 before its end).

    python benchmarks/commits.py [--sizes 50 400] [--repetitions 5] [--seconds 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import statistics
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
from emloop._state.background import HostBuffer, Writer
from emloop._state.commit import write_encoded
from emloop._state.tree import encode_components
from emloop.api import create_emloop_training

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
            self._parameters["0"][:1000] *= 1.0001
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
        "dataset": {"class": "commits.Data", "batches": batches},
        "model": {"class": "commits.Model", "name": "m"},
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


def stall(megabytes: float, repetitions: int, directory: Path) -> dict[str, float]:
    """Commit arrays, and write the same bytes plainly."""
    draw = np.random.default_rng(0)
    arrays = {str(number): draw.random(int(megabytes * 1e6 / 8 / 16)) for number in range(16)}
    shares, plain, first = [], 0.0, 0.0
    buffers, writer = HostBuffer(), Writer()
    with Memory().watched() as memory:
        for number in range(1, repetitions + 2):
            path, started = directory / "plain", monotonic()
            with path.open("wb") as file:
                for array in arrays.values():
                    file.write(array.data)
                file.flush()
                os.fsync(file.fileno())
            plain = monotonic() - started
            path.unlink()
            started = monotonic()
            encoded = buffers.copy(encode_components({"model": arrays}))
            stalled = monotonic() - started
            writer.start(
                lambda encoded=encoded, number=number: write_encoded(directory / "checkpoints", number, encoded, {}),
                failed=lambda: None,
            )
            writer.wait()
            if number == 1:
                first = stalled / plain
            else:
                shares.append(stalled / plain)
    size = sum(array.nbytes for array in arrays.values())
    return {"first": first, "later": statistics.median(shares), "memory": memory.growth / size}


def slowdown(seconds: float, repetitions: int, directory: Path) -> float:
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
    return statistics.median(auto / rare for auto, rare in zip(*times.values(), strict=True))


FIRST = """
import sys
from time import time
started = float(sys.argv[1])
import commits, emloop
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


def seconds_to_first_batch(run: str, batches: int, directory: Path) -> float:
    """Of a new run, or of a resume of a run, in a process of its own."""
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    words = [sys.executable, "-c", FIRST, repr(time()), str(batches), str(directory), run]
    done = subprocess.run(words, env=env, cwd=directory, capture_output=True, text=True, check=False)
    return float(re.findall(r"first (\S+)", done.stdout)[0])


def resumes(batches: int, repetitions: int, directory: Path) -> dict[str, float]:
    """Stop near the start and near the end of a pass, and go on; the median of some tries each."""
    runs = {"new": "new"}
    for name, at in (("early", 3), ("late", batches - 3)):
        settings = config(batches=batches)
        settings["hooks"] = [{"StopAfter": {"iterations": at}}]
        settings["model"]["step"] = 0
        training = create_emloop_training(settings, str(directory), output_dir_name=name)
        training.main_loop.run_training()
        runs[name] = training.output_dir
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            found[name].append(seconds_to_first_batch(run, batches, directory))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[50, 400], metavar="MB")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of the trainings whose slowdown is measured")
    parser.add_argument("--batches", type=int, default=20_000, help="of the pass in which runs are resumed")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    found: dict[str, Any] = {"stall": {}}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        for size in arguments.sizes:
            found["stall"][f"{size:g}"] = stalled = stall(size, arguments.repetitions, directory)
            shares = f"{stalled['first']:.2f} of a plain durable write at first, then {stalled['later']:.2f}"
            print(f"stall, {size:g} MB: {shares}; memory {stalled['memory']:.3f} x the state", flush=True)
            shutil.rmtree(directory / "checkpoints")
        found["auto"] = slowdown(arguments.seconds, arguments.repetitions, directory)
        print(f"every: auto: {found['auto']:.4f} x the time of a training without commits inside", flush=True)
        found["resume"] = resumed = resumes(arguments.batches, arguments.repetitions, directory)
        print("first batch: " + ", ".join(f"{seconds:.2f} s ({run})" for run, seconds in resumed.items()))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found))


if __name__ == "__main__":
    sys.modules["commits"] = sys.modules["__main__"]  # the classes of the config
    main()
