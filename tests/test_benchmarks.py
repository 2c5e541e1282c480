"""Benchmarks run; how fast is for people to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = Path(__file__).parents[1] / "benchmarks" / "loop.py"


@pytest.mark.slow
def test_the_benchmark_of_the_loop_gives_a_ratio_for_every_figure(tmp_path):
    """And writes them all, with the versions they belong to."""
    report = tmp_path / "loop.json"

    said = subprocess.run(
        [sys.executable, LOOP, "--batches", "50", "--repetitions", "2", "--json", report],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    found = json.loads(report.read_text())
    assert {"versions", "compared", "overlap", "growth", "memory"} == set(found)
    for name, figures in {**found["compared"], **found["overlap"]}.items():
        assert f"| {name} | " in said
        assert {"ours": 3, "limit": 3, "ratio": 3} == {key: len(value) for key, value in figures.items()}


@pytest.mark.slow
def test_the_benchmark_of_the_start_compares_it_with_what_nobody_can_spare():
    """Of a PyTorch model."""
    pytest.importorskip("torch")

    said = subprocess.run(
        [sys.executable, LOOP.with_name("start.py"), "--tries", "1"], capture_output=True, text=True, check=True
    ).stdout

    assert "x the sum of torch, rich and the check" in said.splitlines()[-1]


@pytest.mark.slow
def test_the_benchmark_of_commits_gives_every_figure(tmp_path):
    """Of stalls, memory, slowdown and resumes."""
    report = tmp_path / "commits.json"
    words = ["--sizes", "1", "--repetitions", "1", "--seconds", "0.1", "--batches", "20", "--json", report]

    subprocess.run(
        [sys.executable, LOOP.with_name("commits.py"), *words], cwd=tmp_path, capture_output=True, check=True
    )

    found = json.loads(report.read_text())
    assert {"first", "later", "memory"} == set(found["stall"]["1"])
    assert {"new", "early", "late"} == set(found["resume"])
    assert min(found["auto"], *found["resume"].values(), *found["stall"]["1"].values()) > 0
