"""How do cost and memory of the main loop grow with batches, variables, hooks and streams?

CPU time of a training epoch, over a number of something, all else equal, in turns. Where costs are linear, the time for
one more of them stays the same; ``--plot`` draws all beside straight lines. Then the memory that a million batches
leave behind, at their peak, over what a thousand do.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from emloop.hooks import ComputeStats, LogProfile

from ..figures import Figure, Measure, figure
from .loop import OUTPUTS, Listens, Repeats, loop, two_means

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


def growth(count: int, turns: int) -> list[Figure]:
    """CPU time of an epoch, by what there are more of."""
    taken: dict[tuple[str, int], list[float]] = {(what, n): [] for what, numbers in NUMBERS.items() for n in numbers}
    for turn in range(turns):
        for (what, number), times in taken.items():
            measure, batches = epoch_with(what, number, count)
            if batches <= 100 * count or not turn:  # what takes a minute is measured once
                times.append(measure(batches) * 1e3)
    return [
        *(figure(f"{number} {what}", "ms", times) for (what, number), times in taken.items()),
        *(
            figure(f"one more of {what}, {before} to {number}", "µs", [1e3 * (after - first) / (number - before)])
            for what, numbers in NUMBERS.items()
            for before, number in pairwise(numbers)
            for first, after in [(median(taken[what, before]), median(taken[what, number]))]
        ),
    ]


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


def plot(figures: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw all of it beside straight lines from the first to the last."""
    medians = {one["name"]: one["quartiles"][1] for one in figures}
    import matplotlib as mpl  # noqa: PLC0415 - only a plot needs it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "emloop"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, len(NUMBERS), figsize=(3 * len(NUMBERS), 2.8), layout="constrained")
    for ax, (what, numbers) in zip(axes, NUMBERS.items(), strict=True):
        milliseconds = [medians[f"{number} {what}"] for number in numbers]
        ax.plot([numbers[0], numbers[-1]], [milliseconds[0], milliseconds[-1]], color="0.8", label="linear")
        ax.plot(numbers, milliseconds, "o-", markersize=4)
        if what == "batches":
            ax.set(xscale="log", yscale="log")
        ax.set_xlabel(what)
    axes[0].set_ylabel("ms an epoch, CPU")
    figure.savefig(file, metadata={"Date": None})


def measure(quick: bool) -> list[Figure]:
    """Times and memory."""
    count, turns = (20, 1) if quick else (1000, 5)
    long = count * 1000
    left = {"no hook": memory(long), "LogProfile": memory(long, LogProfile)}
    return [
        *growth(count, turns),
        # Less than a byte a batch.
        *(figure(f"memory of {long} batches, {n}", "B", [size], most=long) for n, size in left.items()),
    ]
