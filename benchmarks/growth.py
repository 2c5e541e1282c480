"""How do cost and memory of the main loop grow with batches, variables, hooks and streams?

CPU time of a training epoch, over a number of something, all else equal; each the median of interleaved repetitions.
Where costs are linear, the time for one more of them stays the same: the table shows it from each number to the next.
Then the memory that a million batches leave behind, at their peak, over what a thousand do.
"""

from __future__ import annotations

import argparse
import json
import platform
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from loop import OUTPUTS, Listens, Measure, Repeats, loop, two_means

from emloop.hooks import ComputeStats, LogProfile

NUMBERS = {
    "batches": (1_000, 10_000, 100_000, 1_000_000),
    "variables": (1, 3, 10, 30, 100),
    "hooks": (0, 3, 10, 30),
    "streams": (1, 3, 10),
}


def epoch_with(what: str, number: int, count: int) -> tuple[Measure, int]:
    """An epoch with so many of something, and of how many batches in each stream."""
    if what == "batches":
        return loop(two_means, kind=Repeats), max(1, number * count // 1000)
    if what == "variables":
        outputs = {f"v{index}": OUTPUTS["loss"] for index in range(number)}
        return loop(lambda: ComputeStats(list(outputs)), outputs=outputs, kind=Repeats), count
    if what == "hooks":
        return loop(*[Listens] * number, kind=Repeats), count
    return loop(two_means, streams=number, kind=Repeats), count


def growth(count: int, repetitions: int) -> dict[str, dict[int, float]]:
    """Seconds of CPU time, by what there are more of."""
    taken: dict[str, dict[int, list[float]]] = {what: {n: [] for n in numbers} for what, numbers in NUMBERS.items()}
    for repetition in range(repetitions):
        for what, numbers in taken.items():
            for number, times in numbers.items():
                measure, batches = epoch_with(what, number, count)
                if batches <= 100 * count or not repetition:  # what takes a minute is measured once
                    times.append(measure(batches))
    return {what: {n: median(times) for n, times in numbers.items()} for what, numbers in taken.items()}


def memory(count: int, *hooks: Callable[[], Any]) -> int:
    """Bytes that a long epoch has allocated at its peak, more than a short one."""

    def peak(batches: int) -> int:
        measure = loop(*hooks, kind=Repeats)
        tracemalloc.start()
        measure(batches)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)
    return peak(count) - peak(1000)


def table(grown: dict[str, dict[int, float]]) -> str:
    """Milliseconds of an epoch, and microseconds for each one more than the number before, in Markdown."""
    lines = ["| | number | ms | µs for one more |", "| --- | --- | --- | --- |"]
    for what, times in grown.items():
        first, *_ = times
        lines.append(f"| {what} | {first:,} | {times[first] * 1e3:.1f} | |")
        for before, number in pairwise(times):
            more = (times[number] - times[before]) / (number - before) * 1e6
            lines.append(f"| {what} | {number:,} | {times[number] * 1e3:.1f} | {more:.1f} |")
    return "\n".join(lines)


def plot(grown: dict[str, dict[int, float]], file: Path) -> None:
    """Draw all of it beside straight lines from the first to the last."""
    import matplotlib as mpl  # noqa: PLC0415 - only a plot needs it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "emloop"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, len(grown), figsize=(3 * len(grown), 2.8), layout="constrained")
    for ax, (what, times) in zip(axes, grown.items(), strict=True):
        numbers, milliseconds = list(times), [seconds * 1e3 for seconds in times.values()]
        ax.plot([numbers[0], numbers[-1]], [milliseconds[0], milliseconds[-1]], color="0.8", label="linear")
        ax.plot(numbers, milliseconds, "o-", markersize=4)
        if what == "batches":
            ax.set(xscale="log", yscale="log")
        ax.set_xlabel(what)
    axes[0].set_ylabel("ms an epoch, CPU")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Measure, print tables, and write JSON and a plot where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=1000, help="batches an epoch")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--plot", type=Path, help="where to draw them, as SVG")
    args = parser.parse_args()

    grown = growth(args.batches, args.repetitions)
    print(table(grown), end="\n\n")
    long = args.batches * 1000
    left = {name: memory(long, *hooks) for name, hooks in (("no hook", ()), ("LogProfile", (LogProfile,)))}
    for name, size in left.items():
        print(f"memory of {long:,} batches over that of 1,000, {name}: {size:,} bytes")
    if args.plot is not None:
        plot(grown, args.plot)
    if args.json is not None:
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        found = {"versions": versions, "growth": grown, "memory": left}
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
