"""What does a training step cost in the loops of others, as a multiple of the raw loop?

A small perceptron of PyTorch, batches of 32, SGD; CPU time, one thread. Every peer runs in an environment of its own,
``ENVIRONMENTS/<name>`` (see README.md beside this file), and measures the raw loop beside itself; blocks of steps of
all of them are taken in turn. Ratios are medians over blocks, with quartiles. What is not installed is left out, and
named.

    python benchmarks/peers/measure.py ENVIRONMENTS [--blocks 30] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from peer import FORMS

ENVIRONMENTS = {
    **dict.fromkeys(f"emloop, {form}" for form in FORMS),
    "Ignite": "ignite",
    "skorch": "skorch",
    "Accelerate": "accelerate",
    "Fabric": "lightning",
    "Lightning": "lightning",
    "Keras": "keras",
}
"""Peer → folder of its environment; ``None``: this one."""


class Peer:
    """A process that measures one of them whenever it is asked to.

    Args:
        name: Its name.
        python: Its interpreter.
    """

    def __init__(self, name: str, python: str) -> None:
        self.ratios: list[float] = []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [python, str(Path(__file__).with_name("peer.py")), name]
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=quiet, text=True)
        self.versions: dict[str, str] | None = self._answer()

    def measure(self) -> None:
        """Take a block."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        alone, own = self._answer()
        self.ratios.append(own / alone)

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()

    def _answer(self) -> Any:
        """The next line of JSON, among what others print; ``None`` where the process has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("{", "[")):
                return json.loads(line)
        return None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("environments", type=Path)
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    peers: dict[str, Peer] = {}
    for name, folder in ENVIRONMENTS.items():
        python = sys.executable if folder is None else str(options.environments / folder / "bin" / "python")
        peer = Peer(name, python) if Path(python).exists() else None
        if peer is None or peer.versions is None:
            print(f"{name}: skipped, it is not installed in {options.environments / str(folder)}", file=sys.stderr)
        else:
            peers[name] = peer
    for _ in range(options.blocks):
        for peer in peers.values():
            peer.measure()
    found = {}
    print("| loop | version | × the raw loop | quartiles |\n| --- | --- | --- | --- |")
    for name, peer in peers.items():
        peer.end()
        low, middle, high = statistics.quantiles(peer.ratios, n=4)
        found[name] = {**(peer.versions or {}), "ratio": [low, middle, high]}
        print(f"| {name} | {found[name]['version']} | {middle:.2f} | {low:.2f}–{high:.2f} |")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
