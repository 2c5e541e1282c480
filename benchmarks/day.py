"""How much CPU do the commands of a day take, each as a whole process?

Makes a project from a template, and goes through the day with it, as often as asked for: user plus system time, beside
that of importing what the model is made of. Medians, with quartiles.

    python benchmarks/day.py [--backend sklearn] [--days 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import emloop

EMLOOP = (sys.executable, "-m", "emloop")
LOAD = """
import numpy, emloop
predictor = emloop.load("log/run")
print(len(predictor.predict(dict(numpy.load("data.npz")))))
"""
DAY = {
    "check": (*EMLOOP, "check", "config.yaml"),
    "train, 3 epochs": (*EMLOOP, "train", "config.yaml", "--output_dir", "run", "main_loop.epochs_count=3"),
    "resume, 1 epoch more": (*EMLOOP, "resume", "run", "main_loop.epochs_count=4"),
    "ls": (*EMLOOP, "ls"),
    "diff": (*EMLOOP, "diff", "run", "config.yaml"),
    "eval": (*EMLOOP, "eval", "test", "run"),
    "predict": (*EMLOOP, "predict", "run", "data.npz", "-o", "predictions.npz", "--force"),
    "emloop.load": (sys.executable, "-c", LOAD),
}
"""What a day consists of, in order."""


def cpu_of(command: Sequence[str], directory: Path, accepted: Sequence[int] = (0,)) -> float:
    """CPU seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in accepted:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def day(backend: str, spent: dict[str, list[float]]) -> None:
    """A day in a new project."""
    with tempfile.TemporaryDirectory() as made:
        spent["new"].append(cpu_of([*EMLOOP, "new", "day", "--backend", backend], Path(made)))
        project = Path(made, "day")
        np.savez(project / "data.npz", points=np.zeros((100, 2), np.float32))
        spent[f"importing {backend}"].append(cpu_of([sys.executable, "-c", f"import {backend}"], project))
        for name, command in DAY.items():
            # Where two configs differ, 1 says so.
            spent[name].append(cpu_of(command, project, (0, 1) if name == "diff" else (0,)))


def main() -> None:
    """Print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="sklearn", choices=("sklearn", "torch"))
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    spent: dict[str, list[float]] = {name: [] for name in ("new", f"importing {options.backend}", *DAY)}
    for _ in range(options.days):
        day(options.backend, spent)
    found = {name: statistics.quantiles(seconds * 2, n=4) for name, seconds in spent.items()}
    print("| command | CPU, s | quartiles |\n| --- | --- | --- |")
    for name, (low, middle, high) in found.items():
        print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} |")
    if options.json is not None:
        versions = {"python": platform.python_version(), "emloop": emloop.__version__, "numpy": np.__version__}
        options.json.write_text(json.dumps({"versions": versions, "day": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
