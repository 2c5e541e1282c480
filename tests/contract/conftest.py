"""The same numbers on every machine, however many cores it has."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Sums are taken in one order, here and in processes without source."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
