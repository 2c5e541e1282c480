"""What is quick to start stays quick: no numbers, no framework, nothing to draw with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

FRAMEWORKS = {"sklearn", "torch", "tensorflow", "keras", "jax", "flax"}
HEAVY = FRAMEWORKS | {"numpy", "safetensors", "scipy", "skops", "matplotlib", "rich", "optax", "pandas"}
DRIVER = """
import json, sys
from emloop.entry_point import entry_point
sys.argv = ["emloop", *sys.argv[1:]]
try:
    status = entry_point()
except SystemExit as stop:
    status = stop.code
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"status": status, "loaded": loaded}), file=sys.stderr)
"""


def run(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    report = json.loads(done.stderr.splitlines()[-1])
    return report["status"], HEAVY & set(report["loaded"])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["ls"]], ids=" ".join)
def test_a_command_that_computes_nothing_loads_nothing_to_compute_with(arguments, tmp_path):
    """Help and an empty listing load neither NumPy nor a framework nor anything that draws."""
    (tmp_path / "log").mkdir()

    assert run(*arguments, cwd=tmp_path) == (0, set())


def test_importing_emloop_loads_only_the_standard_library(tmp_path):
    """``import emloop`` costs what its own few lines cost."""
    code = "import sys, emloop; print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("emloop_sklearn", {"sklearn"}),
        ("emloop_torch", {"torch"}),
        ("emloop_jax", {"jax", "flax"}),
        # TensorFlow itself imports JAX, and Keras scikit-learn, where they are installed.
        pytest.param("emloop_tensorflow", {"tensorflow", "keras", "jax", "sklearn"}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_backend_loads_no_other_framework(module, own, tmp_path):
    """Nor what lists all estimators, which takes a second."""
    framework = module.removeprefix("emloop_")
    for needed in ("torch", "sklearn", framework):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    code = f"import sys, {module} as own; own.BaseModel; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert {framework} <= FRAMEWORKS & set(done.stdout.split()) <= own
    assert "skops.io" not in done.stdout.split()


def test_an_estimator_is_kept_without_pytorch(tmp_path):
    """And what was kept from being loaded can still be."""
    for needed in ("torch", "sklearn", "skops"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    imports = "import sys; from sklearn.dummy import DummyRegressor; from emloop_sklearn._archives.archive import dump"
    kept = f"{imports}; dump(DummyRegressor())"
    code = f"{kept}; print(*sys.modules); import sklearn.externals.array_api_compat.torch"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert {"sklearn", "skops.io"} <= set(done.stdout.split())
    assert "torch" not in done.stdout.split()
