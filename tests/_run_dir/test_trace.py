"""``trace.yaml``: readable by old and new, and never a reason to fail."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir.trace import Trace, Watched, effective_status, local_now, local_timezone, read_trace, write_trace
from emloop._state.lock import RunLock

FULL = Trace(
    train_begin=datetime(2026, 3, 28, 23, 30, 1, 250000),
    train_end=datetime(2026, 3, 29, 4, 0),
    epochs_done=12,
    exit_status=75,
    timezone="+01:00",
    status="stopped",
    reason="SIGTERM: it's\nover",
    attempts=3,
    streams={"train": "exact", "valid": "by replay"},
    monitored=(Watched("valid.f1", "max", "best"), Watched("valid.loss")),
    host="häst",
    pid=4711,
)


@pytest.fixture
def zone(monkeypatch):
    def set_zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


def write(directory, text):
    (directory / "trace.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_a_trace_comes_back_as_written(tmp_path):
    """Every field survives, whatever characters it has."""
    write_trace(tmp_path, FULL)
    assert read_trace(tmp_path) == FULL


def test_old_readers_find_their_keys_first(tmp_path):
    """The file is a plain mapping that begins with the four keys of emloop 0.2, moments naive."""
    write_trace(tmp_path, FULL)
    content = yaml.safe_load((tmp_path / "trace.yaml").read_text())
    assert list(content)[:5] == ["train_begin", "train_end", "epochs_done", "exit_status", "timezone"]
    assert content["train_begin"] == FULL.train_begin
    assert content["timezone"] == "+01:00"
    assert set(content) == {*vars(FULL)} - {"problem"}


def test_an_unfinished_trace_has_nulls(tmp_path):
    """What has not happened yet is null, as in emloop 0.2."""
    write_trace(tmp_path, Trace(status="running"))
    content = yaml.safe_load((tmp_path / "trace.yaml").read_text())
    assert [content[key] for key in ("train_begin", "train_end", "epochs_done", "exit_status")] == [None, None, 0, None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "!!omap\n- train_begin: 2026-11-22 05:46:33.012578\n- train_end:\n- epochs_done: 0\n- exit_status:\n",
            Trace(train_begin=datetime(2026, 11, 22, 5, 46, 33, 12578), status="running"),
            id="begun",
        ),
        pytest.param(
            "!!omap\n- train_begin: 2020-01-01 00:00:00\n- train_end: 2020-01-01 00:10:00\n"
            "- epochs_done: 7\n- exit_status: 0\n",
            Trace(datetime(2020, 1, 1), datetime(2020, 1, 1, 0, 10), 7, 0, status="done"),
            id="done",
        ),
        pytest.param(
            "!!omap\n- train_end: 2020-01-01 00:10:00\n- exit_status: 1\n",
            Trace(train_end=datetime(2020, 1, 1, 0, 10), exit_status=1, status="failed"),
            id="failed",
        ),
        pytest.param("epochs_done: 8\n", Trace(epochs_done=8, status="unknown"), id="epochs-only"),
        pytest.param("epochs_done:\n", Trace(), id="null-epochs"),
    ],
)
def test_traces_of_emloop_02_are_read(tmp_path, text, expected):
    """Ordered maps, plain mappings and parts of them are understood, their status worked out."""
    write(tmp_path, text)
    assert read_trace(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "is damaged: it is not a mapping", id="empty"),
        pytest.param("- 1\n- 2\n", "is damaged: it is not a mapping", id="list"),
        pytest.param("train_begin: 2026-11-22 05:4", None, id="torn-value"),
        pytest.param("train_begin: [", "is damaged: ", id="torn-syntax"),
        pytest.param(b"\xff\xfe\x00\x01", "is damaged: ", id="binary"),
        pytest.param("[" * 100_000, "is damaged: ", id="bomb"),
        pytest.param("!!python/object/apply:os.system [exit]", "is damaged: ", id="foreign-tag"),
        pytest.param("train_begin: 2026-99-99 00:00:00", None, id="no-date"),
        pytest.param("status: [done]\nepochs_done: many\nstreams: 3\npid: true\ntimezone: 1", None, id="wrong-types"),
        pytest.param("train_begin: 0001-01-01 00:00:00\ntrain_end: 9999-12-31 23:59:59", None, id="ends-of-time"),
        pytest.param("train_begin: 2026-01-01T00:00:00Z\ntimezone: +25:00", None, id="no-offset"),
    ],
)
def test_a_damaged_trace_says_what_is_wrong(tmp_path, text, problem):
    """A reader is never stopped by a trace."""
    write(tmp_path, text)
    trace = read_trace(tmp_path)
    if problem is not None:
        assert trace.status == "unknown"
        assert trace.problem.startswith(problem)
    assert trace.epochs_done == 0
    assert trace.begin is None or trace.begin.tzinfo is not None


def test_a_missing_trace_is_unknown(tmp_path):
    """No trace: no status, for which something else must be asked."""
    assert read_trace(tmp_path) == Trace(problem="missing")
    assert read_trace(tmp_path / "nowhere") == Trace(problem="missing")
    assert read_trace(tmp_path / "nowhere").status == "unknown"


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_reading_never_raises(tmp_path_factory, content):
    """Whatever stands in the file, reading it gives a trace."""
    directory = tmp_path_factory.mktemp("run")
    write(directory, content)
    trace = read_trace(directory)
    assert isinstance(trace, Trace)
    assert effective_status(directory, trace) == ("lost" if trace.status == "running" else trace.status)


def test_a_trace_of_any_prefix_is_harmless(tmp_path):
    """A copy that was cut off anywhere is read without an error."""
    write_trace(tmp_path, FULL)
    content = (tmp_path / "trace.yaml").read_bytes()
    for length in range(len(content)):
        write(tmp_path, content[:length])
        assert read_trace(tmp_path).status in ("unknown", "stopped", "failed", "running")


def test_moments_are_local_and_naive_and_know_their_offset(tmp_path, zone):
    """A reader in another time zone, or after the clocks have changed, computes the right times."""
    zone("Europe/Prague")
    write_trace(tmp_path, FULL)
    assert FULL.end - FULL.begin == timedelta(hours=4, minutes=29, seconds=58.75)
    zone("Asia/Tokyo")
    assert read_trace(tmp_path).begin == FULL.begin
    old = replace(FULL, timezone=None)
    assert old.begin - FULL.begin == timedelta(hours=-8)


def test_now_is_told_in_local_time_or_in_the_offset_of_the_trace(zone):
    """A run's end is told in the offset of its begin."""
    zone("Asia/Kolkata")
    assert local_timezone() == "+05:30"
    assert abs(local_now() - datetime.now()) < timedelta(seconds=5)
    assert abs(local_now("-02:00") + timedelta(hours=7.5) - datetime.now()) < timedelta(seconds=5)
    assert local_now().tzinfo is None


