"""How much CPU does ``emloop train`` take until its first batch has been computed?

Whole processes in turns: the interpreter alone, ``import torch``, ``import rich``, ``emloop check``, and a training of
a small PyTorch model that ends after its first batch, from ``emloop train`` and from one's own loop. What nobody can
spare is the sum: importing the framework, checking the config, and importing what draws. Figures are user plus system
time, the minimum of several tries, since other load on the machine can only add to it.

    python benchmarks/start.py [--tries 9] [--check]

With ``--check``, more than 1.3 times the sum ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1.3
CODE = """
import os

import emloop as el
import torch
from emloop_torch import BaseModel


class Points(el.BaseDataset):
    def _configure_dataset(self, **_):
        pass

    def train_stream(self):
        for _ in range(4):
            yield {"points": [[0.0, 1.0]] * 8, "labels": [0] * 8}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, points, labels):
        loss = torch.nn.functional.cross_entropy(self.layer(points), labels, reduction="none")
        return {"loss": loss}


class Model(BaseModel):
    def create_model(self):
        return Net()


class Leave(el.AbstractHook):
    def after_batch(self, stream_name, batch_data):
        os._exit(0)
"""
CONFIG = """
dataset: {class: start.Points}
model:
  class: start.Model
  inputs: [points, labels]
  outputs: [loss]
hooks:
- ComputeStats: {variables: [loss]}
- LogVariables
- StopAfter: {epochs: 2}
- start.Leave
"""
OWN_LOOP = """
import torch
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters())
points, labels = torch.tensor([[0.0, 1.0]] * 8), torch.tensor([0] * 8)
torch.nn.functional.cross_entropy(layer(points), labels).backward()
optimizer.step()
"""
PASS, TORCH, RICH, CHECK, TRAIN = "python -c pass", "import torch", "import rich", "emloop check", "emloop train"


def cpu_ms(command: list[str], directory: Path) -> float:
    """User plus system time of a process in milliseconds."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main() -> int:
    """Measure, print, and compare with what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tries", type=int, default=9)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    python, emloop = [sys.executable, "-c"], [sys.executable, "-m", "emloop"]
    commands = {
        PASS: [*python, "pass"],
        TORCH: [*python, "import torch"],
        RICH: [*python, "import rich.console, rich.progress"],
        CHECK: [*emloop, "check", "config.yaml"],
        TRAIN: [*emloop, "train", "config.yaml"],
        "one's own loop": [*python, OWN_LOOP],
    }
    figures: dict[str, list[float]] = {what: [] for what in commands}
    with tempfile.TemporaryDirectory(prefix="emloop-benchmark-") as name:
        directory = Path(name)
        (directory / "start.py").write_text(CODE)
        (directory / "config.yaml").write_text(CONFIG)
        for turn in range(options.tries + 1):
            for what, command in commands.items():
                taken = cpu_ms(command, directory)
                if turn:  # the first fills the caches
                    figures[what].append(taken)
    least = {what: min(tries) for what, tries in figures.items()}
    floor = least[TORCH] + least[RICH] + least[CHECK] - 2 * least[PASS]
    for what, tries in figures.items():
        print(f"{what:20} {least[what]:7.0f} ms   median {statistics.median(tries):7.0f} ms")
    ratio = least[TRAIN] / floor
    print(f"emloop train is {ratio:.2f} x the sum of torch, rich and the check, {floor:.0f} ms (at most {LIMIT:g} x)")
    return 1 if options.check and ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
