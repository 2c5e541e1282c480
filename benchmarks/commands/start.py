"""How much CPU does ``emloop train`` take until its first batch has been computed?

Whole processes in turns: the interpreter alone, ``import torch``, ``import rich``, ``emloop check``, and a training of
a small PyTorch model that ends after its first batch, from ``emloop train`` and from one's own loop. What nobody can
spare is the sum: importing the framework, checking the config, and importing what draws.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ..figures import Found, Skipped, cpu_of, figure

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
OWN = "one's own loop"
PASS, TORCH, RICH, CHECK, TRAIN = "python -c pass", "import torch", "import rich", "emloop check", "emloop train"


def measure(quick: bool) -> Found:
    """The first turn fills the caches, and does not count; the quick form leaves one's own loop out."""
    if find_spec("torch") is None:
        raise ModuleNotFoundError(name="torch")
    python, emloop = [sys.executable, "-c"], [sys.executable, "-m", "emloop"]
    commands = {
        PASS: [*python, "pass"],
        TORCH: [*python, "import torch"],
        RICH: [*python, "import rich.console, rich.progress"],
        CHECK: [*emloop, "check", "config.yaml"],
        TRAIN: [*emloop, "train", "config.yaml"],
        **({} if quick else {OWN: [*python, OWN_LOOP]}),
    }
    taken: dict[str, list[float]] = {what: [] for what in commands}
    with tempfile.TemporaryDirectory(prefix="emloop-benchmark-") as name:
        directory = Path(name)
        (directory / "start.py").write_text(CODE)
        (directory / "config.yaml").write_text(CONFIG)
        for turn in range(1 if quick else 10):
            for what, command in commands.items():
                spent = cpu_of(command, directory) * 1e3
                if turn or quick:
                    taken[what].append(spent)
    turns = zip(*(taken[what] for what in (PASS, TORCH, RICH, CHECK)), strict=True)
    floor = [torch + rich + check - 2 * alone for alone, torch, rich, check in turns]
    train = figure(TRAIN, "ms", taken.pop(TRAIN), "the sum of torch, rich and the check", floor, LIMIT)
    figures = [figure(what, "ms", spent) for what, spent in taken.items()]
    return [*figures, train, *([Skipped(OWN, "it takes time")] if quick else [])]
