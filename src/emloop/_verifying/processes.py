"""Trainings in processes of their own: untouched, or killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from emloop._ranks.joining import scenes
from emloop._state.commit import Commit, list_commits
from emloop.constants import EL_CHECKPOINTS_DIR, EXIT_DONE
from emloop.errors import EmloopError

from .comparing import place_of

__all__ = ["Kill", "OutOfTimeError", "Processes", "instants"]

_PACE = 0.003  # seconds between two looks at a process
_PATIENCE = 600.0
"""Seconds within which all end once one is killed: more than they give one another to answer."""
_TAIL = 15
"""Lines that are shown of what a failed process has said."""


class OutOfTimeError(Exception):
    """The time that was given is over."""


class Processes:
    """Starts ``emloop`` in the environment of this process, as a group of its own that ends with the verification.

    Args:
        scratch: Where their outputs go.
        until: When all of them have to have ended, on the monotonic clock; ``None`` for no limit.
        count: How many run a command together.
        seed: Decides which of them is killed.
    """

    def __init__(self, scratch: Path, until: float | None, count: int, seed: int) -> None:
        self._output = scratch / "output.txt"
        self._until, self._count = until, count
        self._random = Random(seed)

    def check_time(self) -> None:
        """
        Raises:
            OutOfTimeError: If the time is over.
        """
        if self._until is not None and monotonic() >= self._until:
            raise OutOfTimeError

    def run(self, words: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            EmloopError: If it fails; with the last lines of what it said.
            OutOfTimeError: If the time is over.
        """
        with self._started(words) as started:
            self._wait_for_all(started)
        if failed := [process.returncode for process in started if process.returncode != EXIT_DONE]:
            raise self._failure(words, failed[0])

    def kill(self, words: Sequence[str], run: Path, commit: int, seconds: float) -> Kill | None:
        """Start a command and kill it some time after it has made a commit.

        Args:
            words: The command.
            run: Its run directory.
            commit: Number of the commit.
            seconds: How long after that commit.

        Returns:
            Where it was killed; ``None`` if it ended before.

        Raises:
            EmloopError: If it fails by itself, if a commit that was there is there no more, or if the other processes
                do not end.
            OutOfTimeError: If the time is over.
        """
        checkpoints, reached = run / EL_CHECKPOINTS_DIR, None
        with self._started(words) as started:
            process = self._random.choice(started)
            while process.poll() is None:
                self.check_time()
                if reached is None and _newest(checkpoints) >= commit:
                    reached = monotonic()
                if reached is not None and monotonic() - reached >= seconds:
                    break
                _wait(process, _PACE)
            acknowledged = _newest(checkpoints)
            process.kill()
            self._wait_for_all(started, monotonic() + _PATIENCE)
        if process.returncode != -signal.SIGKILL:
            if process.returncode != EXIT_DONE:
                raise self._failure(words, process.returncode)
            return None
        commits = list_commits(checkpoints)
        newest: Commit | None = commits[0] if commits else None
        if newest is None or newest.seq < acknowledged:
            raise EmloopError(f"commit {acknowledged} was made before the process was killed, and is damaged after it")
        writing = any(path.name.startswith(".tmp-") for path in checkpoints.iterdir())
        return Kill(newest.seq, place_of(newest), writing)

    def _wait_for_all(self, started: Sequence[subprocess.Popen[bytes]], until: float = inf) -> None:
        for rank, process in enumerate(started):
            while process.poll() is None:
                self.check_time()
                if monotonic() >= until:
                    raise EmloopError(f"rank {rank} has not ended {_PATIENCE:.0f} s after another one was killed")
                _wait(process, 0.05)

    @contextmanager
    def _started(self, words: Sequence[str]) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
        # Nothing of the working directory can take the place of emloop or of the standard library.
        command = [sys.executable, "-P", "-m", "emloop", *words]
        env, started = {"PYTHONHASHSEED": "0", **os.environ}, []
        with self._output.open("wb") as output, ExitStack() as ends:
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            for scene in scenes(self._count):
                process = subprocess.Popen(command, **streams, env={**env, **scene}, start_new_session=True)
                ends.callback(_end, process)
                started.append(process)
            yield started

    def _failure(self, words: Sequence[str], code: int) -> EmloopError:
        lines = self._output.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        return EmloopError("\n  ".join([f"`emloop {words[0]}` {ended}:", *lines]))


@dataclass(frozen=True)
class Kill:
    """Where a process was killed.

    Args:
        commit: Number of its last commit.
        place: What that followed.
        writing: Whether another one was being written.
    """

    commit: int
    place: str
    writing: bool

    def text(self) -> str:
        """All of it in words."""
        return f"after {self.place}{', while a commit was written' if self.writing else ''}"


def instants(commits: int, kills: int, seconds: float, seed: int) -> list[tuple[int, float]]:
    """When to kill: after which commit, and how long after it.

    Args:
        commits: Commits of the untouched run.
        kills: How many; fewer if there are not enough commits. The last third of them is left out.
        seconds: From one commit to the next, about.
        seed: Decides.
    """
    random = Random(seed)
    # A process is killed a little later than it is meant to be, and the last one is to be killed as well.
    numbers = range(1, 1 + max(2 * commits // 3, 1))
    return [
        (number, random.uniform(0, 2 * seconds)) for number in sorted(random.sample(numbers, min(kills, len(numbers))))
    ]


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _newest(checkpoints: Path) -> int:
    """Number of the newest commit, by its name alone; 0 if there is none."""
    try:
        return max((int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()), default=0)
    except FileNotFoundError:
        return 0
