"""Lines that are too long for a terminal."""

from __future__ import annotations

import io

import pytest

from emloop._support.printable import folded

PATH = "/home/somebody/log/a-run-with-a-long-name"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("short\nlines", "short\nlines", id="nothing-to-do"),
        pytest.param(
            "a number of 0.123456789 and more", "a number of\n    0.123456789 and\n    more", id="between-words"
        ),
        pytest.param(
            f"  read from {PATH}, which is long", f"  read from\n      {PATH},\n      which is long", id="a-path"
        ),
        pytest.param(
            "a:1: wrong\n    1 |   key\n      |   ^^^\n  did you mean 'keys'?",
            "a:1: wrong\n    1 |   key\n      |   ^^^\n  did you mean\n      'keys'?",
            id="a-mistake-with-its-place",
        ),
    ],
)
def test_a_terminal_breaks_no_word(monkeypatch, text, expected):
    """Lines go on indented; a path stays whole, for who copies it, and so does what stands in columns."""
    monkeypatch.setenv("COLUMNS", "20")

    assert folded(text, Terminal()) == expected


def test_what_no_terminal_shows_keeps_its_lines(monkeypatch):
    """Whoever searches a file, or reads a pipe, finds every message in one line."""
    monkeypatch.setenv("COLUMNS", "20")

    assert folded("as long as it is " * 9, io.StringIO()) == "as long as it is " * 9
