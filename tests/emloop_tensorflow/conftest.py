"""A way to make models of a few lines."""

from __future__ import annotations

from functools import partial

import pytest


@pytest.fixture
def create(tmp_path):
    """Create a model in a run directory."""
    pytest.importorskip("tensorflow")
    from .trials import make  # noqa: PLC0415 - without TensorFlow there is nothing to import

    return partial(make, log_dir=tmp_path)
