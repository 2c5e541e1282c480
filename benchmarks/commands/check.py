"""How much CPU does it take to check a config, or to show the help?

Copies the digits example, lets its model import torch, and measures whole processes in turns: the floor (the
interpreter alone, with argparse, with PyYAML), ``emloop --help``, and ``emloop check`` with a filled and with an empty
cache, as multiples of ``import argparse``. Last comes the time to parse a config of 100 lines with the places of all
keys.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from emloop._yaml.documents import parse

from ..figures import Figure, Measure, compare, cpu_of, figure, repeated

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
MULTIPLES = {"emloop --help": 2.3, "emloop check": 3.5}
PARSING_MS = 3.0
LONG_AGO = 1_600_000_000


def parsing() -> Callable[[], object]:
    """Read a config of 100 lines into nodes that know their places."""
    text = (EXAMPLE / "config.yaml").read_text(encoding="utf-8")
    lines = "".join(f"section{number}:\n  key: [1, 2.5, text]\n  other: {{a: b}}\n" for number in range(40))
    document = "\n".join((text + lines).splitlines()[:100])
    return lambda: parse(document, "config.yaml")


def measure(quick: bool) -> list[Figure]:
    """Processes in turns, and then the parser."""
    turns = 1 if quick else 15
    emloop = [sys.executable, "-m", "emloop"]
    with tempfile.TemporaryDirectory(prefix="emloop-benchmark-") as name:
        directory = Path(name)
        example = directory / "examples" / "digits"
        shutil.copytree(EXAMPLE, example, ignore=shutil.ignore_patterns("__pycache__"))
        model = example / "digits_model.py"
        model.write_text(model.read_text(encoding="utf-8").replace("\nfrom sklearn", "\nimport torch\nfrom sklearn", 1))
        (directory / "torch.py").write_text("raise AssertionError('the check has imported a framework')\n")
        for file in directory.rglob("*.py"):
            os.utime(file, (LONG_AGO, LONG_AGO))
        check = [*emloop, "check", "examples/digits/config.yaml"]

        def process(*command: str) -> Measure:
            return lambda _: cpu_of(command, directory)

        def unfilled(_: int) -> float:
            shutil.rmtree(directory / "cache", ignore_errors=True)
            return cpu_of(check, directory)

        python = sys.executable, "-c"
        commands = {
            "import argparse": process(*python, "import argparse"),
            "python -c pass": process(*python, "pass"),
            "import argparse, yaml": process(*python, "import argparse, yaml"),
            "emloop --help": process(*emloop, "--help"),
            "emloop check, empty cache": unfilled,
            "emloop check": process(*check),
        }
        found = compare([commands], 1, turns, "ms", MULTIPLES)
    taken = [repeated(parsing())(1) * 1e3 for _ in range(10 * turns)]
    return [*found, figure("parsing 100 lines", "ms", taken, most=PARSING_MS)]
