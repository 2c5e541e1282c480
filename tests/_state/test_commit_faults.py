"""Whatever fails, and whenever the process dies: older checkpoints stay, and no half of one is ever taken for whole."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

from emloop._state import commit as commit_module
from emloop._state.array_file import file_parts
from emloop._state.commit import list_commits, newest_commit, write_commit
from emloop._state.manifest import MANIFEST, FileRecord, render_manifest
from emloop._state.retention import clean_leftovers, delete_commits
from emloop._support import files
from emloop.errors import CheckpointError

TOUCHING = ("open", "write", "fsync", "close", "mkdir", "rename", "statvfs")
"""The functions of ``os`` through which a checkpoint gets onto the disk."""


class Calls:
    """Stands between the code and the disk: lets something happen at the n-th call, or records all of them.

    Args:
        at: Which call, from 1; 0 for none.
        happen: Called there with the function's name, the function and its arguments; what it returns is returned.
        persistent: Whether it happens at all later calls as well.
    """

    def __init__(self, at=0, happen=None, *, persistent=False):
        self.at, self.happen, self.persistent = at, happen, persistent
        self.count = self.fired = 0
        self.seen = []
        self._paths = {}

    @contextlib.contextmanager
    def watched(self):
        """Stand there for the duration of the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in TOUCHING:
                patch.setattr(os, name, functools.partial(self._call, name, getattr(os, name)))
            yield self

    def _call(self, name, function, *args, **kwargs):
        self.count += 1
        if self.at and (self.count == self.at or (self.persistent and self.count > self.at)):
            self.fired += 1
            return self.happen(name, function, *args, **kwargs)
        result = function(*args, **kwargs)
        self._record(name, args, result)
        return result

    def _record(self, name, args, result):
        if name == "open":
            self._paths[result] = Path(args[0])
            created = "create" if args[1] & os.O_CREAT else "look"
            self.seen.append((created, self._paths[result]))
        elif name in ("write", "fsync"):
            self.seen.append((name, self._paths[args[0]]))
        elif name == "rename":
            self.seen.append((name, Path(args[0]), Path(args[1])))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def newest(checkpoints):
    """Number of the newest good checkpoint, after looking into all its files; nothing may lie there that is bad."""
    found, rejected = newest_commit(checkpoints, set_aside=False)
    assert rejected == []
    if found is None:
        return 0
    assert np.all(found.load("model")["weights"] == found.seq)
    return found.seq


# The order of calls


def complaints(seen, final):
    """What is wrong with the order in which a checkpoint was written; empty if nothing is."""
    (rename,) = [index for index, call in enumerate(seen) if call[0] == "rename" and call[2] == final]
    temporary = seen[rename][1]
    before, after = seen[:rename], seen[rename:]
    written = [call[1] for call in before if call[0] == "create"]
    wrong = []
    if written[-1].name != MANIFEST:
        wrong.append("the manifest is not the last file")
    for path in written:
        calls = [call[0] for call in before if call[1] == path]
        if calls[-1] != "fsync":
            wrong.append(f"{path.name} is not synced")
    if ("fsync", temporary) not in before[before.index(("create", written[-1])) :]:
        wrong.append("the names of the files are not synced")
    if ("fsync", final.parent) not in after:
        wrong.append("the name of the checkpoint is not synced")
    return wrong


def test_everything_is_synced_in_the_order_that_makes_it_safe(checkpoints, commit):
    """Files, then the manifest, then their names, then the rename, then its name: what power cuts would tell."""
    commit(1)
    with Calls().watched() as calls:
        commit(2)

    assert complaints(calls.seen, checkpoints / "00000002") == []


def without_data_sync(monkeypatch):
    monkeypatch.setattr(files, "sync", lambda descriptor: None)


def without_directory_sync(monkeypatch):
    monkeypatch.setattr(commit_module, "fsync_dir", lambda path: None)


