"""How much CPU does ``emloop ls`` take with many runs?

Trains one small run, makes 1,000 copies with different ids and learning rates, and measures whole processes: the
interpreter alone, ``emloop --help``, and several forms of ``emloop ls``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from emloop._run_dir.config import write_config

from ..figures import Figure, cpu_of, figure

SECONDS = {"ls": 0.3, "ls -l": 0.5, "ls --json": 0.5}
"""What is asked of 1,000 runs."""

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


def measure(quick: bool) -> list[Figure]:
    """Processes in turns; the first fills the caches, and does not count."""
    runs, turns = (3, 1) if quick else (1000, 5)
    emloop = [sys.executable, "-m", "emloop"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        root = make_runs(directory, runs)
        forms = {what: [*emloop, "ls", str(root), *words] for what, words in FORMS.items()}
        commands = {"the interpreter alone": [sys.executable, "-c", "pass"], "--help": [*emloop, "--help"], **forms}
        taken: dict[str, list[float]] = {what: [] for what in commands}
        for turn in range(turns + (not quick)):
            for what, command in commands.items():
                spent = cpu_of(command, directory, terminal="terminal" in what)
                if turn or quick:
                    taken[what].append(spent)
    return [figure(what, "s", spent, most=SECONDS.get(what)) for what, spent in taken.items()]
