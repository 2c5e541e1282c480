"""The page of typical mistakes shows what emloop says today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_mistakes_is_the_one_made_by_making_them():
    """Run ``python tools/ten_mistakes.py > docs/explanation/ten-mistakes.md`` after changing a message."""
    tool = ROOT / "tools" / "ten_mistakes.py"
    made = subprocess.run([sys.executable, tool], capture_output=True, text=True, check=True).stdout

    assert made == (ROOT / "docs" / "explanation" / "ten-mistakes.md").read_text(encoding="utf-8")
