"""Run all benchmarks, or some, each in a process of its own: ``python -m benchmarks [NAME …]``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figures import Figure, page, surroundings

HERE = Path(__file__).parent
BENCHMARKS = {
    path.stem: f"benchmarks.{path.parent.name}.{path.stem}"
    for path in sorted(HERE.glob("*/[!_]*.py"), key=lambda path: path.stem)
}
"""Name → module."""
QUIET = "import logging; logging.disable(logging.WARNING)"


def measured(name: str, quick: bool) -> dict[str, Any]:
    """What a benchmark answers, in a process with one thread for arrays."""
    code = f"{QUIET}; from benchmarks.figures import answer; answer({BENCHMARKS[name]!r}, {quick})"
    paths = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        failed = {"name": name, "why": f"it failed with exit code {done.returncode}"}
        return {"question": "", "figures": [], "skipped": [failed], "failed": True}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Measure one after the other, print the figures of each, and write them where asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what emloop costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes: only whether benchmarks run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="where to write a page with all tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the figures of growth, as SVG")
    parser.add_argument("--check", action="store_true", help="fail where a figure is beyond what is asked for")
    options = parser.parse_args(words)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    report: dict[str, Any] = {**surroundings(), "quick": options.quick, "benchmarks": {}}
    for name in options.names or BENCHMARKS:
        report["benchmarks"][name] = found = measured(name, options.quick)
        print(page({**report, "benchmarks": {name: found}}).partition("\n\n")[2], flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.markdown is not None:
        options.markdown.write_text(page(report), encoding="utf-8")
    if options.plot is not None:
        from .core.growth import plot  # noqa: PLC0415 - other figures need no hooks

        plot(report["benchmarks"]["growth"]["figures"], options.plot)
    found = report["benchmarks"].values()
    missed = options.check and any(Figure(**data).missed for one in found for data in one["figures"])
    return int(missed or any(one.get("failed", False) for one in found))


if __name__ == "__main__":
    sys.exit(main())
