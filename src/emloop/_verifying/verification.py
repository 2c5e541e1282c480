"""The whole of a verification, step by step, and the certificate that it ends with."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from emloop._config import Config, written
from emloop._config.check import checked_config
from emloop._run_dir.beginnings import is_mirror
from emloop._run_dir.provenance import environment
from emloop._state.commit import Commit, list_commits
from emloop._support.files import atomic_write
from emloop.constants import EL_CHECKPOINTS_DIR, EL_DATA_FILE
from emloop.errors import EmloopError

from . import causes
from .comparing import OWN_STATE, Difference, compare_commits, compare_files, place_of, result_files
from .processes import Kill, OutOfTimeError, Processes, instants
from .shortened import Shortened
from .steps import Steps

__all__ = ["Certificate", "Verification"]

_EVALUATED = 2
"""Batches of every evaluation."""

_ALL = 1_000_000
"""Commits to keep."""

_HOOK = f"{Shortened.__module__}.{Shortened.__name__}"


@dataclass
class Certificate:
    """What was verified, and with what result.

    Args:
        config: The configuration's file.
        sha256: Hash of the configuration as resolved.
        seed: Seed of the runs.
        verdict: ``proven``; ``failed``; or ``nothing``, if the time was over before a resume was compared.
        batches: Training batches of a run.
        commits: Commits of a run.
        resumed_from: In how many of them a resume was compared.
        kills: Where processes were killed.
        processes: How many train together.
        levels: Training stream → how exactly it can be resumed: ``exact``, by ``replay``, or between the passes of an
            ``epoch``.
        device: Where the model computed, if it says so.
        not_exact: What is verified at some places only, in words.
        not_compared: Files that differ between untouched runs, too.
        not_reached: What there was no time for.
        difference: The first thing that was not as it should be.
        environment: Versions, platform, threads.
        time: When that was.
    """

    config: str
    sha256: str
    seed: int
    verdict: Literal["proven", "failed", "nothing"] = "nothing"
    batches: int = 0
    commits: int = 0
    resumed_from: int = 0
    kills: list[Kill] = field(default_factory=list)
    processes: int = 1
    levels: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    not_exact: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)
    difference: Difference | None = None
    environment: Mapping[str, Any] = field(default_factory=environment)
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def data(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return asdict(self)

    def text(self) -> str:
        """What it says, in lines."""
        if self.verdict == "nothing":
            return "Nothing is proven: the time was over before a resume could be compared"
        if self.difference is not None:
            return f"NOT EXACT: {self.difference.text()}"
        batches, resumes = _counted(self.batches, "batch", "es"), _counted(self.resumed_from, "resume")
        together = f" of {self.processes} processes" if self.processes > 1 else ""
        lines = [
            f"Proven: in {batches}{together}, {resumes} and {_counted(len(self.kills), 'kill')} changed nothing",
            *(f"not exact everywhere: {part}" for part in self.not_exact),
            *(f"not compared, since it is another one in each run: {name}" for name in self.not_compared),
            *(f"not reached: {part}" for part in self.not_reached),
        ]
        return "\n  ".join(lines)

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        atomic_write(path, json.dumps(self.data(), indent=2) + "\n")


@dataclass
class Verification:
    """Two untouched runs, a resume from each of their commits, kills: everything there is time for.

    Args:
        config: The configuration.
        words: What ``emloop train`` is given for it: its file and the overrides.
        batches: Training batches of a run.
        kills: How often to kill.
        seed: Decides when to kill, and the order of the resumes.
        own_seed: Seed of the runs if the configuration names none.
        minutes: How long all of it may take, about; ``None`` for no limit.
        say: Told how far it has come, line by line.
        processes: How many train together. More than one are killed, one at a time, and not resumed from every commit.
    """

    config: Config
    words: Sequence[str]
    batches: int
    kills: int
    seed: int
    own_seed: int | None
    minutes: float | None
    say: Callable[[str], None]
    processes: int = 1
    _certificate: Certificate = field(init=False)
    _train: Sequence[str] = field(init=False)
    _scratch: Path = field(init=False)
    _processes: Processes = field(init=False)
    _steps: Steps = field(init=False)
    _pace: float = field(init=False)  # seconds from one commit to the next
    _files: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        section = self.config.get("main_loop") or {}
        seed = section.get("seed")
        if seed is None:
            seed = secrets.randbits(32) if self.own_seed is None else self.own_seed
        digest = hashlib.sha256(written(self.config).encode()).hexdigest()
        self._certificate = Certificate(self.words[0], digest, seed, processes=self.processes)
        short = f"hooks+={{{_HOOK}: {{batches: {self.batches}, evaluated: {_EVALUATED}, keep: {_ALL}}}}}"
        seeded = f"main_loop.seed={seed}" if section else f"main_loop={{seed: {seed}}}"
        self._train = ["train", *self.words, seeded, short]

    def run(self) -> Certificate:
        """Verify until something differs.

        Raises:
            EmloopError: If an untouched run fails.
        """
        until = None if self.minutes is None else monotonic() + 60 * self.minutes
        with tempfile.TemporaryDirectory(prefix="emloop-verify-") as scratch:
            self._scratch, self._processes = Path(scratch), Processes(Path(scratch), until, self.processes, self.seed)
            return self._result()

    def _result(self) -> Certificate:
        parts = {
            "two untouched runs": self._compare_untouched,
            "a resume from every commit": self._compare_steps,
            "kills": self._compare_kills,
        }
        certificate = self._certificate
        for number, (name, part) in enumerate(parts.items()):
            if name == "kills" and not self.kills:
                continue
            if part == self._compare_steps and self.processes > 1:
                certificate.not_reached.append(f"{name}, which one process alone tries")
                continue
            try:
                certificate.difference = part()
            except OutOfTimeError:
                certificate.not_reached += list(parts)[number:]
                self.say(f"The time is over; not reached: {', '.join(certificate.not_reached)}")
                break
            if certificate.difference is not None:
                certificate.verdict = "failed"
                break
        else:
            certificate.verdict = "proven"
        if certificate.verdict == "nothing" and certificate.resumed_from:
            certificate.verdict = "proven"
        return certificate

    def _compare_untouched(self) -> Difference | None:
        certificate = self._certificate
        self.say("Untouched run 1 of 2, and everything it commits")
        self._processes.run(self._named("untouched"))
        self.say("Untouched run 2 of 2")
        self._processes.run(self._named("again"))
        one, other = (self._scratch / name for name in ("untouched", "again"))
        commits, repeated = (list_commits(run / EL_CHECKPOINTS_DIR)[::-1] for run in (one, other))
        if not commits:
            raise EmloopError("the untouched run has made no commit; it ended before its first batch")
        certificate.commits = len(commits)
        certificate.batches = commits[-1].load(OWN_STATE)["trained"]
        if certificate.batches < self.batches:
            left = _counted(self.batches - certificate.batches, "batch", "es")
            certificate.not_reached.append(f"{left}, before which the training had ended by itself")
        moments = [commit.path.stat().st_mtime for commit in (commits[0], commits[-1])]
        self._pace = (moments[1] - moments[0]) / len(commits)
        there = {place_of(commit): commit for commit in repeated}
        for first in commits:
            second = there.get(place_of(first))
            found = [] if second is None else compare_commits(first, second)
            if found:
                difference = _summed_up(found, f"not reproducible even without resuming: after {place_of(first)}")
                drawing = sorted({*_drawing(one), *_drawing(other)})
                cause = causes.of_another_run(difference.kind, difference.name, drawing)
                return replace(difference, causes=(*_consequence(difference, commits, there), *cause))
        alone = sorted({*there}.symmetric_difference(map(place_of, commits)))
        if alone:
            # As where a stream is seen to draw global random numbers in one run only, since a thread was quicker there.
            cause = causes.of_another_run("random", "", sorted({*_drawing(one), *_drawing(other)}))
            where = "not reproducible even without resuming"
            return Difference(f"only one of the runs could commit after {alone[0]}", "loop", where, causes=tuple(cause))
        mirrors = {record["name"] for record in commits[-1].info["appended"] if is_mirror(record)}
        files, again = result_files(one, mirrors), result_files(other, mirrors)
        self._files = {name: sha for name, sha in files.items() if again.get(name) == sha}
        certificate.not_compared = sorted({*files, *again} - set(self._files))
        self.say(f"  {certificate.batches} batches and {len(commits)} commits, the same in both")
        return None

    def _compare_steps(self) -> Difference | None:
        certificate, run = self._certificate, self._scratch / "untouched"
        config = checked_config(str(run / "config.yaml"), restoring=True)
        self._steps = steps = Steps(config, run, self._scratch, self.seed)
        self.say(f"Resuming from each of {steps.total} commits")
        tenths = 0

        def progress(done: int) -> None:
            nonlocal tenths
            certificate.resumed_from = len(steps.checked)
            self._processes.check_time()
            if 10 * done // steps.total > tenths:
                tenths = 10 * done // steps.total
                self.say(f"  {done} of {steps.total}")

        found = steps.check(progress)
        certificate.resumed_from = len(steps.checked)
        certificate.device, certificate.levels, certificate.not_exact = steps.device, steps.levels, steps.not_exact
        if not found:
            self.say(f"  all {steps.total} resumes led to the same next commit")
            return None
        difference = _summed_up(found, found[0].where)
        return replace(
            difference, causes=(*self._suspects(steps.failed), *causes.of_a_resume(difference.kind, difference.name))
        )

    def _compare_kills(self) -> Difference | None:
        certificate, name = self._certificate, "killed"
        run, untouched = self._scratch / name, self._scratch / "untouched"
        words = self._named(name)
        plan = instants(certificate.commits, self.kills, self._pace, self.seed)
        try:
            self._kill_all(words, run, plan)
            if len(certificate.kills) < len(plan):
                # Some came too late: once more, without waiting after a commit.
                shutil.rmtree(run)
                certificate.kills.clear()
                self._kill_all(words, run, [(commit, 0) for commit, _ in plan])
            if certificate.kills:
                self._processes.run(["resume", str(run)])
        except EmloopError as error:
            return Difference(str(error), "resume", f"killed {self._history()}")
        if late := len(plan) - len(certificate.kills):
            certificate.not_reached.append(_counted(late, "kill"))
        last, found = (list_commits(path / EL_CHECKPOINTS_DIR)[0] for path in (untouched, run))
        mirrors = {record["name"] for record in last.info["appended"] if is_mirror(record)}
        files = {file: sha for file, sha in result_files(run, mirrors).items() if file not in certificate.not_compared}
        differences = compare_commits(last, found) + compare_files(self._files, files)
        if not differences:
            self.say("  resumed to the end, everything is the same")
            return None
        difference = _summed_up(differences, f"killed {self._history()}, and resumed to the end")
        suspects = self._suspects(certificate.kills[0].commit) if certificate.kills else []
        return replace(difference, causes=(*suspects, *causes.of_a_resume(difference.kind, difference.name)))

    def _kill_all(self, words: Sequence[str], run: Path, plan: Sequence[tuple[int, float]]) -> None:
        """Start a run, kill it, resume it, kill that, and so on; stops where a training ends before it is killed."""
        kills = self._certificate.kills
        for number, (commit, seconds) in enumerate(plan, start=1):
            newest = kills[-1].commit if kills else 0
            kill = self._processes.kill(words, run, max(commit, newest + 1), seconds)
            if kill is None:
                self.say(f"  kill {number} of {len(plan)} came too late: the training had ended")
                return
            kills.append(kill)
            self.say(f"Kill {number} of {len(plan)}: {kill.text()}")
            words = ["resume", str(run)]

    def _named(self, run: str) -> Sequence[str]:
        return [*self._train, "--output_root", str(self._scratch), "--output_dir", run]

    def _suspects(self, commit: int) -> list[str]:
        if self.processes > 1:
            return []
        try:
            return self._steps.suspects(commit)
        except Exception as error:  # noqa: BLE001 - what is known already counts, and not that more cannot be learnt
            self.say(f"  what is behind it cannot be found out: {type(error).__name__}: {error}")
            return []

    def _history(self) -> str:
        return "; ".join(kill.text() for kill in self._certificate.kills) or "before the first commit"


def _counted(number: int, word: str, ending: str = "s") -> str:
    return f"{number} {word}{ending * (number != 1)}"


def _consequence(difference: Difference, commits: Sequence[Commit], there: Mapping[str, Commit]) -> list[str]:
    """What global random numbers that differ have changed later on."""
    if difference.kind != "random":
        return []
    for first in commits:
        for found in compare_commits(first, there.get(place_of(first), first))[:1]:
            if found.kind in ("source", "output"):
                hint = f", which draws from self.rng({found.name!r}) instead" if found.kind == "source" else ""
                return [f"after {place_of(first)}, it has changed {found.what}{hint}"]
    return []


def _drawing(run: Path) -> list[str]:
    """Streams that a run knows to draw global random numbers."""
    try:
        streams = json.loads((run / EL_DATA_FILE).read_bytes())["streams"]
    except (OSError, ValueError, KeyError):
        return []
    return [name for name, kinds in streams.items() if any(kind.get("random") for kind in kinds.values())]


def _summed_up(found: Sequence[Difference], where: str) -> Difference:
    return replace(found[0], where=where, also=tuple(dict.fromkeys(one.what for one in found[1:6])))