@pytest.mark.parametrize(
    ("written", "held", "effective"),
    [
        ("running", True, "running"),
        ("running", False, "lost"),
        ("done", False, "done"),
        ("failed", False, "failed"),
        ("stopped", False, "stopped"),
        ("stopped", True, "running"),
        ("unknown", False, "unknown"),
    ],
)
def test_only_a_held_lock_means_running(tmp_path, written, held, effective):
    """A killed run shows as lost, never as running."""
    lock = RunLock(tmp_path)
    if held:
        lock.acquire()
    assert effective_status(tmp_path, Trace(status=written)) == effective
    lock.release()


def test_a_lock_that_cannot_be_asked_leaves_the_trace(tmp_path):
    """Where the lock cannot be read, a claim to run is neither believed nor denied."""
    (tmp_path / ".lock").symlink_to(tmp_path / "other")
    (tmp_path / "other").touch()
    assert effective_status(tmp_path, Trace(status="running")) == "unknown"
    assert effective_status(tmp_path, Trace(status="done")) == "done"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_reading_needs_no_right_to_write(tmp_path):
    """A run on a read-only share can be listed."""
    write_trace(tmp_path, FULL)
    tmp_path.chmod(0o500)
    assert read_trace(tmp_path) == FULL


def test_a_reader_never_sees_a_part(tmp_path):
    """While a run replaces its trace again and again, every reader gets a whole one."""
    write_trace(tmp_path, FULL)
    program = (
        "import sys\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from emloop._run_dir.trace import read_trace, write_trace\n"
        "directory = Path(sys.argv[1])\ntrace = read_trace(directory)\n"
        "for epoch in range(100): write_trace(directory, replace(trace, epochs_done=epoch))\n"
    )
    seen = set()
    with subprocess.Popen([sys.executable, "-c", program, tmp_path]) as writer:
        while writer.poll() is None:
            trace = read_trace(tmp_path)
            assert replace(trace, epochs_done=12) == FULL
            seen.add(trace.epochs_done)
    assert writer.returncode == 0
    assert len(seen) > 2