def with_manifest_first(monkeypatch):
    def write(final, contents, header, _rows):
        temporary = final.with_name(".tmp-planted")
        temporary.mkdir()
        contents = {n: c if isinstance(c, bytes) else b"".join(file_parts(c)) for n, c in contents.items()}
        records = {name: FileRecord(name, len(content), "0" * 64) for name, content in contents.items()}
        for name, content in {MANIFEST: render_manifest(header, records.values()), **contents}.items():
            files.write_new(temporary / name, [content])
        files.fsync_dir(temporary)
        temporary.rename(final)
        files.fsync_dir(final.parent)
        return records

    monkeypatch.setattr(commit_module, "_write", write)


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (without_data_sync, "state.json is not synced"),
        (without_directory_sync, "the names of the files are not synced"),
        (without_directory_sync, "the name of the checkpoint is not synced"),
        (with_manifest_first, "the manifest is not the last file"),
    ],
)
def test_a_planted_mistake_is_found(checkpoints, commit, monkeypatch, plant, found):
    """The check above can fail: each of these would lose a run in a power cut."""
    plant(monkeypatch)
    with Calls().watched() as calls:
        commit(1)

    assert found in complaints(calls.seen, checkpoints / "00000001")


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("strace") is None, reason="needs strace")
def test_the_kernel_sees_the_same_order(tmp_path):
    """No library in between writes behind our back: every file created is synced before the rename."""
    program = (
        "import numpy, pathlib; from emloop._state.commit import write_commit; "
        f"write_commit(pathlib.Path({str(tmp_path)!r}) / 'checkpoints', 1, {{'model': numpy.ones(9)}}, {{}})"
    )
    log = tmp_path / "log"
    command = ["strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=openat,fsync,rename,renameat,renameat2", "--"]
    done = subprocess.run([*command, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip(f"strace is not allowed to trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    lines = [line for line in log.read_text().splitlines() if str(tmp_path / "checkpoints") in line]

    rename = next(index for index, line in enumerate(lines) if " rename" in line)
    created = [line for line in lines[:rename] if "O_CREAT" in line]
    synced = [line for line in lines[:rename] if " fsync(" in line]
    assert all("O_EXCL" in line and "O_NOFOLLOW" in line for line in created)
    assert [line.split('"')[1] for line in created] == [line.split("<")[1].split(">")[0] for line in synced[:-1]]
    assert [Path(line.split('"')[1]).name for line in created] == ["state.json", "state.safetensors", "manifest.json"]
    assert "fsync" in lines[-1]
    assert f"<{tmp_path / 'checkpoints'}>" in lines[-1]


# Errors


def failing(error):
    """What happens instead of a call: nothing but the error; but the descriptor is closed, as the system does."""

    def happen(name, function, *args, **kwargs):
        if name == "close":
            function(*args, **kwargs)
        raise OSError(error, os.strerror(error))

    return happen


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from-then-on"])
def test_an_error_at_any_call_fails_the_commit_and_nothing_else(checkpoints, commit, error, persistent):
    """Every single call on the way is made to fail: the cause is named, and so is what one can fall back on."""
    commit(1)
    points = 0
    for at in itertools.count(1):
        with Calls(at, failing(error), persistent=persistent).watched() as calls:
            try:
                commit(2)
            except CheckpointError as caught:
                message = str(caught)
            else:
                break
        points += 1
        assert calls.fired >= 1
        assert os.strerror(error) in message
        assert f"{checkpoints / '00000002'}: could not be written: " in message
        # Where nothing works any more, what was complete just before the last sync may have to stay.
        if newest(checkpoints) == 2:
            assert persistent
            shutil.rmtree(checkpoints / "00000002")
        else:
            assert message.endswith("; the newest checkpoint is 00000001")
        if not persistent:
            assert names(checkpoints) == ["00000001"]
        clean_leftovers(checkpoints)
        assert names(checkpoints) == ["00000001"]

    assert calls.fired == 0
    assert points == calls.count
    assert points > 20


def test_a_failed_sync_is_never_tried_again(checkpoints, commit):
    """After it the kernel may have dropped the data, and would call the second try a success."""
    commit(1)
    fsync = os.fsync
    for failed in itertools.count(1):
        synced = []

        def failing_sync(descriptor, synced=synced, failed=failed):
            synced.append(descriptor)
            if len(synced) == failed:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(descriptor)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", failing_sync)
            try:
                commit(2)
            except CheckpointError:
                assert len(synced) == failed
                assert newest(checkpoints) == 1
            else:
                break

    assert failed == 6  # three files, their names, the name of the checkpoint; the sixth there is not
    assert newest(checkpoints) == 2


def test_short_writes_are_continued(checkpoints, commit):
    """The system may take less than it is given."""
    write = os.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:100]))
        commit(1)

    assert newest(checkpoints) == 1


