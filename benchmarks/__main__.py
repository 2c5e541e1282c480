"""Run every benchmark, or those whose names are given: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    """Run benchmarks one after the other, each in a process of its own; return how many failed."""
    scripts = {path.stem: path for path in sorted(Path(__file__).parent.glob("[!_]*.py"))}
    failed = 0
    for name in names or scripts:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, scripts[name]], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
