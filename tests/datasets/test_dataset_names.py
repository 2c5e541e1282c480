"""Where datasets are imported from."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import emloop
import emloop.datasets


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("abstract_dataset", "AbstractDataset"),
        ("base_dataset", "BaseDataset"),
        ("index_stream", "IndexStream"),
        ("stream_wrapper", "StreamWrapper"),
    ],
)
def test_a_name_is_the_same_from_the_package_and_from_its_module(module, name):
    """The paths of the reference work, and lead to one class."""
    assert getattr(importlib.import_module(f"emloop.datasets.{module}"), name) is getattr(emloop.datasets, name)


def test_the_package_loads_nothing_before_it_is_used():
    """Naming the package costs no NumPy."""
    script = "import sys, emloop.datasets; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_top_level_names_are_these():
    """``emloop.BaseDataset`` and ``emloop.AbstractDataset`` are the same classes."""
    assert emloop.BaseDataset is emloop.datasets.BaseDataset
    assert emloop.AbstractDataset is emloop.datasets.AbstractDataset
