"""Each backend alone in an environment of its own, installed as its users install it; and JAX in its newest version.

What is installed comes from the package index, or from where pip is told to look; without it, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torture

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "sklearn": ("config.yaml", "model.classes=10"),
    "torch": ("config_torch.yaml", "model.channels=8"),
    "jax": ("config_jax.yaml", "model.channels=8"),
    "tensorflow-cpu": ("config_tensorflow.yaml", "model.channels=8"),
}
"""Extra → config of the digits, and what makes it quick or does without more of the data set."""

DIGITS = """
extends: examples/digits/{config}
dataset: {{class: Arrays, path: digits.npz, split: {{train: 0.6, valid: 0.2, test: 0.1, predict: 0.1}}}}
"""
WITHOUT_DRAWING = ("~hooks.SaveConfusionMatrix", "~hooks.ShowProgress")
UNREACHABLE = (
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Temporary failure|Name or service|No matching distribution"
)


def installed(python, *wanted):
    """Let pip install something; skip where its index cannot be reached."""
    command = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and re.search(UNREACHABLE, done.stderr):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def fresh(directory, interpreter=sys.executable):
    """The interpreter of a new environment."""
    subprocess.run([interpreter, "-m", "venv", directory], check=True)
    return str(directory / "bin" / "python")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What its users get."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", directory, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and re.search(UNREACHABLE, done.stderr):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return str(next(directory.glob("emloop-*.whl")))


@pytest.fixture
def digits(tmp_path):
    """The examples, and the digits in a file that needs no package to be read."""
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    images, labels = load_digits(return_X_y=True)
    np.savez(tmp_path / "digits.npz", images=(images / 16).astype(np.float32).reshape(-1, 8, 8), labels=labels)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("extra", EXAMPLES)
def test_a_backend_works_with_nothing_but_its_own_extra(extra, wheel, digits):
    """It trains, saves, is restored without its source, goes on; and the others are told how to be had."""
    python = fresh(digits / "environment")
    installed(python, "--constraint", ROOT / "constraints.txt", f"{wheel}[{extra}]")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def emloop(*arguments, expect=0):
        command = [python, "-P", "-m", "emloop", *arguments]
        done = subprocess.run(command, cwd=digits, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    name, *words = EXAMPLES[extra]
    (digits / "config.yaml").write_text(DIGITS.format(config=name))
    emloop("train", "config.yaml", "--output_dir", "run", "main_loop.epochs_count=3", *words, *WITHOUT_DRAWING)
    for source in (digits / "examples" / "digits").glob("digits*_model.py"):
        source.unlink()
    said = emloop("eval", "test", "run", "--output_dir", "tested", "~hooks.SaveConfusionMatrix")
    emloop("resume", "run", "main_loop.epochs_count=4")

    assert f"is restored as emloop_{extra.removesuffix('-cpu')}.BaseModel" in said
    (tested,) = (digits / "log" / "tested" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(tested)["test"]["accuracy"]["mean"] > 0.8
    assert len((digits / "log" / "run" / "metrics.jsonl").read_text().splitlines()) == 5
    for other in {each.removesuffix("-cpu") for each in EXAMPLES} - {extra.removesuffix("-cpu")}:
        assert f"pip install 'emloop[{other}]'" in emloop(
            "check", "config.yaml", f"model.class=emloop_{other}.BaseModel", expect=2
        )


def newer_pythons():
    """Interpreters that the newest JAX accepts, as they are usually called."""
    named = (shutil.which(f"python3.{minor}") for minor in (13, 12))
    kept = sorted(Path.home().glob(".pyenv/versions/3.1[23].*/bin/python3"), reverse=True)
    for python in filter(None, [sys.executable, *named, *map(str, kept)]):
        check = "import ensurepip, sys, venv; sys.exit(not (3, 12) <= sys.version_info < (3, 14))"
        if subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0:
            yield python


def test_the_newest_jax_passes_the_tests_of_its_backend(wheel, tmp_path):
    """It needs a later Python than emloop does."""
    interpreter = next(newer_pythons(), None)
    if interpreter is None:
        pytest.skip("there is no Python 3.12 or 3.13, which JAX 0.11 needs")
    python = fresh(tmp_path / "environment", interpreter)
    installed(python, f"{wheel}[jax,sklearn]", "jax>=0.11", "flax", "pytest", "hypothesis", "psutil")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    tests = [ROOT / "tests" / "emloop_jax", ROOT / "tests" / "contract"]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "jax", *tests],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-5000:]
