"""How much CPU does it take to check a config?

Copies the digits example, lets its model import torch, and measures whole processes: the interpreter alone, ``emloop
--help``, and ``emloop check`` with an empty and with a filled cache; and the time to parse a config of 100 lines with
the places of all keys. Figures are user plus system time, the minimum of several tries, since other load on the machine
can only add to it.

    python benchmarks/check.py [--tries 15] [--check]

The issue asks for 100 ms with an empty cache, 75 ms with a filled one, 60 ms for the help and 3 ms for parsing. With
``--check``, a figure beyond that ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from emloop._yaml.documents import parse

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits"
LIMITS = {"empty cache": 100.0, "filled cache": 75.0, "--help": 60.0, "parsing 100 lines": 3.0}
LONG_AGO = 1_600_000_000


def cpu_ms(command: list[str], directory: Path, tries: int, before: Callable[[], None] = lambda: None) -> float:
    """User plus system time of a process in milliseconds, the minimum of several tries."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["XDG_CACHE_HOME"] = str(directory / "cache")
    figures = []
    for _ in range(tries):
        before()
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{command} ended with {process.returncode}")
        figures.append(1000 * (usage.ru_utime + usage.ru_stime))
    return min(figures)


def parsing_ms(tries: int) -> float:
    """Time to read a config of 100 lines into nodes that know their places."""
    text = (EXAMPLE / "config.yaml").read_text(encoding="utf-8")
    lines = "".join(f"section{number}:\n  key: [1, 2.5, text]\n  other: {{a: b}}\n" for number in range(40))
    document = "\n".join((text + lines).splitlines()[:100])
    figures = []
    for _ in range(10 * tries):
        started = time.process_time()
        parse(document, "config.yaml")
        figures.append(1000 * (time.process_time() - started))
    return min(figures)


def main() -> int:
    """Measure, print and compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tries", type=int, default=15)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
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
        figures = {
            "python -c pass": cpu_ms([sys.executable, "-c", "pass"], directory, options.tries),
            "--help": cpu_ms([*emloop, "--help"], directory, options.tries),
            "filled cache": cpu_ms(check, directory, options.tries),
            "empty cache": cpu_ms(
                check, directory, options.tries, lambda: shutil.rmtree(directory / "cache", ignore_errors=True)
            ),
            "parsing 100 lines": parsing_ms(options.tries),
        }
    for what, figure in figures.items():
        print(f"{what:20} {figure:6.1f} ms" + (f"   (at most {LIMITS[what]:g})" if what in LIMITS else ""))
    missed = [what for what, limit in LIMITS.items() if figures[what] > limit]
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
