"""How much CPU do the commands of a day take, each as a whole process?

Makes a project from a template, and goes through the day with it: user plus system time, beside that of importing what
the model is made of.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from ..figures import Found, Skipped, cpu_of, figure

BACKEND = "sklearn"
IMPORT = f"import {BACKEND}"
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
    "show": (*EMLOOP, "show", "@"),
    "diff": (*EMLOOP, "diff", "run", "config.yaml"),
    "eval": (*EMLOOP, "eval", "test", "run"),
    "predict": (*EMLOOP, "predict", "run", "data.npz", "-o", "predictions.npz", "--force"),
    "emloop.load": (sys.executable, "-c", LOAD),
}
"""What a day consists of, in order."""


def measure(quick: bool) -> Found:
    """Days in new projects; the quick form leaves out what loads the model again."""
    again = ("resume, 1 epoch more", "eval", "predict", "emloop.load") if quick else ()
    commands = {name: command for name, command in DAY.items() if name not in again}
    spent: dict[str, list[float]] = {name: [] for name in ("new", IMPORT, *commands)}
    for _ in range(1 if quick else 5):
        with tempfile.TemporaryDirectory() as made:
            spent["new"].append(cpu_of([*EMLOOP, "new", "day", "--backend", BACKEND], Path(made)))
            project = Path(made, "day")
            np.savez(project / "data.npz", points=np.zeros((100, 2), np.float32))
            spent[IMPORT].append(cpu_of([sys.executable, "-c", IMPORT], project))
            for name, command in commands.items():
                # Where two configs differ, 1 says so.
                spent[name].append(cpu_of(command, project, (0, 1) if name == "diff" else (0,)))
    beside = spent.pop(IMPORT)
    figures = [figure(name, "s", seconds, IMPORT, beside) for name, seconds in spent.items()]
    return [*figures, *(Skipped(name, "it takes time") for name in again)]
