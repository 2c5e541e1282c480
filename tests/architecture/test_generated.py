"""What is made from the code is what the code makes today."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "generated.py"


@pytest.mark.parametrize("file", runpy.run_path(str(TOOL))["GENERATED"])
def test_a_generated_file_is_up_to_date(file):
    """After a change of what it is made from, ``make generated`` rewrites it."""
    made = subprocess.run([sys.executable, TOOL, file], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert made == (ROOT / file).read_text(encoding="utf-8"), f"{file} is stale: run `make generated`"


def test_every_program_that_makes_a_page_is_listed():
    """Nothing that has a ``page()`` is forgotten by ``make generated``."""
    makers = {path.stem for path in TOOL.parent.glob("*.py") if "\ndef page(" in path.read_text(encoding="utf-8")}

    assert makers == {maker.partition(".")[0] for maker in runpy.run_path(str(TOOL))["GENERATED"].values()}
