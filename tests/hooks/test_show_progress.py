"""What ``ShowProgress`` draws, and when."""

from __future__ import annotations

import io
import logging

import pytest

from emloop.errors import StateError
from emloop.hooks import ShowProgress
from emloop.hooks.show_progress import erase_line, get_formatted_time, print_progress_bar

ERASE = "\r\x1b[K"


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def drawings(self):
        """What was drawn so far, one after the other, and forget it."""
        lines = self.getvalue().removeprefix(ERASE).split(ERASE)
        self.seek(0)
        self.truncate()
        return [line.rstrip("\r") for line in lines]


class Dataset:
    def __init__(self, num_batches):
        self.num_batches = num_batches


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def run(hook, clock, count, seconds=1.0, stream="train"):
    for _ in range(count):
        clock.pass_by(seconds)
        hook.after_batch(stream_name=stream, batch_data={})


def test_a_bar_shows_how_much_is_done_and_how_long_it_will_take(clock, terminal):
    """The time left is that of the batches to come, at the average speed since the stream's first batch."""
    hook = ShowProgress(Dataset({"train": 4}), clock=clock, output=terminal)

    run(hook, clock, 4, seconds=600)

    assert terminal.drawings() == [
        f"train: |{'=' * 12}{'-' * 38}|  1/4=25.0%",
        f"train: |{'=' * 25}{'-' * 25}|  2/4=50.0% ETA 0:20:00",
        f"train: |{'=' * 37}{'-' * 13}|  3/4=75.0% ETA 0:10:00",
        f"train: |{'=' * 50}|  4/4=100.0%",
    ]


def test_without_a_total_batches_are_counted_until_the_first_epoch_is_over(clock, terminal):
    """Then the totals are known."""
    hook = ShowProgress(dataset=object(), clock=clock, output=terminal)

    run(hook, clock, 2)
    assert terminal.drawings() == ["train: 1", "train: 2"]
    hook.after_epoch()
    assert terminal.drawings() == [""]
    run(hook, clock, 1)

    assert terminal.drawings() == [f"train: |{'=' * 25}{'-' * 25}|  1/2=50.0%"]


@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param(Dataset({"train": 10}), id="mapping"),
        pytest.param(type("D", (), {"num_batches": property(lambda self: {"train": 10})})(), id="property"),
        pytest.param(type("D", (), {"num_batches": lambda self: {"train": 10}})(), id="method"),
        pytest.param(type("D", (), {"num_batches": lambda self, name: {"train": 10}.get(name)})(), id="method-of-name"),
    ],
)
def test_a_dataset_may_say_in_several_ways_how_many_batches_it_has(dataset, clock, terminal):
    """Mapping, property or method; a stream that it says nothing about is counted."""
    hook = ShowProgress(dataset, clock=clock, output=terminal)

    run(hook, clock, 1)
    run(hook, clock, 1, stream="valid")

    bar, count = terminal.drawings()
    assert bar.endswith("1/10=10.0%")
    assert count == "valid: 1"


def test_an_epoch_of_fixed_size_has_that_many_batches(clock, terminal, loop):
    """While it trains; the zeroth epoch evaluates the whole stream, and what that had says nothing about later ones."""
    hook = ShowProgress(Dataset({"train": 4}), clock=clock, output=terminal)
    hook.register_mainloop(loop)
    loop.fixed_epoch_size, loop.is_training = 2, False
    run(hook, clock, 4)
    hook.after_epoch(0, {})
    evaluated = terminal.drawings()
    loop.is_training = True
    run(hook, clock, 1)
    trained = terminal.drawings()

    assert "4/4=100.0%" in evaluated[-2]
    assert "1/2=50.0%" in trained[0]


def test_what_an_epoch_had_counts_more_than_what_was_announced(clock, terminal):
    """A dataset that announces too much is corrected after the first epoch."""
    hook = ShowProgress(Dataset({"train": 100}), clock=clock, output=terminal)
    run(hook, clock, 2)
    hook.after_epoch(epoch_id=0, epoch_data={})
    terminal.drawings()

    run(hook, clock, 1)

    assert terminal.drawings()[0].endswith("1/2=50.0%")


