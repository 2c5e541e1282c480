"""The session that README.md shows is what a terminal of 80 columns shows."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CURVE = re.compile("[\u2800-\u28ff]+")
NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]\d+)?")


@pytest.fixture(scope="module")
def session():
    """The module that records it."""
    for needed in ("pyte", "sklearn", "skops"):
        pytest.importorskip(needed)
    spec = importlib.util.spec_from_file_location("session", ROOT / "tools" / "session.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shown(session):
    """What README.md shows."""
    return (ROOT / "README.md").read_text().partition(session.BEGIN)[2].partition(session.END)[0]


def shapes(text):
    """Lines without what differs from time to time: numbers, curves, marks of what is best; alike ones count once."""
    found = []
    for line in text.splitlines():
        # Where the terminal echoes ^C, a bar that is drawn in the same instant goes over it.
        typed = line.removeprefix("^C")
        shape = " ".join(NUMBER.sub("#", CURVE.sub("~", typed)).replace("*", "").split())
        shape = re.sub(r"\b(seconds?|minutes?)\b|\bs\b", "s", shape)
        # Of a run that was killed, its bar is left; where an epoch has just begun, it says no more than where it is.
        if [shape] != found[-1:] and not re.match(r"\w+ ([━╸╺]+ )*#/#( |$)", shape):
            found.append(shape)
    return found


@pytest.mark.torture
def test_the_session_is_what_a_terminal_shows(session, shown, tmp_path):
    """Command by command, but for numbers."""
    assert shapes(session.plain(session.record(tmp_path))) == shapes(shown)


def test_nothing_breaks_inside_a_number(session, shown):
    """Where a line is full, the next one does not go on with a digit of the same number."""
    lines = shown.splitlines()
    broken = [
        line
        for line, after in pairwise(lines)
        if len(line) >= session.COLUMNS and re.search(r"[\d.]$", line) and re.match(r"[\d.]", after)
    ]

    assert shown
    assert broken == []
    assert max(map(len, lines)) <= session.COLUMNS


def test_the_picture_shows_the_same_session(session, shown):
    """And needs nothing from elsewhere."""
    drawn = session.PICTURE.read_text()
    commands = [line for line in shown.splitlines() if line.startswith("$ ")]

    assert all(word in drawn for line in commands for word in line.split("=")[0].split())
    assert "url(http" not in drawn
