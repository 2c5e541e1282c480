"""What does a training step cost in the loops of others, as a multiple of the raw loop?

A small perceptron of PyTorch, batches of 32, SGD; CPU time, one thread. Every peer runs in an environment of its own in
the folder that the variable ``PEERS`` names (see README.md beside this file), and measures the raw loop beside itself;
blocks of steps of all of them are taken in turn. What is not installed is left out, and named.

What a step returns costs something as well. So those that leave it to their user are measured with several contracts:
``nothing``, as the raw loop; ``mean``, the mean loss (of ``BaseModel`` for every example, an array); ``per example``,
the losses as an array; ``weighted``, where labels may be ignored, these and what they count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..figures import UNITS, Figure, Found, Skipped, figure

STEPS = 200
"""In a block."""
ENVIRONMENTS = {
    "emloop": None,
    "Ignite": "ignite",
    "skorch": "skorch",
    "Accelerate": "accelerate",
    "HF Trainer": "transformers",
    "Fabric": "lightning",
    "Lightning": "lightning",
    "Keras": "keras",
}
"""Peer → folder of its environment; ``None``: this one."""
FORMS = {
    "nothing": ("emloop, Supervised", "Fabric"),
    "mean": ("emloop, hand-written", "emloop, BaseModel", "Ignite", "Fabric"),
    "per example": ("emloop, hand-written", "emloop, BaseModel", "Ignite", "Fabric"),
    "weighted": ("emloop, Supervised", "Ignite", "Fabric"),
}
"""What a step returns → those that are measured with it."""
NAMES = [f"{name}, {contract}" for contract, names in FORMS.items() for name in names]
NAMES += [name for name in ENVIRONMENTS if not any(one.startswith(name) for one in NAMES)]


class Peer:
    """A process that measures one of them whenever it is asked to.

    Args:
        name: Its name.
        python: Its interpreter.
    """

    def __init__(self, name: str, python: str) -> None:
        self._name, self._own, self._alone = name, list[float](), list[float]()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [python, str(Path(__file__).with_name("_peer.py")), name, str(STEPS)]
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=quiet, text=True)
        self.versions: dict[str, str] | None = self._answer()

    def measure(self) -> None:
        """Take a block."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        alone, own = self._answer()
        self._alone.append(alone / STEPS * UNITS["µs"])
        self._own.append(own / STEPS * UNITS["µs"])

    def end(self) -> Figure:
        """Let the process end; what it has taken for a step."""
        self._process.communicate()
        of = f"{self._name} {(self.versions or {})['version']}"
        return figure(of, "µs", self._own, "the raw loop", self._alone)

    def _answer(self) -> Any:
        """The next answer; ``None`` where the process has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None


def measure(quick: bool) -> Found:
    """Those that are installed."""
    environments = os.environ.get("PEERS")
    if environments is None:
        return [Skipped("all", "the variable PEERS names no folder of environments; see benchmarks/peers/README.md")]
    peers: dict[str, Peer] = {}
    skipped: list[Skipped] = []
    for name in NAMES:
        folder = ENVIRONMENTS[name.partition(", ")[0]]
        python = Path(sys.executable) if folder is None else Path(environments, folder, "bin", "python")
        peer = Peer(name, str(python)) if python.exists() else None
        if peer is None or peer.versions is None:
            skipped.append(Skipped(name, f"it is not installed in {python.parents[1]}"))
        else:
            peers[name] = peer
    for _ in range(2 if quick else 30):
        for peer in peers.values():
            peer.measure()
    return [*map(Peer.end, peers.values()), *skipped]
