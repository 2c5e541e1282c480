"""Somebody who waits for a large file sees how far it is."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr

import pytest

from emloop._support.progress import progress

LOGGER = "emloop._support.progress"


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown_on_terminal(monkeypatch):
    """What reaches a terminal when standard error is one."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def show(name, total, sizes, **options):
        terminal = Terminal()
        with redirect_stderr(terminal), progress(name, **options) as report:
            for size in sizes:
                report(size, total)
        return terminal.getvalue()

    return show


def test_a_log_gets_one_plain_line_every_half_minute(caplog, capsys):
    """Not at once, and not for what is over before."""
    clock = Clock()
    with caplog.at_level(logging.INFO, LOGGER), progress("data.zip", clock=clock) as report:
        for clock.now, size in [(1, 5), (29, 6), (30, 10_000_000), (45, 20_000_000), (60, 30_000_000)]:
            report(size, 40_000_000)

    assert caplog.messages == ["data.zip: 10.0 MB of 40.0 MB (25%)", "data.zip: 30.0 MB of 40.0 MB (75%)"]
    assert capsys.readouterr() == ("", "")


def test_without_a_known_size_the_line_has_no_share(caplog):
    """What is there is told all the same."""
    clock = Clock()
    with caplog.at_level(logging.INFO, LOGGER), progress("data.zip", clock=clock) as report:
        clock.now = 30.0
        report(1_500_000, None)

    assert caplog.messages == ["data.zip: 1.5 MB"]


@pytest.mark.parametrize("total", [2_000_000, None])
def test_a_terminal_gets_a_bar_that_goes_away(shown_on_terminal, caplog, total):
    """It shows name and size, and leaves an empty line behind."""
    with caplog.at_level(logging.INFO, LOGGER):
        shown = shown_on_terminal("[data].zip", total, [1_000_000])

    assert "[data].zip" in shown
    assert "1.0/" in shown
    assert shown.endswith("\x1b[2K")
    assert caplog.messages == []


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(shown_on_terminal, caplog, monkeypatch):
    """Such as the one inside an editor."""
    monkeypatch.setenv("TERM", "dumb")
    clock = iter([0.0, 30.0, 30.0]).__next__
    with caplog.at_level(logging.INFO, LOGGER):
        shown = shown_on_terminal("data.zip", None, [1_000_000], clock=clock)

    assert shown == ""
    assert caplog.messages == ["data.zip: 1.0 MB"]
