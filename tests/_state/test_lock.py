"""One process at a time works on a run; whoever comes second learns who; and a dead process is never in the way."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from emloop._state.lock import RunLock, holder, is_held
from emloop.errors import RunDirError, RunLockedError

HOLD = """
import os, sys
from pathlib import Path
from emloop._state.lock import RunLock
RunLock(Path(sys.argv[1])).acquire(attempt=3)
worker = os.fork() if "worker" in sys.argv else 1
if worker:
    print(worker, flush=True)
sys.stdin.read()
"""

ASK = """
import sys
from pathlib import Path
from emloop._state.lock import is_held
print(is_held(Path(sys.argv[1])))
"""


@contextmanager
def process_holding(directory, *arguments):
    """Another process that holds the lock of a directory until it is killed; gives it, and its worker's id."""
    command = [sys.executable, "-c", HOLD, str(directory), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def held_for_another_process(directory):
    done = subprocess.run([sys.executable, "-c", ASK, directory], capture_output=True, text=True, check=True)
    return {"True\n": True, "False\n": False}[done.stdout]


@pytest.fixture
def locked(tmp_path):
    """A directory whose lock this process holds."""
    lock = RunLock(tmp_path)
    lock.acquire(attempt=1)
    yield tmp_path
    lock.release()


def test_the_second_process_is_refused_at_once_and_told_who_is_first(tmp_path):
    """Process, machine, since when, which attempt."""
    with process_holding(tmp_path) as (process, _):
        assert is_held(tmp_path)
        started = time.monotonic()
        with pytest.raises(RunLockedError) as caught:
            RunLock(tmp_path).acquire()

        assert time.monotonic() - started < 1
        assert re.fullmatch(
            rf"{tmp_path}: another process works on it: process {process.pid} on {re.escape(socket.gethostname())} "
            r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 attempt 3; wait for it to end, or stop it",
            str(caught.value),
        )
        # The refused attempt must not have harmed the lock.
        assert is_held(tmp_path)


def test_a_killed_process_is_not_in_the_way(tmp_path):
    """The lock is free the moment it is dead, whatever it left lying."""
    with process_holding(tmp_path) as (process, _):
        process.kill()
        process.wait()

        assert not is_held(tmp_path)
        assert holder(tmp_path)["pid"] == process.pid
        lock = RunLock(tmp_path)
        lock.acquire()
        assert holder(tmp_path)["pid"] == os.getpid()
        lock.release()


def test_an_orphaned_worker_is_not_in_the_way(tmp_path):
    """A data loader's process that outlives its killed parent does not hold the run."""
    with process_holding(tmp_path, "worker") as (process, worker):
        process.kill()
        # The orphan keeps the pipe open, so this waits for the parent alone.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        try:
            os.kill(worker, 0)
            assert not is_held(tmp_path)
            lock = RunLock(tmp_path)
            lock.acquire()
            lock.release()
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_process_knows_what_it_holds_itself_and_asking_does_not_lose_it(locked):
    """Opening and closing the lock file here would release it, so it is not even opened."""
    for _ in range(2):
        assert is_held(locked)
        with pytest.raises(RunLockedError, match=rf"process {os.getpid()} on .* attempt 1; "):
            RunLock(locked).acquire()
    assert held_for_another_process(locked)


def test_a_run_is_the_same_run_by_every_path(locked, monkeypatch):
    """Links and relative paths lead to the same lock."""
    (locked / "link").symlink_to(locked)
    monkeypatch.chdir(locked)

    assert is_held(locked / "link")
    assert is_held(".")
    with pytest.raises(RunLockedError):
        RunLock(locked / "link" / "link").acquire()
    assert held_for_another_process(locked)


def test_a_forked_worker_does_not_take_its_parent_s_lock_for_its_own(locked):
    """It sees the run as held, cannot take it, and cannot give it back."""
    before = (locked / "holder.json").read_bytes()
    inherited = RunLock(locked / "other")
    (locked / "other").mkdir()
    inherited.acquire()
    with warnings.catch_warnings():
        # Other tests' threads are no danger to a child that asks for a lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        status = 1
        try:
            assert is_held(locked)
            with pytest.raises(RunLockedError):
                RunLock(locked).acquire()
            inherited.release()
            status = 0
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert (locked / "holder.json").read_bytes() == before
    assert held_for_another_process(locked)
    assert held_for_another_process(locked / "other")
    assert holder(locked / "other") is not None
    inherited.release()


def test_a_lock_can_be_given_back_and_taken_again(tmp_path):
    """The file stays, because deleting it could let two processes in; who held it is forgotten."""
    lock = RunLock(tmp_path)
    for _ in range(3):
        lock.acquire()
        assert held_for_another_process(tmp_path)
        lock.release()
        lock.release()
        assert not is_held(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        assert holder(tmp_path) is None


def test_of_many_threads_one_gets_the_lock(tmp_path):
    """However they come together."""
    winners, losers, together = [], [], threading.Barrier(8)

    def attempt():
        lock = RunLock(tmp_path)
        together.wait()
        try:
            lock.acquire()
            winners.append(lock)
        except RunLockedError as error:
            losers.append(error)
        is_held(tmp_path)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(winners), len(losers)) == (1, 7)
    assert held_for_another_process(tmp_path)
    winners[0].release()


def test_who_holds_the_run_is_written_down(locked):
    """For people and programs; the time is the world's, the machine's start is there where it has an identity."""
    found = holder(locked)

    assert found.keys() == {"pid", "host", "boot_id", "attempt", "since"}
    assert (found["pid"], found["host"], found["attempt"]) == (os.getpid(), socket.gethostname(), 1)
    assert abs(datetime.fromisoformat(found["since"]) - datetime.now(UTC)) < timedelta(minutes=1)
    if sys.platform == "linux":
        assert re.fullmatch(r"[0-9a-f-]{36}", found["boot_id"])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"{" + b" " * 100_000 + b"}"])
