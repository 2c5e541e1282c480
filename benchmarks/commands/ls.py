"""How much CPU does ``emloop ls`` take with many runs?

Trains one small run, makes 1,000 and 10,000 copies with ids of their own and 1,000 learning rates, and measures whole
processes: the interpreter alone, ``emloop --help``, and several forms of ``emloop ls``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from emloop._run_dir.config import write_config
from emloop.constants import EL_CONFIG_COPY_FILE

from ..figures import Figure, cpu_of, figure

SECONDS = {
    1_000: {"ls": 0.3, "ls -l": 0.5, "ls --json": 0.5},
    10_000: {"ls": 2.0, "ls on a terminal": 2.0, "ls -l": 4.0, "ls --json": 4.0},
}
"""Number of runs → what is asked of commands."""

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
    directory.mkdir()
    (directory / "bench_toy.py").write_text(MODULE)
    (directory / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "emloop", "train", "config.yaml", "--output_dir", "run"]
    subprocess.run(command, cwd=directory, check=True, stderr=subprocess.DEVNULL)
    trained = directory / "log" / "run"
    files = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    info = json.loads(files["run.json"])
    root = directory / f"runs_{number}"
    configs = []
    for rate in range(min(number, 1000)):
        config = files["config.yaml"].decode().replace("rate: 0.1", f"rate: {rate / 1000}")
        write_config(trained / "config.yaml", config)
        configs.append({name: (trained / name).read_bytes() for name in ("config.yaml", EL_CONFIG_COPY_FILE)})
    for index in range(number):
        copy = root / f"mean_run-{index:06d}"
        (copy / "checkpoints").mkdir(parents=True)
        files["run.json"] = json.dumps({**info, "run_id": uuid4().hex, "seed": index}, indent=2).encode()
        for name, content in {**files, **configs[index % len(configs)]}.items():
            (copy / name).write_bytes(content)
    return root


def measure(quick: bool) -> list[Figure]:
    """Processes in turns; the first fills the caches, and does not count."""
    sizes, turns = ((3,), 1) if quick else (tuple(SECONDS), 3)
    emloop = [sys.executable, "-m", "emloop"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        commands = {"the interpreter alone": [sys.executable, "-c", "pass"], "--help": [*emloop, "--help"]}
        asked: dict[str, float] = {}
        for runs in sizes:
            root = make_runs(directory / str(runs), runs)
            for what, words in FORMS.items():
                commands[f"{runs:,} runs: {what}"] = [*emloop, "ls", str(root), *words]
            asked |= {f"{runs:,} runs: {what}": most for what, most in SECONDS.get(runs, {}).items()}
        taken: dict[str, list[float]] = {what: [] for what in commands}
        for turn in range(turns + (not quick)):
            for what, command in commands.items():
                spent = cpu_of(command, directory, terminal="terminal" in what)
                if turn or quick:
                    taken[what].append(spent)
    return [figure(what, "s", spent, most=asked.get(what)) for what, spent in taken.items()]
