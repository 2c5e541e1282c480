"""A clean installation can import everything."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    "PyYAML": "yaml",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "nvidia-ml-py": "pynvml",
    "xgboost-cpu": "xgboost",
    "tensorflow-cpu": "tensorflow",
}
"""Distributions whose modules have other names."""

OURS = {path.name for path in (ROOT / "src").iterdir()}


def modules_of(requirements):
    names = (re.match(r"[\w.-]+", requirement)[0] for requirement in requirements)
    return {MODULES.get(name, name.replace("-", "_")) for name in names if name != "emloop"}


REQUIRED = modules_of(PROJECT["dependencies"])
EXTRAS = {
    "keras",  # comes with TensorFlow, which needs the version that fits
    *(name for extra in PROJECT["optional-dependencies"].values() for name in modules_of(extra)),
}


def test_every_package_that_is_imported_is_declared(modules):
    """What the core imports at once is a dependency; the rest, and what backends need, is in an extra."""
    known = OURS | set(sys.stdlib_module_names) | REQUIRED

    def is_declared(module, entry):
        # Who tests a backend has what it is tested with.
        in_core = module.name.partition(".")[0] == "emloop" and module.room != "emloop.testing"
        package = entry.target.partition(".")[0]
        return package in known or (package in EXTRAS and not (in_core and entry.eager))

    undeclared = [
        f"{module.where(entry.line)} imports {entry.target}"
        for module in modules
        for entry in module.imports
        if not is_declared(module, entry)
    ]

    assert undeclared == []


def test_the_project_is_described_in_one_place():
    """``pyproject.toml`` says it all; the supported versions of Python are current ones."""
    assert not (ROOT / "setup.py").exists()
    assert PROJECT["requires-python"] == ">=3.11"
