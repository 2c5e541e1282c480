"""What ``ShowProgress`` adds to what a run shows by itself, and the functions beside it."""

from __future__ import annotations

import io

import pytest

from emloop._reporter.areas import Plain, Terminal
from emloop._reporter.reporter import Reporter
from emloop._reporter.shown import Shown
from emloop.errors import StateError
from emloop.hooks import ShowProgress
from emloop.hooks.show_progress import erase_line, get_formatted_time, print_progress_bar

ERASE = "\r\x1b[K"


class AtTerminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    return AtTerminal()


def registered(hook, loop, reporter):
    loop.reporter = reporter
    hook.register_mainloop(loop)
    hook.before_training()
    return loop.reporter


def test_a_loop_that_shows_nothing_shows_its_progress_with_the_hook(loop, terminal, clock):
    """On the output that the hook names; a program needs no run directory for that."""
    shown = registered(ShowProgress(output=terminal, clock=clock), loop, Reporter())

    assert isinstance(shown, Shown)
    assert isinstance(shown._area, Terminal)


def test_a_run_keeps_its_own_reporter(loop):
    """It draws the bar already."""
    mine = Shown(Plain(None))

    assert registered(ShowProgress(), loop, mine) is mine


def test_no_batch_calls_the_hook():
    """The bar reads the loop's own count, so that it costs a batch nothing."""
    assert "after_batch" not in vars(ShowProgress)


def test_totals_of_before_are_known_after_a_resume(loop):
    """Also from the state of a run of before the reporter, which had counts, too."""
    hook = ShowProgress()
    hook.load_state_dict({"counts": {"train": 3}, "totals": {"train": 40}})
    shown = registered(hook, loop, Shown(Plain(None)))

    assert shown.totals == {"train": 40}
    assert hook.state_dict() == {"counts": {}, "totals": {"train": 40}}


def test_a_state_of_something_else_is_refused():
    """As by every hook."""
    with pytest.raises(StateError):
        ShowProgress().load_state_dict({"counts": {}})


def test_standard_error_is_where_a_line_is_erased(capsys):
    """Standard output is left to what the program has to say."""
    erase_line()

    assert capsys.readouterr() == ("", ERASE)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (200, f"train: |{'=' * 25}{'-' * 25}|  5/10=50.0% ETA"),
        (60, f"train: |{'=' * 12}{'-' * 12}|  5/10=50.0% ETA"),
        (41, "train: |==---|  5/10=50.0% ETA"),
        (40, "train: 5/10"),
        (12, "train: 5/10"),
        (11, "/"),
        (1, "/"),
    ],
)
def test_the_line_fits_its_terminal(monkeypatch, terminal, columns, expected):
    """A narrow one has less of a bar, numbers only, or a turning stick."""
    monkeypatch.setenv("COLUMNS", str(columns))

    print_progress_bar(5, 10, prefix="train", suffix="ETA", output=terminal)

    assert terminal.getvalue() == f"{ERASE}{expected}\r"


def test_nothing_to_do_is_all_done(terminal):
    """A total of 0 is no division by it."""
    print_progress_bar(0, 0, "train", output=terminal)

    assert terminal.getvalue() == f"{ERASE}train: |{'=' * 50}|  0/0=100.0%\r"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.9, "0:00:59"), (61, "0:01:01"), (3600, "1:00:00"), (360_000, "100:00:00")]
)
def test_durations_are_hours_minutes_and_seconds(seconds, text):
    """Also beyond a day."""
    assert get_formatted_time(seconds) == text