def test_an_interrupt_leaves_nothing_behind(checkpoints, commit):
    """Ctrl-C at any call: the interrupt goes on its way, the older checkpoint stays, nothing half-written does."""
    commit(1)

    def interrupt(name, function, *args, **kwargs):
        raise KeyboardInterrupt

    with Calls().watched() as calls:
        commit(2)
    shutil.rmtree(checkpoints / "00000002")
    for at in range(1, calls.count + 1):
        with Calls(at, interrupt).watched(), pytest.raises(KeyboardInterrupt):
            commit(2)
        assert names(checkpoints) == ["00000001"]


# Death


@contextlib.contextmanager
def child(work):
    """Run ``work(acknowledge)`` in a real process of its own; gives its id, and what it acknowledges as lines."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # NumPy's threads are no danger to a child that computes nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        status = 1
        try:
            os.close(reading)
            work(lambda seq: os.write(writing, f"{seq}\n".encode()))
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as lines:
        yield process, lines
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True], ids=["before", "in-the-middle"])
def test_a_kill_at_any_call_leaves_the_old_checkpoint_or_the_new_one(checkpoints, commit, torn):
    """Killed before every single call, and in the middle of every write."""
    commit(1)
    write = os.write
    outcomes = []
    for at in itertools.count(1):

        def die(name, function, *args, **kwargs):
            if torn and name == "write":
                write(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        def work(acknowledge, at=at, die=die):
            with Calls(at, die).watched():
                commit(2)
            acknowledge(2)

        with child(work) as (_, lines):
            acknowledged = [int(line) for line in lines]
        outcomes.append(newest(checkpoints))
        clean_leftovers(checkpoints)
        assert names(checkpoints) == ["00000001", "00000002"][: outcomes[-1]]
        if acknowledged:
            break
        shutil.rmtree(checkpoints / "00000002", ignore_errors=True)

    assert outcomes == sorted(outcomes)
    assert outcomes.count(1) > 15
    assert outcomes.count(2) > 1


@pytest.mark.slow
def test_no_acknowledged_checkpoint_is_lost_to_random_kills(checkpoints, state):
    """Forty kills at random instants, each process going on where the last one was killed.

    On a machine that is busy with other things, as many more as it takes to kill commits that are under way.
    """
    random_delay = random.Random(0)
    acknowledged = kills = interrupted = 0

    def work(acknowledge):
        clean_leftovers(checkpoints)
        found, rejected = newest_commit(checkpoints, set_aside=True)
        assert rejected == []
        for seq in itertools.count(found.seq + 1 if found else 1):
            write_commit(checkpoints, seq, state(seq), {})
            acknowledge(seq)
            delete_commits(list_commits(checkpoints)[2:])

    while kills < 40 or (kills < 1000 and (acknowledged <= 40 or interrupted <= 5)):
        with child(work) as (process, lines):
            killer = threading.Timer(random_delay.uniform(0, 0.06), os.kill, (process, signal.SIGKILL))
            killer.start()
            acknowledged = max([acknowledged, *map(int, lines)])
            killer.join()
        kills += 1
        interrupted += checkpoints.exists() and any(name.startswith((".tmp-", ".del-")) for name in names(checkpoints))
        assert newest(checkpoints) >= acknowledged

    assert acknowledged > 40
    assert interrupted > 5


@pytest.mark.slow
def test_a_reader_always_finds_a_whole_checkpoint(checkpoints, state, commit):
    """While another process writes checkpoints and deletes old ones as fast as it can."""
    commit(1)

    def work(acknowledge):
        for seq in range(2, 80):
            write_commit(checkpoints, seq, {"model": state(seq)["model"]}, {})
            delete_commits(list_commits(checkpoints)[2:])
            acknowledge(seq)

    with child(work) as (_, lines):
        seen = [newest_commit(checkpoints, set_aside=False) for _ in lines]

    assert all(rejected == [] for _, rejected in seen)
    assert [found.seq for found, _ in seen] == sorted(found.seq for found, _ in seen)
    assert newest(checkpoints) == 79
