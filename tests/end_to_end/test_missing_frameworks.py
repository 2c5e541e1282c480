"""A config whose framework is not installed is refused in a line that says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import emloop

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("torch", "tensorflow", "jax")
NEEDED = ("*yaml*", "numpy*", "rich", "safetensors", "pygments", "markdown_it", "mdurl")
"""All that emloop needs."""

DATASET = """
import emloop as el

class Data(el.BaseDataset):
    def _configure_dataset(self, **kwargs):
        pass

    def train_stream(self):
        return [{"x": [1.0]}]
"""

CONFIG = """
dataset: {class: rows.Data}
model: {class: NAME, inputs: [x], outputs: [loss]}
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Runs the command line where no framework is installed."""
    packages = tmp_path_factory.mktemp("packages")
    for pattern in NEEDED:
        for path in Path(sysconfig.get_path("purelib")).glob(pattern):
            (packages / path.name).symlink_to(path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needs = [f"Requires-Dist: {need}; extra == '{name}'" for name in extras for need in extras[name] if ";" not in need]
    description = packages / "emloop-1.dist-info" / "METADATA"
    description.parent.mkdir()
    description.write_text("\n".join(["Metadata-Version: 2.1", "Name: emloop", "Version: 1", *needs, ""]))
    home = tmp_path_factory.mktemp("home")
    (home / "rows.py").write_text(DATASET)
    for framework in FRAMEWORKS:
        text = f"import emloop_{framework}\n\n\nclass Net(emloop_{framework}.BaseModel):\n    pass\n"
        (home / f"on_{framework}.py").write_text(text)
    source = Path(emloop.__file__).parents[1]

    def run(command, name):
        (home / "config.yaml").write_text(CONFIG.replace("NAME", name))
        return subprocess.run(
            [sys.executable, "-S", "-m", "emloop", command, "config.yaml"],
            cwd=home,
            env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{packages}", "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", ["emloop_{}.BaseModel", "on_{}.Net"])
def test_a_config_without_its_framework_is_told_what_to_install(bare, framework, name):
    """By the check as by the training, for a class of the backend and for one that extends it."""
    said = {command: bare(command, name.format(framework)) for command in ("check", "train")}

    assert {2} == {done.returncode for done in said.values()}
    for done in said.values():
        first, *_, hint = (done.stdout + done.stderr).replace("\n1 mistake", "").strip().splitlines()
        assert first.startswith("config.yaml:3:16: model: emloop_")
        assert f"pip install 'emloop[{framework}]'" == hint.strip()