def test_a_holder_that_cannot_be_read_is_nobody(tmp_path, content):
    """Torn or strange: the lock alone decides, and readers do not fail."""
    (tmp_path / "holder.json").write_bytes(content)

    assert holder(tmp_path) is None


def test_a_holder_that_is_a_pipe_or_a_link_is_nobody(tmp_path):
    """A reader does not wait for it, and is not led elsewhere."""
    os.mkfifo(tmp_path / "holder.json")
    assert holder(tmp_path) is None
    (tmp_path / "holder.json").unlink()
    (tmp_path / "real").write_text("{}")
    (tmp_path / "holder.json").symlink_to("real")
    assert holder(tmp_path) is None


def test_a_stranger_s_holder_cannot_write_to_the_terminal(locked):
    """What another wrote into the file is shown as text."""
    (locked / "holder.json").write_text(json.dumps({"pid": "\x1b[2J", "host": "a\nb"}))

    with pytest.raises(RunLockedError) as caught:
        RunLock(locked).acquire()

    assert str(caught.value) == (
        rf"{locked}: another process works on it: process \x1b[2J on a\nb; wait for it to end, or stop it"
    )


def test_what_was_never_locked_is_not_held(tmp_path):
    """Nor is what is not there, or no directory; and asking creates nothing."""
    (tmp_path / "file").write_text("")

    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "missing")
    assert not is_held(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_asking_needs_no_right_to_write(tmp_path, monkeypatch):
    """Anybody may list another's runs."""
    open_file = os.open

    def reading_only(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return open_file(path, flags, *args, **kwargs)

    with process_holding(tmp_path) as (process, _):
        monkeypatch.setattr(os, "open", reading_only)
        assert is_held(tmp_path)
        assert holder(tmp_path)["pid"] == process.pid


@pytest.mark.parametrize("target", ["missing", "there"])
def test_a_lock_that_is_a_link_is_refused(tmp_path, target):
    """It could lead the lock, and its creation, elsewhere."""
    (tmp_path / "there").write_text("")
    (tmp_path / ".lock").symlink_to(tmp_path / target)

    with pytest.raises(RunDirError, match="cannot be locked: "):
        RunLock(tmp_path).acquire()
    if target == "there":
        with pytest.raises(RunDirError, match="cannot tell whether a process works on it: "):
            is_held(tmp_path)
    assert not (tmp_path / "missing").exists()


def test_a_directory_that_cannot_be_locked_is_an_error(tmp_path, monkeypatch):
    """Missing; on a file system without locks; on a full disk. The lock is not kept, and nothing stays open."""
    with pytest.raises(RunDirError, match=r"missing: cannot be locked: .*No such file"):
        RunLock(tmp_path / "missing").acquire()

    def no_space(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        with pytest.raises(RunDirError, match=r"cannot be written to: .*No space left on device"):
            RunLock(tmp_path).acquire()
    assert not is_held(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]

    def no_locks(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with pytest.raises(RunDirError, match=r"its file system does not support locks: .*No locks available"):
        RunLock(tmp_path).acquire()
    assert not is_held(tmp_path)


@pytest.mark.parametrize("module", ["_state.lock", "_state.manifest", "_run_dir.append", "_support.files"])
def test_listing_runs_does_not_load_numpy(module):
    """So that it takes no time."""
    program = f"import sys, emloop.{module}; sys.exit('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
