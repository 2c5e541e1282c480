"""The pages about ONNX say what the code says, and what they show runs."""

from __future__ import annotations

import csv
import inspect
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from ..processes import without_shell

for _needed in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(_needed)

import emloop_onnx  # noqa: E402

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs" / "how-to" / "ship-with-onnx.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference" / "onnx.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}(?: title=(\S+))?\n(.*?)^```$", HOW_TO, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_page_work(tmp_path, processes):
    """In the order of the page, beside the files that it shows; the report is the one that it shows."""
    shutil.copy(ROOT / "tests" / "docs" / "given" / "circle.py", tmp_path)
    for title, text in [*blocks("python"), *blocks("yaml")]:
        (tmp_path / title).write_text(text, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    said = ""
    for command in (line[2:] for _, text in blocks("sh") for line in text.splitlines() if "pip install" not in line):
        done = processes.run(
            without_shell(command), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said += done.stdout + done.stderr

    (_, shown), *_ = blocks("text")
    for line in shown.splitlines():
        expected = re.sub(r"\d\\\.\d(e\\-\d+)?", ".+", re.escape(line))
        # On some processors the two come out equal.
        assert re.search(re.sub(r"off\\ by\\ at\\ most\\ \.\+", r"(off by at most .+|equal)", expected), said), line
    with (tmp_path / "log" / "predicted" / "predictions.csv").open() as file:
        assert {row["predictions"] for row in csv.DictReader(file)} <= {"0", "1"}
    assert re.search(r"^evaluated  test scores 0\.\d+ ", said, flags=re.MULTILINE)


def test_a_table_has_all_keys_with_their_defaults():
    """Nothing is left out, nothing is made up."""
    expected = {
        name: f"`{'null' if parameter.default is None else parameter.default}`"
        for name, parameter in inspect.signature(emloop_onnx.OnnxModel).parameters.items()
        if name not in ("dataset", "log_dir", "restore_from")
    }
    section = REFERENCE.split("## OnnxModel\n", 1)[1]
    found = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \| [^\n]+ \|$", section, flags=re.MULTILINE))

    assert expected == found
