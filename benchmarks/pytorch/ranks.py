"""What does a training step cost a process of two, beside the same step with ``DistributedDataParallel`` by hand?

A perceptron, 256 examples a process, AdamW; CPU time of the whole process, one thread, both ways in turns. A step of
ours begins with what rank 0 tells of it. Then what it costs to tell the other process something, and to gather a value.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import emloop_torch
from emloop.ranks import Ranks, Scene, Share, use_ranks

from ..figures import Figure, Measure, compare, repeated

SIZE = 2
_RNG = np.random.default_rng(0)
BATCH: Mapping[str, Any] = {
    "points": _RNG.normal(size=(SIZE * 256, 128)).astype(np.float32),
    "labels": _RNG.integers(0, 10, SIZE * 256),
}
MESSAGE = b"x" * 100


class Classifier(nn.Module):
    """200k parameters, and the loss of every example."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss."""
        return {"loss": functional.cross_entropy(self.layers(points), labels, reduction="none")}


class Model(emloop_torch.BaseModel):
    """The same, for emloop."""

    def create_model(self) -> nn.Module:
        """The module."""
        return Classifier()


def by_hand(ranks: Ranks) -> Measure:
    """A step as one would write it."""
    module = DistributedDataParallel(Classifier())
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    rows = Share(ranks.rank, ranks.size).rows(len(BATCH["labels"]))

    def step() -> None:
        outputs = module(**{name: torch.from_numpy(values[rows]) for name, values in BATCH.items()})
        outputs["loss"].mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        outputs["loss"].detach().numpy()

    return repeated(step)


def ours(ranks: Ranks) -> Measure:
    """A step of a model, which begins with what rank 0 tells."""
    config = {"inputs": ["points", "labels"], "outputs": ["loss"], "device": "cpu"}
    with use_ranks(ranks):
        model = Model(None, None, **config, optimizer={"class": "AdamW", "learning_rate": 1e-4})
    share = Share(ranks.rank, ranks.size)

    def step() -> None:
        tell(ranks)
        model.run(share.of(BATCH), train=True)

    return repeated(step)


def tell(ranks: Ranks) -> None:
    """Tell something, or hear it."""
    if ranks.rank == 0:
        ranks.tell(MESSAGE)
    else:
        ranks.hear()


def member(rank: int, port: int, count: int, turns: int) -> None:
    """One of the processes: print its figures as JSON."""
    torch.set_num_threads(1)
    ranks = emloop_torch.BaseModel.join_ranks(Scene(rank, SIZE, rank, SIZE, "127.0.0.1", port, "srun"), 60.0)
    steps: dict[str, Measure] = {"by hand": by_hand(ranks), f"a step, rank {rank}": ours(ranks)}
    talks: dict[str, Measure] = {
        "an all-reduce of one number": repeated(lambda: torch.distributed.all_reduce(torch.zeros(1))),
        f"telling, rank {rank}": repeated(lambda: tell(ranks)),
        f"gathering, rank {rank}": repeated(lambda: ranks.gather(MESSAGE)),
    }
    for measure in (*steps.values(), *talks.values()):
        measure(count // 5 + 1)
    most = {f"a step, rank {rank}": 1.05}
    found = compare([steps], count, turns, "ms", most) + compare([talks], 10 * count, turns, "µs")
    print(json.dumps([vars(one) for one in found]))
    ranks.close()


def measure(quick: bool) -> list[Figure]:
    """The figures."""
    count, turns = (2, 2) if quick else (10, 40)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    processes = []
    for rank in range(SIZE):
        code = f"from {__name__} import member; member({rank}, {port}, {count}, {turns})"
        command = [sys.executable, "-c", code]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    told = [process.communicate()[0] for process in processes]
    return [Figure(**one) for lines in told for one in json.loads(lines.splitlines()[-1])]
