"""How much CPU does ``emloop ls`` take with many runs?

Trains one small run, makes 1,000 copies (or as many as asked for) with different ids and learning rates, and measures
whole processes: the interpreter alone, ``emloop --help``, and several forms of ``emloop ls``. Figures are user plus
system time, the minimum of several tries, since other load on the machine can only add to it.

    python benchmarks/ls.py [--runs 1000] [--tries 5]

The issue asks for 1,000 runs within 0.3 s, for the long form and JSON within 0.5 s, and for 10,000 within 2 and 4 s;
with ``--check`` a plain listing that takes longer ends with exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from emloop._run_dir.config import write_config

LIMIT = 0.3  # seconds of CPU for 1,000 runs

MODULE = """
import numpy as np
import emloop as el


class Numbers(el.BaseDataset):
    def _configure_dataset(self):
        pass

    def train_stream(self):
        yield from ({"x": np.arange(4.0)} for _ in range(2))


class Mean(el.AbstractModel):
    input_names = ("x",)
    output_names = ("loss",)

    def __init__(self, dataset, log_dir, restore_from=None, *, rate=0.1, layers=(32, 64), activation="relu"):
        self._rate = rate

    def run(self, batch, train, stream=None):
        return {"loss": (batch["x"] - self._rate) ** 2}

    def save(self, name_suffix):
        return ""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""

CONFIG = """\
dataset:
  class: bench_toy.Numbers
model:
  class: bench_toy.Mean
  name: mean
  rate: 0.1
  layers: [32, 64]
  activation: relu
hooks:
  - ComputeStats: {variables: [loss]}
  - LogVariables
  - WriteCSV
main_loop:
  epochs_count: 3
"""

FORMS = {
    "ls": [],
    "ls on a terminal": [],
    "ls -l": ["-l"],
    "ls --json": ["--json"],
    "ls with a filter of the config": ["model.rate > 0.5"],
    "ls with a filter of the metrics": ["train.loss > 0.5"],
    "ls of the smallest loss": ["--columns", "name,min:train.loss"],
}


def make_runs(directory: Path, number: int) -> Path:
    """Train once and copy what a listing may read."""
    (directory / "bench_toy.py").write_text(MODULE)
    (directory / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "emloop", "train", "config.yaml", "--output_dir", "run"]
    subprocess.run(command, cwd=directory, check=True, stderr=subprocess.DEVNULL)
    trained = directory / "log" / "run"
    files = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    info = json.loads(files["run.json"])
    root = directory / "many"
    for index in range(number):
        copy = root / f"mean_run-{index:06d}"
        (copy / "checkpoints").mkdir(parents=True)
        files["run.json"] = json.dumps({**info, "run_id": uuid4().hex, "seed": index}, indent=2).encode()
        for name, content in files.items():
            (copy / name).write_bytes(content)
        config = files["config.yaml"].decode().replace("rate: 0.1", f"rate: {(index % 100) / 100}")
        write_config(copy / "config.yaml", config)
    return root


def _run_on_terminal(command: list[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs)
    os.close(theirs)
    with contextlib.suppress(OSError):  # how a terminal ends on Linux
        while os.read(ours, 1 << 16):
            pass
    os.close(ours)
    process.wait()


def cpu_of(command: list[str], tries: int, *, on_terminal: bool = False) -> float:
    """Minimum CPU seconds of a process over several tries, after one that warms the caches."""
    spent = []
    for _ in range(tries + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        if on_terminal:
            _run_on_terminal(command)
        else:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(spent[1:])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="fail when a plain listing takes too long")
    arguments = parser.parse_args()
    emloop = [sys.executable, "-m", "emloop"]
    with tempfile.TemporaryDirectory() as directory:
        root = make_runs(Path(directory), arguments.runs)
        print(f"{arguments.runs} runs, seconds of CPU of the whole process:")
        print(f"  {cpu_of([sys.executable, '-c', 'pass'], arguments.tries):.3f}  the interpreter alone")
        print(f"  {cpu_of([*emloop, '--help'], arguments.tries):.3f}  --help")
        seconds = {}
        for name, words in FORMS.items():
            command = [*emloop, "ls", os.fspath(root), *words]
            seconds[name] = cpu_of(command, arguments.tries, on_terminal="terminal" in name)
            print(f"  {seconds[name]:.3f}  {name}")
    return int(arguments.check and seconds["ls"] > LIMIT * max(arguments.runs / 1000, 1))


if __name__ == "__main__":
    sys.exit(main())
