"""The same numbers on every machine, however many cores it has."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread(one_torch_thread):
    """Sums are taken in one order, here and in processes without source."""
