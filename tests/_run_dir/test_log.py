"""What stands in ``train.log`` beside the records of loggers."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings

import pytest

from emloop._run_dir.log import RunLog, logged_later


@pytest.fixture
def said(tmp_path):
    """Attaches a log when called first, and detaches it the next time; the lines then, without their times."""
    logs = []

    def lines():
        if not logs:
            logs.append(RunLog(tmp_path))
            logs[0].attach()
        else:
            logs[0].detach()
        text = (tmp_path / "train.log").read_text()
        return [re.sub(" +([@:])", r"\1", line.partition(": ")[2]) for line in text.splitlines()]

    yield lines
    logs[0].detach()


def test_what_is_printed_is_logged_a_line_each(said, capsys):
    """Pieces make one line; the terminal shows what it always did."""
    said()
    print("a", "b")
    print("begun", end=" ")
    sys.stdout.writelines(["ended\n", "two\nlines\n", "\n"])
    print("10 %\r20 %\r30 %")
    print("on stderr", file=sys.stderr)
    print("last", end="")

    assert said() == [f"INFO@test_log: {line}" for line in ("a b", "begun ended", "two", "lines", "30 %", "last")]
    assert capsys.readouterr().out == "a b\nbegun ended\ntwo\nlines\n\n10 %\r20 %\r30 %\nlast"


def test_a_warning_is_logged_and_shown(said):
    """It names the module that it is about; one that somebody catches is theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        said()
        warnings.warn("old data", UserWarning, stacklevel=1)
        with warnings.catch_warnings(record=True):
            warnings.warn("caught", UserWarning, stacklevel=1)

    assert said() == ["WARNING@test_log: UserWarning: old data"]


def test_a_record_that_a_handler_prints_is_logged_once(said):
    """A handler on stdout, made before or after, doubles nothing."""
    said()
    handler = logging.StreamHandler(sys.stdout)
    logger = logging.getLogger("of_a_user")
    logger.addHandler(handler)
    try:
        logger.warning("once")
    finally:
        logger.removeHandler(handler)

    assert said() == ["WARNING@test_log: once"]


def test_stdout_is_given_back(said, monkeypatch):
    """After a run nobody listens, not even to those who have kept the stream, or put another in its place."""
    said()
    before = sys.stdout
    kept = before.write
    monkeypatch.setattr(sys, "stdout", other := io.StringIO())
    assert said() == []

    kept("later\n")
    assert sys.stdout is other
    assert said() == []


def test_nested_runs_hear_the_same(tmp_path, said):
    """A run within a run has its own log; the outer one goes on afterwards."""
    said()
    (tmp_path / "inner").mkdir()
    inner = RunLog(tmp_path / "inner")
    before = sys.stdout
    inner.attach()
    assert sys.stdout is before
    print("both")
    inner.detach()
    print("outer")

    assert "outer" not in (tmp_path / "inner" / "train.log").read_text()
    assert "both" in (tmp_path / "inner" / "train.log").read_text()
    assert said() == ["INFO@test_log: both", "INFO@test_log: outer"]


def test_what_is_said_before_there_is_a_log_is_logged_later(said):
    """A module is imported before its run has a directory; what comes of no run is forgotten."""
    stdout, handlers = sys.stdout, logging.getLogger().handlers[:]
    with logged_later():
        print("of a run that failed")
    assert (sys.stdout, logging.getLogger().handlers) == (stdout, handlers)

    with logged_later():
        print("printed")
        logging.getLogger("of_a_user").warning("logged")
        said()
        print("after")

    assert said() == ["INFO@test_log: printed", "WARNING@test_log: logged", "INFO@test_log: after"]
    assert (sys.stdout, logging.getLogger().handlers) == (stdout, handlers)
