"""A fault at any call with which a run reaches the disk: nothing committed is lost, and a resume ends as if untouched.

The calls of one training are numbered; at the n-th, the process is killed, killed in the middle of a write, or told
that the disk is full or broken. Then the same command line goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from dataclasses import dataclass

import pytest

from emloop._state.commit import newest_commit

from .conftest import CONFIG, MODULE, SAVING, saved_result

FAULTY = """
import errno
import functools
import os
import signal
import sys

at, mode, root, note, *words = sys.argv[1:]
at, count, paths = int(at), 0, {}
FIRST = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "statvfs")
BY_NUMBER = ("write", "fsync", "close", "ftruncate")


def place(name, arguments, keywords):
    if name in BY_NUMBER:
        return paths.get(arguments[0], "")
    path = os.fsdecode(arguments[0])
    return os.path.join(paths.get(keywords.get("dir_fd"), os.getcwd()), path)


def call(name, function, *arguments, **keywords):
    global count
    path = place(name, arguments, keywords)
    if path.startswith(root):
        count += 1
        if count == at:
            with real_open(note, "w") as file:
                file.write(f"{name} {path}")
            return happen(name, function, *arguments, **keywords)
    result = function(*arguments, **keywords)
    if name == "open":
        paths[result] = path
    elif name == "close":
        paths.pop(arguments[0], None)
    return result


def happen(name, function, *arguments, **keywords):
    if mode in ("kill", "short"):
        if mode == "short" and name == "write":
            function(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "close":
        function(*arguments)
    number = getattr(errno, mode)
    raise OSError(number, os.strerror(number), *([place(name, arguments, keywords)] if name not in BY_NUMBER else []))


from emloop.cli.app import main
import emloop.api, emloop.hooks.write_csv, emloop.hooks.compute_stats, emloop.hooks.save, emloop.saved_models

real_open = open
for name in (*FIRST, *BY_NUMBER):
    setattr(os, name, functools.partial(call, name, getattr(os, name)))
code = main(words)
if not at:
    with real_open(note, "w") as file:
        file.write(str(count))
sys.exit(code)
"""

MODES = ("kill", "short", "ENOSPC", "EIO")
COMMAND = ("train", "config.yaml", "-o", ".", "--output_dir", "run", "--auto-resume")


@dataclass
class Faulty:
    """A project in which a training can be made to fail."""

    path: object
    processes: object

    def run(self, at, mode):
        """Train, with a fault at a call; returns exit code, output, and which call it was, or their number."""
        note = self.path / "note"
        note.unlink(missing_ok=True)
        done = self.processes.run(
            [sys.executable, "-c", FAULTY, str(at), mode, str(self.path / "run"), str(note), *COMMAND],
            cwd=self.path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr, note.read_text() if note.exists() else None

    def emloop(self, *words):
        """Run another command."""
        command = [sys.executable, "-m", "emloop", "-o", ".", *words]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.processes.run(command, cwd=self.path, env=env, capture_output=True, check=True)

    def result(self):
        """What must not depend on faults."""
        return saved_result(self.path / "run")

    def committed(self):
        """Number of the newest commit; 0 without one."""
        commit, _ = newest_commit(self.path / "run" / "checkpoints", set_aside=False)
        return commit.seq if commit else 0

    def leftovers(self):
        """What should have been removed."""
        return [path for path in (self.path / "run").rglob(".*") if path.name.startswith((".tmp-", ".del-"))]

    def clear(self):
        """Begin anew."""
        shutil.rmtree(self.path / "run", ignore_errors=True)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, processes):
    """The project."""
    path = tmp_path_factory.mktemp("faulty")
    (path / "toy.py").write_text(MODULE + SAVING)
    (path / "config.yaml").write_text(CONFIG.replace("toy.Stateful", "toy.Saving"))
    return Faulty(path, processes)


@pytest.fixture(scope="module")
def untouched(faulty):
    """The number of calls of an untouched training, and its result."""
    faulty.clear()
    code, said, count = faulty.run(0, "none")
    assert code == 0, said
    return int(count), faulty.result()


def hold(faulty, untouched, at, mode):
    """Let a fault happen, go on, and compare."""
    faulty.clear()
    code, said, fired = faulty.run(at, mode)
    assert fired, f"there is no call {at}"
    before = faulty.committed()
    if mode in ("kill", "short"):
        assert code == -signal.SIGKILL
    else:
        assert code in (0, 1), said
        assert "Traceback" not in said, f"{fired}: {said}"
        if code:
            assert os.strerror(getattr(errno, mode)) in said, f"{fired}: {said}"

    code, said, _ = faulty.run(-1, "none")

    assert code == 0, f"after {mode} at {fired}: {said}"
    assert faulty.committed() >= before
    assert faulty.result() == untouched[1], f"after {mode} at {fired}"
    if "is finished" in said:  # and so nothing was written
        faulty.emloop("doctor", "run", "--fix")
    assert faulty.leftovers() == [], f"after {mode} at {fired}"


EVERY = 10
"""Of so many calls, one is tried every day."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_some_calls_costs_nothing(faulty, untouched, mode):
    """A sample of all calls, another one in each mode."""
    points = range(1 + MODES.index(mode), untouched[0] + 1, EVERY * len(MODES))
    assert len(points) > 10
    for at in points:
        hold(faulty, untouched, at, mode)


@pytest.mark.torture
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_any_call_costs_nothing(faulty, untouched, mode):
    """Every call in every mode; all that goes wrong is told together."""
    failures = []
    for at in range(1, untouched[0] + 1):
        try:
            hold(faulty, untouched, at, mode)
        except AssertionError as error:
            failures.append(f"{at}: {error}")
    assert not failures, "\n\n".join(failures)