@pytest.mark.parametrize("announced", [0, 1])
def test_more_batches_than_announced_are_counted(announced, clock, terminal):
    """A total of 0, or one that is too small, is no reason to fail or to show more than everything."""
    hook = ShowProgress(Dataset({"train": announced}), clock=clock, output=terminal)

    run(hook, clock, 2)

    assert terminal.drawings()[-1] == "train: 2"


def test_the_line_is_drawn_at_most_ten_times_a_second(clock, terminal):
    """However fast the batches come."""
    hook = ShowProgress(clock=clock, output=terminal)

    run(hook, clock, 1000, seconds=0.001)

    assert 9 <= len(terminal.drawings()) <= 10


def test_the_line_is_gone_when_others_write(clock, terminal):
    """It is erased after every epoch and at the end; where none was drawn, nothing is erased."""
    hook = ShowProgress(clock=clock, output=terminal)
    hook.after_epoch(1, {})
    hook.after_training(True)
    assert terminal.getvalue() == ""

    run(hook, clock, 1)
    assert terminal.getvalue() == f"{ERASE}train: 1\r"
    hook.after_training(True)
    hook.after_training(True)
    assert terminal.getvalue() == f"{ERASE}train: 1\r{ERASE}"


@pytest.mark.parametrize("dumb_terminal", [False, True])
def test_away_from_a_terminal_there_is_a_plain_line_per_half_minute(clock, caplog, monkeypatch, dumb_terminal):
    """No control characters reach a file; the first line comes half a minute after the first batch."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("TERM", "dumb" if dumb_terminal else "xterm")
    output = Terminal() if dumb_terminal else io.StringIO()
    hook = ShowProgress(Dataset({"train": 200}), clock=clock, output=output)

    run(hook, clock, 62)
    run(hook, clock, 31, stream="valid")
    hook.after_epoch(0)
    hook.after_training(True)

    assert output.getvalue() == ""
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "train: 31/200=15.5% ETA 0:02:49"),
        ("INFO", "train: 61/200=30.5% ETA 0:02:19"),
        ("INFO", "valid: 29"),
    ]


def test_standard_error_is_where_it_draws(clock, capsys):
    """Standard output is left to what the program has to say."""
    hook = ShowProgress(clock=clock)
    run(hook, clock, 1)
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

    assert terminal.drawings() == [expected]


def test_nothing_to_do_is_all_done(terminal):
    """A total of 0 is no division by it."""
    print_progress_bar(0, 0, "train", output=terminal)

    assert terminal.drawings() == [f"train: |{'=' * 50}|  0/0=100.0%"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.9, "0:00:59"), (61, "0:01:01"), (3600, "1:00:00"), (360_000, "100:00:00")]
)
def test_durations_are_hours_minutes_and_seconds(seconds, text):
    """Also beyond a day."""
    assert get_formatted_time(seconds) == text


def test_a_resumed_epoch_goes_on_counting(clock, terminal, hand_over):
    """Counts and totals survive; speed is measured anew."""
    first = ShowProgress(clock=clock, output=Terminal())
    run(first, clock, 4)
    first.after_epoch(0)
    run(first, clock, 2)
    second = hand_over(first, ShowProgress(clock=clock, output=terminal))
    clock.pass_by(10_000)

    run(second, clock, 2, seconds=5)

    assert [line.split("|  ")[1] for line in terminal.drawings()] == ["3/4=75.0%", "4/4=100.0%"]
    with pytest.raises(StateError, match="ShowProgress: the state does not fit"):
        second.load_state_dict({"counts": {}})


def test_the_state_does_not_depend_on_what_was_drawn(clock, terminal):
    """Equal runs have equal states, on any terminal and at any speed."""
    seen = ShowProgress(Dataset({"train": 9}), clock=clock, output=terminal)
    unseen = ShowProgress(Dataset({"train": 9}), clock=lambda: 0.0, output=io.StringIO())
    for hook in (seen, unseen):
        run(hook, clock, 3)

    assert seen.state_dict() == unseen.state_dict() == {"counts": {"train": 3}, "totals": {}}
