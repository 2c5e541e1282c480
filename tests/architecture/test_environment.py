"""``make demo`` and ``make test`` on a machine that lacks something, and one after the other."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "environment"
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
INSTALLING = """#!/bin/sh
case "$2" in
    *base_prefix*) echo one python ;;
    *print*) echo 3.11 ;;
    venv) rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    pip)
        for last; do :; done
        [ ! -e offline ] || exit 1
        [ ! -e interrupted ] || kill -9 $PPID
        echo "$last" >>.venv/installed
        ;;
esac
"""
"""Notes what pip was asked for, unless there is a file that says what goes wrong."""


@pytest.fixture
def checkout(tmp_path):
    """One that holds just what the tool reads."""
    checkout = tmp_path / "checkout"
    (checkout / "tools").mkdir(parents=True)
    (checkout / "tools" / "environment").write_text(TOOL.read_text())
    for name in ("pyproject.toml", "constraints.txt"):
        (checkout / name).write_text("")
    return checkout


@pytest.fixture
def make_environment(checkout, tmp_path):
    """Run the tool in the checkout, with a Python of our making where one is named."""

    def run(script: str | None = None, extra: str = "demo", *, name: str | None = "python3"):
        if script is not None:
            (tmp_path / name).write_text(script)
            (tmp_path / name).chmod(0o755)
        return subprocess.run(
            ["sh", checkout / "tools" / "environment", extra],
            env={"PATH": os.environ["PATH"], "PYTHON": "" if name is None else str(tmp_path / name)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def installed(checkout):
    """What pip was asked for since .venv was made."""
    return lambda: (checkout / ".venv" / "installed").read_text().split()


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
def test_one_line_says_what_is_wrong_with_python(make_environment, checkout, tmp_path, script, reason):
    """What is needed, what was found, and how to name another; nothing is created."""
    done = make_environment(script)
    needed = "emloop needs Python 3.11 or later; install it, or name it by PYTHON=/path/to/python3"

    assert done.returncode == 1
    assert done.stderr == f"{needed} ({reason.format(python=tmp_path / 'python3')})\n"
    assert not (checkout / ".venv").exists()


def test_an_installation_that_fails_is_not_taken_for_done(make_environment, checkout):
    """A second call tries again instead of using what the first one left."""
    (checkout / "offline").touch()
    for _ in range(2):
        done = make_environment(INSTALLING)
        assert done.returncode == 1
        assert done.stderr == "emloop could not be installed, for the reason above; the same command tries again\n"
        assert "Installing emloop for 'demo'" in done.stdout


def test_a_second_demo_is_added_to_the_first(make_environment, installed):
    """Going back and forth between them installs nothing more."""
    said = [make_environment(INSTALLING, extra).stdout for extra in ("demo", "torch-demo", "demo", "torch-demo")]

    assert installed() == [".[demo]", ".[torch-demo]"]
    assert said[1] == "Adding to .venv what 'torch-demo' needs; this is done once and takes a minute or so ...\n"
    assert said[2:] == ["", ""]


@pytest.mark.parametrize("extra", ["demo", "torch-demo", "tensorflow-demo", "jax-demo"])
def test_who_can_run_the_tests_can_run_the_demos(make_environment, installed, extra):
    """``dev`` holds what they need."""
    make_environment(INSTALLING, "dev")
    make_environment(INSTALLING, extra)

    assert installed() == [".[dev]"]


def test_what_could_not_be_added_spoils_nothing(make_environment, checkout, installed):
    """Without a network, the demo that is there still runs."""
    make_environment(INSTALLING)
    (checkout / "offline").touch()

    assert make_environment(INSTALLING, "torch-demo").returncode == 1
    assert make_environment(INSTALLING).returncode == 0
    assert installed() == [".[demo]"]


def test_what_was_being_added_when_somebody_was_killed_is_made_anew(make_environment, checkout, installed):
    """Nobody knows which packages are whole."""
    make_environment(INSTALLING)
    (checkout / "interrupted").touch()
    assert make_environment(INSTALLING, "torch-demo").returncode == -9
    (checkout / "interrupted").unlink()
    (checkout / ".venv" / "broken").touch()
    make_environment(INSTALLING)

    assert installed() == [".[demo]"]
    assert not (checkout / ".venv" / "broken").exists()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_an_outdated_environment_is_made_anew(make_environment, checkout, installed, name):
    """After a change of what is required, nothing older is left behind."""
    make_environment(INSTALLING, "torch-demo")
    (checkout / name).write_text("more")
    make_environment(INSTALLING)

    assert installed() == [".[demo]"]


def test_another_python_gets_an_environment_of_its_own(make_environment, installed):
    """The same one, however it is spelled, and none at all, keep what is there."""
    make_environment(INSTALLING, "torch-demo")
    make_environment(INSTALLING, name="python")
    make_environment(name=None)
    assert installed() == [".[torch-demo]", ".[demo]"]

    make_environment(INSTALLING.replace("one python", "another python"), name="other")
    assert installed() == [".[demo]"]


def test_help_tells_of_every_target():
    """What can be made is said by ``make help``, which is also what ``make`` does."""
    targets = re.search(r"^\.PHONY: help (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    said, helped = (
        subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for arguments in ([], ["help"])
    )

    assert said == helped
    assert targets == re.findall(r"^make (\S+) +\w", said, flags=re.MULTILINE)
