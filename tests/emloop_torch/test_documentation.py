"""The pages about PyTorch say what the code says, and what they show runs."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from ..processes import without_shell

torch = pytest.importorskip("torch")

import emloop_torch  # noqa: E402

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs" / "how-to" / "train-with-pytorch.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference" / "pytorch.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}(?: title=(\S+))?\n(.*?)^```$", HOW_TO, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_page_work(tmp_path, processes):
    """In the order of the page, beside the files that it shows."""
    shutil.copy(ROOT / "tests" / "docs" / "given" / "circle.py", tmp_path)
    for title, text in [*blocks("python"), *blocks("yaml")]:
        (tmp_path / title).write_text(text, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    commands = [line[2:] for _, text in blocks("sh") for line in text.splitlines() if "pip install" not in line]
    commands += ["emloop check circle_torch.yaml model.class=circle_slow.Smoothed", "python circle_from_python.py"]
    said = ""
    for command in commands:
        done = processes.run(
            without_shell(command), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said += done.stdout + done.stderr

    assert len(commands) > 8
    assert "The model's program is 'exported'" in said
    assert "circle_net.CircleNet is restored as emloop_torch.BaseModel" in said
    assert said.rstrip().endswith("True")


@pytest.mark.parametrize(
    ("heading", "function"),
    [
        ("Keys of the section model", emloop_torch.BaseModel.settings_class),
        ("Supervised", emloop_torch.Supervised.create_model),
    ],
)
def test_a_table_has_all_keys_with_their_defaults(heading, function):
    """Nothing is left out, nothing is made up."""
    expected = {
        name: "required" if parameter.default is parameter.empty else f"`{as_yaml(parameter.default)}`"
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }
    section = REFERENCE.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    found = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \| [^\n]+ \|$", section, flags=re.MULTILINE))

    assert expected == found


def as_yaml(value):
    return {"()": "[]", "None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
