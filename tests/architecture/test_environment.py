"""``make demo`` and ``make test`` on a machine that lacks something."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "environment"
OLD = """#!/bin/sh
case "$2" in
    *print*) echo 3.9 ;;
    *version_info*) exit 1 ;;
esac
"""
WITHOUT_VENV = """#!/bin/sh
case "$2" in
    *print*) echo 3.11 ;;
    *venv*) exit 1 ;;
esac
"""
WITHOUT_PIP = """#!/bin/sh
case "$2" in
    *print*) echo 3.11 ;;
    venv) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    pip) exit 1 ;;
esac
"""


@pytest.fixture
def make_environment(tmp_path):
    """Run the tool in a checkout that holds just what it reads, with a Python of our making."""
    checkout = tmp_path / "checkout"
    (checkout / "tools").mkdir(parents=True)
    (checkout / "tools" / "environment").write_text(TOOL.read_text())
    for name in ("pyproject.toml", "constraints.txt"):
        (checkout / name).write_text("")

    def run(script: str | None) -> subprocess.CompletedProcess[str]:
        python = tmp_path / "python3"
        if script is not None:
            python.write_text(script)
            python.chmod(0o755)
        return subprocess.run(
            ["sh", checkout / "tools" / "environment", "demo"],
            env={"PATH": os.environ["PATH"], "PYTHON": str(python)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(None, "no {python} can be run", id="missing"),
        pytest.param(OLD, "{python} is 3.9", id="too-old"),
        pytest.param(
            WITHOUT_VENV, "{python} (3.11) lacks venv (Debian, Ubuntu: apt install python3.11-venv)", id="without-venv"
        ),
    ],
)
def test_one_line_says_what_is_wrong_with_python(make_environment, tmp_path, script, reason):
    """What is needed, what was found, and how to name another; nothing is created."""
    done = make_environment(script)
    needed = "emloop needs Python 3.11 or later; install it, or name it by PYTHON=/path/to/python3"

    assert done.returncode == 1
    assert done.stderr == f"{needed} ({reason.format(python=tmp_path / 'python3')})\n"
    assert not (tmp_path / "checkout" / ".venv").exists()


def test_an_installation_that_fails_is_not_taken_for_done(make_environment, tmp_path):
    """A second call starts afresh instead of using what the first one left."""
    for _ in range(2):
        done = make_environment(WITHOUT_PIP)
        assert done.returncode == 1
        assert done.stderr == "emloop could not be installed, for the reason above; the same command starts afresh\n"
        assert "Installing emloop for 'demo'" in done.stdout
