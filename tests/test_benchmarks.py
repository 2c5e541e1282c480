"""Benchmarks run; how fast is for people to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name, report, *words):
    """What a benchmark says, and what it has written."""
    command = [sys.executable, BENCHMARKS / f"{name}.py", *words, "--json", report]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said, json.loads(report.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batches", "words", "tables"),
    [
        pytest.param("loop", "50", (), ["compared"], id="loop"),
        pytest.param("feeding", "4", ("--no-torch",), ["overlap", "handed over"], id="feeding"),
    ],
)
def test_a_benchmark_gives_a_ratio_for_every_figure(name, batches, words, tables, tmp_path):
    """And writes them all, with the versions they belong to."""
    said, found = run(name, tmp_path / "found.json", "--batches", batches, "--repetitions", "2", *words)

    assert {"versions", *tables} == set(found)
    for table in tables:
        for row, figures in found[table].items():
            assert f"| {row} | " in said
            assert {"ours": 3, "limit": 3, "ratio": 3} == {key: len(value) for key, value in figures.items()}


@pytest.mark.slow
def test_what_the_loop_keeps_does_not_grow_with_the_batches(tmp_path):
    """Not by a byte a batch, also where times are kept; and the benchmark of growth draws what it has found."""
    pytest.importorskip("matplotlib")
    drawn = tmp_path / "growth.svg"
    said, found = run("growth", tmp_path / "found.json", "--batches", "20", "--repetitions", "1", "--plot", drawn)

    assert {"versions", "growth", "memory"} == set(found)
    assert {"batches", "variables", "hooks", "streams"} == set(found["growth"])
    assert "| variables | 100 | " in said
    assert max(found["memory"].values()) < 20_000  # batches
    assert drawn.read_text().lstrip().startswith("<?xml")


@pytest.mark.slow
def test_the_benchmark_of_the_start_compares_it_with_what_nobody_can_spare():
    """Of a PyTorch model."""
    pytest.importorskip("torch")

    said = subprocess.run(
        [sys.executable, BENCHMARKS / "start.py", "--tries", "1"], capture_output=True, text=True, check=True
    ).stdout

    assert "x the sum of torch, rich and the check" in said.splitlines()[-1]


@pytest.mark.slow
def test_the_benchmark_of_commits_gives_every_figure(tmp_path):
    """Of stalls, memory, slowdown and resumes."""
    report = tmp_path / "commits.json"
    words = ["--sizes", "1", "--repetitions", "1", "--seconds", "0.1", "--batches", "20", "--json", report]

    subprocess.run([sys.executable, BENCHMARKS / "commits.py", *words], cwd=tmp_path, capture_output=True, check=True)

    found = json.loads(report.read_text())
    assert {"first", "later", "memory"} == set(found["stall"]["1"])
    assert {"new", "early", "late"} == set(found["resume"])
    assert min(found["auto"], *found["resume"].values(), *found["stall"]["1"].values()) > 0
