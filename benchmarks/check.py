"""How much CPU does it take to check a config, or to show the help?

Copies the digits example, lets its model import torch, and measures whole processes in turns: the floor (the
interpreter alone, with argparse, with PyYAML), ``emloop --help``, and ``emloop check`` with a filled and with an empty
cache. Figures are user plus system time, the minimum of several tries, since other load on the machine can only add to
it. The limits are multiples of ``import argparse`` in the same run, which hold on any machine. Last comes
the time to parse a config of 100 lines with the places of all keys.

    python benchmarks/check.py [--tries 15] [--check]

With ``--check``, a figure beyond its limit ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emloop._yaml.documents import parse

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits"
UNIT = "python -c 'import argparse'"
MULTIPLES = {"emloop --help": 2.3, "emloop check": 3.5}
PARSING_MS = 3.0
LONG_AGO = 1_600_000_000


def cpu_ms(command: list[str], directory: Path) -> float:
    """User plus system time of a process in milliseconds."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["XDG_CACHE_HOME"] = str(directory / "cache")
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


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
    """Measure, print, and compare with what was asked for."""
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
        empty = "emloop check, empty cache"
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            UNIT: [sys.executable, "-c", "import argparse"],
            "python -c 'import argparse, yaml'": [sys.executable, "-c", "import argparse, yaml"],
            "emloop --help": [*emloop, "--help"],
            empty: check,
            "emloop check": check,
        }
        figures: dict[str, list[float]] = {what: [] for what in commands}
        for _ in range(options.tries):
            for what, command in commands.items():
                if what == empty:
                    shutil.rmtree(directory / "cache", ignore_errors=True)
                figures[what].append(cpu_ms(command, directory))
    missed = False
    print(f"{'':35}  least           median")
    for what, tries in figures.items():
        least, median = min(tries), statistics.median(tries)
        multiple, usual = least / min(figures[UNIT]), median / statistics.median(figures[UNIT])
        limit = MULTIPLES.get(what)
        missed |= limit is not None and multiple > limit
        asked = f"   (at most {limit:g} x)" if limit is not None else ""
        print(f"{what:35} {least:6.1f} ms {multiple:4.2f} x {median:6.1f} ms {usual:4.2f} x{asked}")
    parsing = parsing_ms(options.tries)
    print(f"{'parsing 100 lines':35} {parsing:6.1f} ms   (at most {PARSING_MS:g} ms)")
    return 1 if options.check and (missed or parsing > PARSING_MS) else 0


if __name__ == "__main__":
    sys.exit(main())
