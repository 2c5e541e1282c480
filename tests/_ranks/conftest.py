"""Trainings of several processes, of a model that needs no framework."""

from __future__ import annotations

from pathlib import Path

import pytest

from emloop.testing import RanksCase
from emloop.testing.ranks import World

TOY = RanksCase(
    "linear",
    model={"class": "toy.Linear"},
    noisy=["model.noise=0.5"],
    modules={"toy": Path(__file__).with_name("toy.py").read_text()},
    tolerance=1e-9,
)


@pytest.fixture(scope="session")
def toy():
    """The case."""
    return TOY


@pytest.fixture
def world(toy, tmp_path, processes):
    """Where it is trained."""
    return World(toy, tmp_path, processes.Popen, 60.0)
