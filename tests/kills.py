"""A training that is killed again and again, at random instants in each of its parts.

A process notes in a file what it is at (``MARKS``), so that a kill can be aimed, and where it fell is known afterwards.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import ClassVar

from emloop._state.commit import Commit, newest_commit

REACH = {"epoch": 0.03, "evaluation": 0.002, "commit": 0.004, "end": 0.004}
"""Part of a training → seconds within which a kill falls that is aimed at it; a commit is in progress wherever its
temporary directory is left behind."""

MARKS = '''
import os

import emloop as el


class Marks(el.AbstractHook):
    """Notes in a file what the process has come to."""

    stateless = True
    reads = writes = ()

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._file = os.open("place", os.O_WRONLY | os.O_CREAT)

    def after_batch(self, stream_name, batch_data):
        self._note("epoch" if stream_name == "train" else "evaluation")

    def after_training(self, success):
        self._note("end")

    def _note(self, place):
        os.pwrite(self._file, place.ljust(10).encode(), 0)
'''

ENDING = '''
import os
import signal

import emloop as el


class Stop(el.AbstractHook):
    """Ends the process after a batch, as STOP in the environment says: ``7 SIGKILL``."""

    stateless = True

    def __init__(self, **kwargs):
        super().__init__()
        self.batches = 0

    def after_batch(self, stream_name, batch_data):
        self.batches += stream_name == "train"
        number, way = os.environ.get("STOP", "0 none").split()
        if stream_name == "train" and self.batches == int(number):
            os.kill(os.getpid(), getattr(signal, way))
'''

ENDLESS = 99_999


@dataclass
class Killing:
    """Kills a project's training, and checks after every kill that nothing committed is lost.

    Args:
        project: Where its ``config.yaml`` lies.
        name: Of the run.
        words: Settings of the training.
        seed: Decides about the instants.
        reach: Where a kill may fall, besides the start-up.
    """

    noting: ClassVar[Sequence[str]] = ("hooks+=marks.Marks",)
    warming: ClassVar[Sequence[str]] = ("--dry-run", "1")

    project: object
    name: str
    words: tuple[str, ...] = ()
    seed: int = 0
    reach: dict[str, float] = field(default_factory=REACH.copy)
    fell: Counter[str] = field(default_factory=Counter)
    """Place → kills that fell there."""

    def __post_init__(self) -> None:
        (self.project.path / "marks.py").write_text(MARKS)
        self._place = self.project.path / "place"
        self._random = random.Random(self.seed)
        self._checkpoints = self.project.run(self.name) / "checkpoints"

    def commit(self) -> Commit | None:
        """The newest commit; nothing that has a commit's name may be damaged."""
        commit, damaged = newest_commit(self._checkpoints, set_aside=False)
        assert damaged == []
        return commit

    def run(self, kills: int) -> None:
        """Kill so many attempts, in every place at least one; then let one end, two epochs later."""
        # What one has imported that was not killed, the others need not.
        self.run_alone("train", "config.yaml", *self.warming)
        self._kill("commit", 0.0)
        birth = self._kill("epoch", 0.0)
        reach = {"start-up": birth, **self.reach}
        # A busy machine delays a kill past what it was aimed at; those that are left are for the places not yet hit.
        for _ in range(3 * kills):
            missing = [place for place in reach if not self.fell[place]]
            if not missing and self.fell.total() >= kills:
                break
            assert self.fell.total() < 2 * kills, self.fell
            place = self._random.choice([*reach] if 2 * self.fell.total() < kills else missing or [*reach])
            self._kill(place, self._random.uniform(0, reach[place]))
        else:
            raise AssertionError(self.fell)
        self.run_alone("resume", self.name, self.limit(2))

    def run_within_epochs(self, kills: int, seconds: float) -> None:
        """Kill so many attempts at random instants up to so many seconds after a batch was trained with."""
        while self.fell["epoch"] < kills:
            assert self.fell.total() < 3 * kills, self.fell
            self._kill("epoch", self._random.uniform(0, seconds))

    def run_alone(self, *words: str) -> None:
        """Run a command to its end."""
        self.project.emloop(*words)

    def start(self, *words: str) -> list[subprocess.Popen[str]]:
        """The processes of an attempt, each in a session of its own; the first one makes the commits."""
        return [self.project.start(*words, start_new_session=True)]

    def strike(self, processes: list[subprocess.Popen[str]], *, may_have_ended: bool) -> str | None:
        """Kill an attempt, and wait for its end; where that fell, unless it has ended before."""
        (process,) = processes
        process.kill()
        said = process.communicate()
        assert process.returncode == -9 or (may_have_ended and process.returncode == 0), said
        return self.at(process.pid) if process.returncode else None

    def limit(self, epochs: int) -> str:
        """The setting that ends the training so many epochs after the newest commit."""
        commit = self.commit()
        return f"main_loop.epochs_count={epochs + (0 if commit is None else commit.info['epoch'])}"

    def _kill(self, place: str, seconds: float) -> float:
        """Start an attempt and kill it some time after it has come to a place; return when it had come there.

        One that has ended before does not count.
        """
        before = self.commit()
        limit = self.limit(1 if place == "end" else ENDLESS)
        train = ("train", "config.yaml", "--output_dir", self.name, "--auto-resume", *self.words, *self.noting)
        self._place.write_bytes(b"")
        words = ("resume", self.name) if (self._checkpoints.parent / "config.yaml").exists() else train
        processes = self.start(*words, limit)
        first = processes[0]
        began = monotonic()
        while not (found := self._is_at(place, first.pid)) and first.poll() is None:
            wait_for_end(first, 0.0005)
        reached = monotonic() - began
        wait_for_end(first, seconds)
        fell = self.strike(processes, may_have_ended=place == "end")
        if fell is not None and found:
            self.fell[fell] += 1
            self._look(first.pid, before)
        for process in processes:
            require_none_left(process.pid)
        return reached

    def at(self, pid: int) -> str:
        """What the first process has come to."""
        return "commit" if self._is_at("commit", pid) else self._place.read_text().strip() or "start-up"

    def _look(self, pid: int, before: Commit | None) -> None:
        if before is not None:
            assert self.commit().seq >= before.seq
            starts = [attempt for attempt in self.project.attempts(self.name) if attempt["event"] == "start"]
            if starts[-1]["pid"] == pid:
                assert starts[-1]["commit"] == before.seq

    def _is_at(self, place: str, pid: int) -> bool:
        if place == "start-up":
            return True
        if place == "commit":
            return any(self._checkpoints.glob(f".tmp-*-{pid}-*"))
        return self._place.read_text().strip() == place


def in_session(session: int) -> list[int]:
    """Processes of a session that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def require_none_left(session: int) -> None:
    """No process of a session may outlive it for long."""
    began = monotonic()
    while sys.platform == "linux" and (orphans := in_session(session)):
        assert monotonic() - began < 5, f"{orphans} outlive the process that was killed"


def wait_for_end(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait for no longer than that."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
