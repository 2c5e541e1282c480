"""Build everything anew from every commit of an untouched run, run one batch, and compare what that commits.

If every commit leads to the one after it, every resume is exact, from wherever it starts and however often. Commits
are taken in no order, so that what the process itself remembers, such as a global variable of a module, is wrong as it
would be in a new one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from emloop._contracts import Stateful, declares_state
from emloop._state.commit import Commit, list_commits
from emloop._support.files import linking_copy
from emloop.api import EmloopTraining, resume_emloop_training
from emloop.constants import EL_ATTEMPTS_FILE, EL_CHECKPOINTS_DIR, EXIT_STOPPED
from emloop.errors import EmloopError

from .comparing import OWN_STATE, Difference, compare_commits, place_of
from .shortened import Shortened

__all__ = ["Steps"]

_DEEPEST = 3
_NOT_THEIRS = {"emloop", "builtins", "abc", "typing"}
_LARGE = 100_000
"""Numbers in an array that are looked at."""


class Steps:
    """The resumes from every commit of a run.

    Args:
        config: The configuration of the run.
        run: The run; it is left as it is.
        scratch: Where copies of it are made.
        seed: Decides in which order the commits are taken.
    """

    def __init__(self, config: Mapping[str, Any], run: Path, scratch: Path, seed: int) -> None:
        self._config = config
        self._run = run
        self._work = scratch / "step"
        self._commits = list_commits(run / EL_CHECKPOINTS_DIR)[::-1]
        self._by_seq = {commit.seq: commit for commit in self._commits}
        where = [commit.info["batch"] for commit in self._commits if commit.info["batch"] is not None]
        self._inside = {stream for stream, batches in where if batches}
        self._order = self._commits[:-1]
        Random(seed).shuffle(self._order)
        self.checked: list[int] = []
        """Commits from which a resume was exact."""
        self.failed = 0
        """Commit from which the first resume was not exact."""
        self.levels: dict[str, str] = {}
        """Training stream → how exactly it can be resumed."""
        self.not_exact: list[str] = []
        """Parts of the training that cannot be restored everywhere, in words."""
        self.device: str | None = None
        """Where the model computes, if it says so."""

    @property
    def total(self) -> int:
        """Number of commits to resume from."""
        return len(self._order)

    def check(self, progress: Callable[[int], None]) -> list[Difference]:
        """Resume from every commit.

        Args:
            progress: Called before every resume with the number of those done; may raise to stop here.

        Returns:
            What is different after the first batch that shows it.
        """
        first: tuple[Commit, list[Difference]] | None = None
        for number, commit in enumerate(self._order):
            progress(number)
            if first is not None and commit.seq > first[0].seq:
                continue
            differences = self._step(commit)
            if differences:
                first, self.failed = (commit, differences), commit.seq
            else:
                self.checked.append(commit.seq)
        return [] if first is None else first[1]

    def suspects(self, seq: int) -> list[str]:
        """What was remembered before a commit, and is not after it was restored, although no state holds it."""
        inside = [commit for commit in self._commits if (commit.info["batch"] or ("", 0))[1]]
        commit = next((commit for commit in inside if commit.seq >= seq), (inside or self._commits)[-1])
        live, restored = _Remembered(commit.load(OWN_STATE)["ran"]), _Remembered()
        self._resume(None, live)
        self._resume(commit, restored)
        found = [
            f"{name} is {_short(restored.values[name])} once restored, and {_short(value)} where the training went on"
            for name, value in live.values.items()
            if name in restored.values and not _same(value, restored.values[name])
        ]
        undeclared = [
            f"hook {name} does not say what it remembers: give it state_dict and load_state_dict"
            for name in restored.undeclared
        ]
        return [*found[:5], *undeclared]

    def _step(self, commit: Commit) -> list[Difference]:
        try:
            training = self._resume(commit)
        except EmloopError as error:
            return [Difference(f"the resume is refused: {error}", "resume", f"from {place_of(commit)}")]
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises is what a resume would end with
            return [
                Difference(
                    f"the resume ends with {type(error).__name__}: {error}", "resume", f"from {place_of(commit)}"
                )
            ]
        self._learn(training)
        found = {made.seq: made for made in list_commits(self._work / EL_CHECKPOINTS_DIR) if made.seq > commit.seq}
        if not found:
            return [Difference("the resume ended without a commit", "commit", f"from {place_of(commit)}")]
        for seq in sorted(found):
            if seq not in self._by_seq:
                return [
                    Difference("the resume went on where the untouched run had ended", "loop", place_of(found[seq]))
                ]
            differences = compare_commits(self._by_seq[seq], found[seq])
            if differences:
                where = f"resumed after {place_of(commit)}, it differs after {place_of(self._by_seq[seq])}"
                return [replace(difference, where=where) for difference in differences]
        return []

    def _resume(self, commit: Commit | None, looking: _Remembered | None = None) -> EmloopTraining:
        """Resume from a commit, or begin anew, in a copy of the run, until the next one, or until somebody has looked.

        Raises:
            KeyboardInterrupt: If somebody else's signal was heard.
        """
        shutil.rmtree(self._work, ignore_errors=True)
        # Neither commits nor attempts: these tell a run whose commits are gone from one that begins.
        without = shutil.ignore_patterns(EL_CHECKPOINTS_DIR, EL_ATTEMPTS_FILE, "discarded")
        shutil.copytree(self._run, self._work, ignore=without, copy_function=linking_copy())
        (self._work / EL_CHECKPOINTS_DIR).mkdir()
        if commit is not None:
            copy = os.link if self._work.stat().st_dev == self._run.stat().st_dev else shutil.copy2
            shutil.copytree(commit.path, self._work / EL_CHECKPOINTS_DIR / commit.path.name, copy_function=copy)
        with _quiet():
            training = resume_emloop_training(self._config, self._work)
            short = next(hook for hook in training.hooks if isinstance(hook, Shortened))
            short.stops_in = frozenset(self._inside)
            if looking is not None:
                looking.attach(training, short)
            try:
                training.main_loop.run_training()
            except SystemExit as stop:
                raise KeyboardInterrupt from stop
        if training.main_loop.exit_status == EXIT_STOPPED and short.stops_in is not None:
            raise KeyboardInterrupt
        return training

    def _learn(self, training: EmloopTraining) -> None:
        if self.levels:
            return
        device = getattr(training.model, "device", None)
        self.device = None if device is None else str(device)
        if not isinstance(training.model, Stateful):
            name = type(training.model).__name__
            self.not_exact.append(f"model {name} has no state_dict: only the ends of epochs were verified")
        self.levels = {name: stream.level for name, stream in training.main_loop.streams.training().items()}
        for name, level in self.levels.items():
            if level == "epoch":
                self.not_exact.append(f"stream {name!r} can be resumed only between its passes")
        for name, hook in training.main_loop.events.by_name.items():
            if not declares_state(hook):
                self.not_exact.append(f"hook {name} does not say what it remembers; nothing was seen to depend on it")


class _Remembered:
    """Looks at the plain attributes of the user's objects at some moment of a training, which ends it.

    Args:
        after: Number of batches after which to look; ``None``: at the start.
    """

    def __init__(self, after: int | None = None) -> None:
        self._after = after
        self.values: dict[str, Any] = {}
        self.undeclared: list[str] = []

    def attach(self, training: EmloopTraining, short: Shortened) -> None:
        """Look when it is time."""

        def look() -> None:
            if self._after is None or short.ran == self._after:
                self._look(training)
                short.stop()

        short.stops_in = None
        if self._after is None:
            short.on_start = look
        else:
            short.on_batch = look

    def _look(self, training: EmloopTraining) -> None:
        hooks = training.main_loop.events.by_name
        self.undeclared = [name for name, hook in hooks.items() if not declares_state(hook)]
        parts = {"dataset": training.dataset, "model": training.model} | {f"hook {n}": h for n, h in hooks.items()}
        for name, part in parts.items():
            if type(part).__module__.partition(".")[0] not in _NOT_THEIRS:
                self.values.update(_attributes(part, name, set()))


def _attributes(owner: object, name: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Numbers, texts and small arrays that an object keeps, also in lists, mappings and objects that it keeps."""
    if id(owner) in seen or depth > _DEEPEST:
        return
    seen.add(id(owner))
    match owner:
        case Mapping():
            inner = {f"{name}[{key!r}]": value for key, value in owner.items()}
        case list() | tuple():
            inner = {f"{name}[{index}]": value for index, value in enumerate(owner[:100])}
        case _:
            classes = [cls for cls in type(owner).__mro__ if cls.__module__.partition(".")[0] not in _NOT_THEIRS]
            kept = {key: value for cls in reversed(classes) for key, value in vars(cls).items() if key[:2] != "__"}
            inner = {f"{name}.{key}": value for key, value in (kept | getattr(owner, "__dict__", {})).items()}
    for place, value in inner.items():
        if value is None or isinstance(value, (bool, int, float, str)):
            yield place, value
        elif isinstance(value, np.ndarray):
            if value.size <= _LARGE and value.dtype != object:
                yield place, value.copy()
        elif isinstance(value, (Mapping, list, tuple)) or type(value).__module__ == type(owner).__module__:
            yield from _attributes(value, place, seen, depth + 1)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}…"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what is logged and printed from the terminal; it is in the copy's ``train.log``."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
