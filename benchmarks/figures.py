"""Figures as data: measured in turns, beside a limit of the same run, and written as JSON or Markdown.

A benchmark is a module with a function ``measure(quick)`` that returns figures; ``quick`` asks for the smallest sizes
that still give them all. The first line of its docstring is the question that it answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import pty
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import quantiles
from time import process_time
from typing import Any

PACKAGES = ("emloop", "numpy", "torch", "scikit-learn", "onnxruntime", "tensorflow-cpu", "keras")
UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6}

Measure = Callable[[int], float]
"""Seconds that so many of something take."""


@dataclass(frozen=True)
class Figure:
    """What was measured.

    Args:
        name: Of what.
        unit: Of the measurement; empty for a mere number.
        quartiles: The measurement: lower quartile, median, upper quartile.
        limit: What the ratio is to; empty where there is none.
        ratios: Quartiles of the ratios to the limit, turn by turn.
        most: What is asked for: at most so much of the ratio, or of the measurement where there is none.
    """

    name: str
    unit: str
    quartiles: tuple[float, float, float]
    limit: str = ""
    ratios: tuple[float, float, float] | None = None
    most: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the median is more than is asked for."""
        return self.most is not None and (self.ratios or self.quartiles)[1] > self.most


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why."""

    name: str
    why: str


Found = Sequence[Figure | Skipped]


def figure(
    name: str,
    unit: str,
    taken: Sequence[float],
    limit: str = "",
    beside: Sequence[float] | None = None,
    most: float | None = None,
) -> Figure:
    """A figure from what every turn has taken, and its limit in the same turn."""
    ratios = None if beside is None else _quartiles([one / other for one, other in zip(taken, beside, strict=True)])
    return Figure(name, unit, _quartiles(taken), limit, ratios, most)


def compare(
    groups: Sequence[Mapping[str, Measure]],
    count: int,
    turns: int,
    unit: str = "µs",
    most: Mapping[str, float] | None = None,
) -> list[Figure]:
    """Measure in turns.

    Args:
        groups: Measures by name; the first of each group is the limit of the others.
        count: How many of something every measure is asked for.
        turns: How often.
        unit: Of the time for one of them.
        most: What is asked of ratios.
    """
    taken: list[dict[str, list[float]]] = [{name: [] for name in group} for group in groups]
    for _ in range(turns):
        for group, found in zip(groups, taken, strict=True):
            for name, measure in group.items():
                found[name].append(measure(count) / count * UNITS[unit])
    return [
        figure(name, unit, found[name], limit, found[limit], (most or {}).get(name))
        for found in taken
        for limit, *names in [list(found)]
        for name in names
    ]


def repeated(call: Callable[[], Any], clock: Callable[[], float] = process_time) -> Measure:
    """Seconds of so many calls, by default of CPU time."""

    def measure(count: int) -> float:
        began = clock()
        for _ in range(count):
            call()
        return clock() - began

    return measure


def cpu_of(command: Sequence[str], directory: Path, accepted: Sequence[int] = (0,), *, terminal: bool = False) -> float:
    """User plus system time of a whole process in seconds, that of its own processes included.

    Args:
        command: Its words.
        directory: Where it runs, and keeps its cache.
        accepted: Exit codes that are no failure.
        terminal: Whether it writes to a terminal, instead of nowhere.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    ours, theirs = pty.openpty() if terminal else os.pipe()
    out = theirs if terminal else subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # how a terminal ends on Linux
        while part := os.read(ours, 1 << 16):
            said += part
    os.close(ours)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said.decode()}")
    return usage.ru_utime + usage.ru_stime


def answer(module: str, quick: bool) -> None:
    """Measure in this process, and print the question and the figures as a line of JSON."""
    try:
        benchmark = import_module(module)
        found: Found = benchmark.measure(quick)
    except ModuleNotFoundError as error:
        found = [Skipped(module.rpartition(".")[2], f"{error.name} is not installed")]
        print(json.dumps(as_data("", found)))
    else:
        print(json.dumps(as_data((benchmark.__doc__ or "").partition("\n")[0], found)))


def as_data(question: str, found: Found) -> dict[str, Any]:
    """Figures of a benchmark as JSON."""
    kinds = {"figures": Figure, "skipped": Skipped}
    return {
        "question": question,
        **{key: [asdict(o) for o in found if isinstance(o, cls)] for key, cls in kinds.items()},
    }


def surroundings() -> dict[str, Any]:
    """What figures belong to: versions, and how many cores there are."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "cores": os.cpu_count()}


def page(report: Mapping[str, Any]) -> str:
    """All figures as a page of Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    lines = [f"{versions}; {report['cores']} cores."]
    if report["quick"]:
        lines += ["", "The smallest sizes: whether benchmarks run, and nothing about how fast."]
    for name, found in report["benchmarks"].items():
        lines += ["", f"## {name}", "", found["question"], ""][: None if found["question"] else 3]
        if found["figures"]:
            lines += [
                "| | median | quartiles | × the limit | quartiles | limit | at most |",
                "| --- | --- | --- | --- | --- | --- | --- |",
                *map(_row, (Figure(**data) for data in found["figures"])),
            ]
        lines += [f"\nNot measured: {one['name']}: {one['why']}." for one in found["skipped"]]
    return "\n".join(lines) + "\n"


def _row(one: Figure) -> str:
    most = "" if one.most is None else f"{one.most:g}{', missed' * one.missed}"
    unit = f" {one.unit}" if one.unit else ""
    ratio, spread = ("", "") if one.ratios is None else (f"{one.ratios[1]:.2f}", _span(one.ratios))
    cells = one.name, _number(one.quartiles[1]) + unit, _span(one.quartiles), ratio, spread, one.limit, most
    return f"| {' | '.join(cells)} |"


def _span(quartiles: tuple[float, float, float]) -> str:
    return f"{_number(quartiles[0])} to {_number(quartiles[2])}"


def _number(value: float) -> str:
    """With three digits at least."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _quartiles(taken: Sequence[float]) -> tuple[float, float, float]:
    low, median, high = quantiles(taken if len(taken) > 1 else [*taken] * 2, n=4, method="inclusive")
    return low, median, high
