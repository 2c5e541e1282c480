"""The package of emloop 0.2 for TensorFlow owns the name of this one: who uses the backend is told to uninstall it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import emloop
from emloop import api
from emloop.errors import UnknownClassError

OURS = Path(emloop.__file__).parents[1]

PROJECT = """
import emloop as el
import emloop_tensorflow as eltf


class Data(el.BaseDataset):
    def _configure_dataset(self):
        pass

    def train_stream(self):
        yield {"x": [1.0]}


class Net(eltf.BaseModel):
    def create_model(self):
        pass
"""

FOUND = "emloop-tensorflow 0.6.0 is installed, made for emloop 0.2, and brings its own emloop_tensorflow\n"
CURE = (
    "  `pip uninstall emloop-tensorflow`, then install emloop again, with `--force-reinstall --no-deps`: some files "
    "belong to both\n"
)


@pytest.fixture
def site(tmp_path):
    """A directory with the old package as pip installs it: its metadata, and the one file that both own."""
    site = tmp_path / "site"
    info = site / "emloop_tensorflow-0.6.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: emloop-tensorflow\nVersion: 0.6.0\n")
    (info / "RECORD").write_text("emloop_tensorflow/__init__.py,,\n")
    (site / "emloop_tensorflow").mkdir()
    (site / "emloop_tensorflow" / "__init__.py").write_text("from tensorflow.contrib import quantize\n")
    return site


@pytest.fixture
def run(tmp_path, site):
    """Run a command line where the old package is found, before our own or after."""
    (tmp_path / "old_net.py").write_text(PROJECT)

    def run(*words, first=True):
        path = os.pathsep.join(map(os.fspath, (site, OURS) if first else (OURS, site)))
        command = [sys.executable, "-m", "emloop", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("cls", ["emloop_tensorflow.BaseModel", "old_net.Net"])
@pytest.mark.parametrize("first", [True, False], ids=["theirs-imported", "ours-imported"])
def test_the_check_says_to_uninstall_it(run, tmp_path, cls, first):
    """Whichever of the two pip has written last, and whether the config or the project's module names the backend."""
    (tmp_path / "config.yaml").write_text(f"dataset: {{class: old_net.Data}}\nmodel: {{class: {cls}}}\n")

    for words in (("check", "config.yaml"), ("train", "config.yaml")):
        code, said = run(*words, first=first)

        assert code == 2
        assert f": model: {FOUND}" in said
        assert CURE in said
        assert "Traceback" not in said


def test_who_does_not_use_the_backend_is_not_bothered(run, tmp_path):
    """The other package may be there for something else; only `emloop doctor` mentions it."""
    (tmp_path / "config.yaml").write_text("dataset: {class: emloop.datasets.Arrays}\nmodel: {class: el.No}\n")

    assert "uninstall" not in run("check", "config.yaml")[1]
    assert f"{FOUND}{CURE}" in run("doctor")[1]


def test_building_from_python_says_so_as_well(site, monkeypatch):
    """There, no check of a config comes before."""
    monkeypatch.syspath_prepend(site)

    with pytest.raises(UnknownClassError, match="`pip uninstall emloop-tensorflow`, then install emloop again"):
        api.create_model({"model": {"class": "emloop_tensorflow.BaseModel"}}, None, None)


def test_a_backend_that_has_lost_its_first_file_is_named(tmp_path):
    """As ours has where the old package was uninstalled and nothing installed again."""
    (tmp_path / "emloop_half").mkdir()
    info = tmp_path / "half-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[emloop.backends]\nhalf = emloop_half:BaseModel\n")
    path = os.pathsep.join(map(os.fspath, (tmp_path, OURS)))
    command = [sys.executable, "-m", "emloop", "doctor"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)

    assert (
        "emloop.backends: 'half' of half leads to emloop_half, which has lost its __init__.py\n"
        "  install half again, with `--force-reinstall --no-deps`\n"
    ) in done.stdout
