"""Follows a loop in its run directory: what becomes durable, and when.

:class:`RunRecord` writes the metrics of every epoch, commits, keeps the trace up to date and ends the attempt.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from time import monotonic
from typing import Any

from emloop._contracts import Described, Gathering, Monitored, Stateful, declares_state
from emloop._reporter.reporter import Facts
from emloop._reporter.telling import disk_failure, told
from emloop._run_dir.info import lost_origin
from emloop._run_dir.provenance import environment, hash_seed
from emloop._run_dir.run import Run
from emloop._run_dir.trace import Watched
from emloop._state.background import HostBuffer, Writer, size_of
from emloop._state.commit import Commit, list_commits, write_encoded
from emloop._state.retention import delete_commits
from emloop._state.tree import EncodedTree, encode_components, encode_tree
from emloop._streams import StreamWrapper
from emloop._support.moved import explain
from emloop._support.printable import short_lines
from emloop.constants import EL_SHOWN
from emloop.errors import CannotResumeError, EmloopError, ProducerError, SaveError
from emloop.saved_models import borrowing
from emloop.types import EpochData, StateTree, TrainingTerminated

from .commit_policy import Looks, value_of
from .commits import collect, own_state, restore, restore_streams
from .facts import ShownLoop, facts_of_run
from .fingerprint import Difference, Fingerprint, Watch, consumed_at
from .loop import MainLoop
from .record import Record, outcome
from .stage import place_in

__all__ = ["RunRecord", "log_failure", "was_logged"]

logger = logging.getLogger(__name__)

_TRACE_EVERY = 1.0
"""Seconds between two updates of the trace while epochs pass; the end of an attempt is always written."""

_SETTLED = 0.5
"""Seconds after which a training is no small one."""

_BESIDE = 0.1
"""What a second of writing beside the training counts, where one of waiting counts 1."""

_LEVELS = {
    "exact": "exact",
    "replay": "exact by replay (assumed): a resume re-reads the batches of the pass in progress",
    "epoch": "between epochs: within one, a resume re-reads the batches, and stops if the last of them is another",
}
_WAYS_OUT = (
    "if they are meant to be others: emloop resume RUN --accept-data, which makes them the run's; "
    "if not: sort what comes from a set, and draw random numbers from self.rng"
)
_LOGGED = "_emloop_logged"
_SKIPPED = object()


class RunRecord(Record):
    """Records in a run directory what happens in a loop.

    Args:
        run: The run.
        loop: The loop that does its work.
        fingerprint: What is known of the run's data.
        commit: Where to resume from; ``None`` at the beginning of a run.
        only_finish: Whether the training ended with that commit, so that only its end is missing.
        accept_data: Whether to go on with other data, which are the run's own from then on.
    """

    def __init__(
        self,
        run: Run,
        loop: MainLoop,
        fingerprint: Fingerprint,
        commit: Commit | None = None,
        *,
        only_finish: bool = False,
        accept_data: bool = False,
    ) -> None:
        self._run = run
        self._only_finish = only_finish
        self._loop = loop
        self._fingerprint = fingerprint
        self._accepts_data = accept_data
        self._other_data: list[str] = []
        self._consumed = consumed_at(commit.info.get("data") if commit else None)
        self._states: Mapping[str, StateTree] | None = None
        self._seq = commit.seq if commit else 0
        self._commits = list_commits(run.checkpoints) if commit else []
        self._best = min((value for made in self._commits if (value := value_of(made)) is not None), default=math.inf)
        self._is_over_budget = False
        self._durable = self._seq, "the beginning"
        self._committed_epochs = 0
        self._committed_at = monotonic()
        self._traced_at = -_TRACE_EVERY
        self._cost = 0.0
        self._writer = Writer()
        self._buffer = HostBuffer()
        self._prepares = isinstance(loop.model, Stateful)
        self._expected = 0
        self._looks = Looks()
        self._ended = False
        self._trains = False
        self._has_read_back = False
        self._said: list[list[str]] = []
        if commit is not None:
            _warn_of_changes(commit.info.get("environment", {}), self._environment())
            self._states = restore(loop, commit)
            self.nan = commit.info.get("nan")
            self._committed_epochs = loop.training_epochs_done
            self._expected = commit.bytes if loop.batches_done else 0
            self._durable = commit.seq, place_in(loop.training_epochs_done, loop.stage)

    @property
    def has_failed(self) -> bool:
        """Whether a commit could not be written, of which nobody has heard yet."""
        return self._writer.has_failed

    def begin(self) -> None:
        """Start a new attempt on the run if an earlier one of this process has ended."""
        if self._ended:
            self._run = Run.reopen(self._run.directory, config_text=None, command=self._run.info.command)
            self._ended = False
        self._trains = False
        self._committed_at = monotonic()

    def start(self, streams: Mapping[str, StreamWrapper]) -> None:
        """Put the streams where the last commit saw them, and report how exactly each part can be resumed."""
        self._trains = True
        if self._only_finish:
            raise TrainingTerminated("it had already ended, only its end was missing")
        if self._states is not None:
            seq, place = self._durable
            self._said.append([f"Going on after {place}, from commit {seq}"])
            logger.info(self._said[0][0], extra=EL_SHOWN)
            self._judge(self._fingerprint.compare(streams, self._consumed))
            restore_streams(self._loop, self._states, streams, other_data=bool(self._other_data))
            self._states = None
        else:
            self._judge(self._fingerprint.compare_files())
        for name in self._fingerprint.changed_source:
            logger.warning("The source of the dataset has changed: %s; the run goes on with it", name)
        levels = {name: _LEVELS[stream.level] for name, stream in streams.items()}
        for name, level in levels.items():
            logger.info("Resume of stream %s: %s", name, level, extra=EL_SHOWN)
        if not isinstance(self._loop.model, Stateful):
            logger.warning(
                "Resume of the model: weights only, since %s has no state_dict", type(self._loop.model).__name__
            )
        for name, hook in self._loop.events.by_name.items():
            if not declares_state(hook):
                logger.warning(
                    "Hook %s does not say what it remembers: give it state_dict and load_state_dict, "
                    "or `stateless = True`",
                    name,
                )
        watched = sorted(map(_watched, self._loop.events.monitored), key=lambda seen: not seen.saved_as)
        self._run.update_trace(streams=levels, monitored=tuple(watched), nan=self.nan)

    def found_nan(self, stream: str, batch: int, epoch_id: int) -> None:
        """Say it once, and keep it in the trace."""
        super().found_nan(stream, batch, epoch_id)
        if self._run.trace.nan is None:
            self._run.update_trace(nan=self.nan)

    def facts(self, loop: ShownLoop) -> Facts:
        """What is known of the run, of the state that it goes on from, of the model and of the streams."""
        return facts_of_run(self._run, loop, super().facts(loop), self._said)

    def watch(self, stream: StreamWrapper) -> Watch | None:
        """Look at the first batch of a stream while there is something to learn from it."""
        return self._fingerprint.watch(stream, self._judge)

    def between_batches(self, batches: int, *, interrupted: bool) -> int:
        """Commit if it is time, or if a signal asks the training to stop.

        Raises:
            CheckpointError: If the last commit could not be written.
        """
        self._writer.check()
        if not self._trains:
            return sys.maxsize
        loop, policy = self._loop, self._loop.commit_policy
        seconds = monotonic() - self._committed_at
        if interrupted or self._is_due(epochs=0, seconds=seconds):
            if not self._can_commit_inside():
                return sys.maxsize
            self._write(waits=interrupted)
        if self._prepares and seconds >= _SETTLED and loop.batches_since_commit and self._can_commit_inside():
            self._prepare(loop.model, seconds)
        due = sys.maxsize
        if policy.every is not None and policy.every.unit == "batches":
            due = max(int(policy.every.amount) - loop.batches_since_commit, 1)
        looks = self._prepares or policy.every is None or policy.every.unit == "seconds"
        return min(due, self._looks.next(batches)) if looks else due

    def _prepare(self, model: Any, seconds: float) -> None:
        """Half way to the first commit of what was trained, have its memory touched."""
        loop, policy = self._loop, self._loop.commit_policy
        epochs = loop.training_epochs_done - self._committed_epochs + 1
        batches, samples = 2 * loop.batches_since_commit, 2 * loop.samples_since_commit
        if policy.due(epochs=epochs, batches=batches, samples=samples, seconds=2 * seconds, cost=0):
            self._prepares = False
            with borrowing():
                self._buffer.prepare(self._expected or size_of(encode_tree(own_state(model))))

    def _environment(self) -> dict[str, Any]:
        """What may change the run's numbers: versions, threads, and what the model says, such as its device."""
        model = self._loop.model
        return {**environment(), "model": [*map(str, model.model_facts())] if isinstance(model, Described) else []}

    def terminated_inside(self) -> None:
        """Commit the end of the training."""
        if self._trains and self._can_commit_inside():
            self._write(complete=True, waits=True)

    def note(self, batches: int, epoch_id: int, data: EpochData) -> None:
        """Write a line of steps."""
        line = {stream: _plain_items(variables) for stream, variables in data.items()}
        self._run.log_steps({"batches": batches, "epoch_id": epoch_id, **line})

    def epoch_done(self, epoch_data: EpochData, *, complete: bool) -> None:
        """Write the epoch's line of metrics; commit if it is time."""
        loop = self._loop
        self._judge(self._fingerprint.compare_files())
        metrics = {stream: _plain_items(variables) for stream, variables in epoch_data.items()}
        self._run.log_metrics({"epoch_id": loop.training_epochs_done, **metrics})
        chosen_by = loop.commit_policy.keep.best
        value = None if chosen_by is None else chosen_by.value(metrics)
        # An evaluation requested by a program changes nothing that needs committing.
        if self._run.info.kind == "training" and (self._trains or loop.batches_since_commit):
            epochs = max(loop.training_epochs_done - self._committed_epochs, 1)
            seconds = monotonic() - self._committed_at
            due = self._is_due(epochs=epochs, seconds=seconds)
            is_best = value is not None and value < self._best
            # After a signal, nothing that is whole shall have to be repeated.
            if complete or due or is_best or loop.interrupted:
                self._write(complete=complete, waits=complete or loop.interrupted, value=value)
        self._fingerprint.write()
        self._run.trace = replace(self._run.trace, epochs_done=loop.training_epochs_done)
        if monotonic() - self._traced_at >= _TRACE_EVERY:
            self._run.update_trace()
            self._traced_at = monotonic()

    def epoch_interrupted(self) -> None:
        """Commit what was done before a signal that arrived when the epoch's end had been seen to."""
        if self._run.info.kind == "training" and self._loop.batches_since_commit:
            self._write(waits=True)

    def finish(self, error: BaseException | None) -> None:
        """End the attempt: record how it ended in trace and attempts, close the log, release the lock."""
        self._ended = True
        status, reason, code = outcome(error)
        lost = lost_origin(self._run.info, self._run.directory)
        if not isinstance(error, SystemExit):
            try:
                self._writer.wait()
            except EmloopError as failure:
                log_failure(failure)
        if status == "stopped" and lost and not self._durable[0]:
            logger.warning("Stopped before the first commit; %s", lost)
        elif status == "stopped" and self._run.info.kind == "training":
            repeated = self._loop.batches_since_commit
            logger.warning(
                "Stopped after commit %s (%s); a resume repeats %s",
                *self._durable,
                f"what came after it: {repeated} batches" if repeated else "nothing",
            )
        if error is not None and self._run.is_gone and isinstance(error.__cause__ or error, OSError):
            error.__dict__[_LOGGED] = True
            logger.error("%s was moved or deleted while this process worked on it; it ends here", self._run.directory)
        elif status == "failed" and error is not None:
            log_failure(error)
            if self._run.info.kind == "training" and disk_failure(error):
                seq, place = self._durable
                kept = f"commit {seq}, after {place}" if seq else "no commit yet"
                logger.error("What is kept: %s. Once that is mended: emloop resume %s", kept, self._run.directory)
        elif self._other_data and not self._accepts_data:
            logger.warning("All results above are of OTHER DATA than the run's: %s", "; ".join(self._other_data))
        self._run.end(status, reason, exit_status=code)

    def _judge(self, found: Iterable[Difference]) -> None:
        """Refuse to go on with other data, or say it aloud and keep it.

        Raises:
            CannotResumeError: If a training reads other data, and nobody has accepted them.
        """
        found = list(found)
        if not found:
            return
        run = self._run
        of = "this run" if run.info.kind == "training" else (run.info.parent or {}).get("path")
        lines = [difference.what for difference in found]
        if run.info.hash_seed != hash_seed() or hash_seed() == "random":
            lines.append("texts are hashed with another seed (PYTHONHASHSEED), so a set of them has another order")
        lines += [f"its source has changed: {name}" for name in self._fingerprint.changed_source]
        message = "\n  ".join([f"these are not the data of {of}", *lines])
        refuses = run.info.kind == "training" and self._loop.on_inexact_resume == "error"
        if refuses and not self._accepts_data and any(difference.certain for difference in found):
            raise CannotResumeError(f"{message}\n  {_WAYS_OUT}")
        # What was accepted need not be accepted again, and what an evaluation reads is no property of the run.
        if self._accepts_data or run.info.kind == "training":
            self._fingerprint.accept(found)
        if self._accepts_data:
            logger.info("Accepted: %s", message)
        else:
            logger.warning("%s", message)
        self._other_data += [difference.what for difference in found]
        run.update_trace(other_data="; ".join(self._other_data))

    def _is_due(self, *, epochs: int, seconds: float) -> bool:
        loop = self._loop
        done = {"batches": loop.batches_since_commit, "samples": loop.samples_since_commit}
        return loop.commit_policy.due(epochs=epochs, **done, seconds=seconds, cost=self._cost)

    def _can_commit_inside(self) -> bool:
        """Whether all that trains, and an evaluation in progress, could go on inside their passes."""
        loop = self._loop
        evaluated = loop.evaluated_stream()
        streams = [*loop.streams.training().values(), *([evaluated] if evaluated is not None else ())]
        model, is_ready = loop.model, not isinstance(loop.model, Gathering) or loop.model.can_stop_here
        return isinstance(model, Stateful) and is_ready and all(stream.can_stop_here for stream in streams)

    def _write(self, *, complete: bool = False, waits: bool = False, value: float | None = None) -> None:
        """Commit: take the state now, and write it, in a thread unless somebody waits for it."""
        loop, started = self._loop, monotonic()
        waits = waits or not isinstance(loop.model, Stateful)  # the files of its own save are part of the commit
        self._writer.wait()
        seq = self._seq + 1
        self._fingerprint.write()
        self._consumed = self._fingerprint.consumed(loop.streams.training(), self._consumed)
        last = loop.commit_policy.keep.last  # by which commits of the first format took turns
        taken = [made.info.get("slot", made.seq % last) for made in self._commits]
        slot = next(number for number in count() if number not in taken)
        collected = collect(loop, self._run.directory, seq, slot)
        states = encode_components(collected)
        waits = waits or bool(states.rows)  # no other process can copy its own and train on
        lengths = self._run.appends.lengths()
        info = {
            "run_id": self._run.info.run_id,
            "attempt": self._run.attempt,
            "epoch": loop.training_epochs_done,
            "batch": None if loop.stage is None else loop.stage.where(),
            "value": value,
            "slot": None if isinstance(loop.model, Stateful) else slot,
            "complete": complete,
            "holds": sorted(collected),
            "nan": self.nan,
            "environment": self._environment(),
            "data": self._consumed,
        }
        self._seq = seq
        self._prepares = self._prepares and not loop.batches_since_commit
        self._best = self._best if value is None else min(value, self._best)
        self._committed_epochs = loop.training_epochs_done
        place = place_in(loop.training_epochs_done, loop.stage)
        loop.batches_since_commit = loop.samples_since_commit = 0
        if not waits:
            states = self._buffer.copy(states)
        self._committed_at = monotonic()
        self._cost = self._committed_at - started
        write = partial(self._make_durable, seq, place, states, info, lengths)
        if waits:
            write()
        else:
            self._writer.start(write, failed=loop.look_soon)

    def _make_durable(
        self,
        seq: int,
        place: str,
        states: EncodedTree,
        info: Mapping[str, Any],
        lengths: Mapping[str, int],
    ) -> None:
        started = monotonic()
        appended = self._run.appends.committed(lengths)
        model: Any = self._loop.model
        rows = model.write_rows if states.rows else None
        commit = write_encoded(self._run.checkpoints, seq, states, {**info, "appended": appended}, rows)
        self._retain([commit, *self._commits])
        if not self._has_read_back:
            # What could not be restored is told by the first commit, not by the resume that needs one.
            commit.read_back()
            self._has_read_back = True
        self._durable = seq, place
        self._cost += _BESIDE * (monotonic() - started)
        logger.debug("Commit %s, %s, is durable", seq, place)

    def _retain(self, commits: list[Commit]) -> None:
        keep = self._loop.commit_policy.keep
        self._commits = keep.chosen(commits)
        stay = {commit.seq for commit in self._commits}
        delete_commits(commit for commit in commits if commit.seq not in stay)
        taken = sum(commit.own_bytes for commit in self._commits)
        if taken > keep.limit and not self._is_over_budget:
            self._is_over_budget = True
            logger.warning(
                "The newest %s commits take %s bytes, more than main_loop.commit.keep.bytes allows (%.0f); they stay",
                len(self._commits),
                taken,
                keep.limit,
            )


def log_failure(error: BaseException) -> None:
    """Log why a run failed, once: with the traceback if the user's code raised it, without for an error of ours."""
    if was_logged(error):
        return
    error.__dict__[_LOGGED] = True
    if isinstance(error, EmloopError):
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        # If ours only wraps what the user's own stream or model raised, its author wants to see that traceback.
        is_wrapped = isinstance(error, (ProducerError, SaveError)) and not disk_failure(error)
        cause = error.__cause__ if is_wrapped else None
        logger.error("%s", short_lines(f"{error}{notes}"), exc_info=cause)
    elif (failure := disk_failure(error)) is not None:
        logger.error("%s", failure, exc_info=error if logger.isEnabledFor(logging.DEBUG) else None)
    elif isinstance(error, Exception):
        explain(error)
        logger.error("The run failed: %s", told(error, in_full=logger.isEnabledFor(logging.DEBUG)))


def was_logged(error: BaseException) -> bool:
    """Whether :func:`log_failure` has seen an error."""
    return _LOGGED in error.__dict__


def _plain_items(values: Mapping[Any, Any]) -> dict[str, Any]:
    """All scalars of an epoch's stream or variable, and mappings of them."""
    return {str(name): plain for name, value in values.items() if (plain := _plain(value)) is not _SKIPPED}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _plain_items(value) or _SKIPPED
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else _SKIPPED


def _watched(value: Monitored) -> Watched:
    metric = f"{value.stream}.{value.variable}.{value.aggregation or 'mean'}".removesuffix(".mean")
    return Watched(metric, "max" if value.condition == "max" else "min", value.saved_as)


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Facts of an environment, with each version and each limit of threads by itself."""
    for name, value in facts.items():
        yield from value.items() if isinstance(value, Mapping) else [(name, value)]


def _warn_of_changes(before: Any, now: Mapping[str, Any]) -> None:
    known, found = (dict(_flat(facts)) for facts in (before if isinstance(before, Mapping) else {}, now))
    model, of_model = known.pop("model", None), found.pop("model")
    names = [name for name in {**known, **found} if known.get(name) != found.get(name)]
    changed = [f"{name}: {known.get(name, 'none')} → {found.get(name, 'none')}" for name in names]
    # A version stands among the others already; a device only here.
    pairs = zip(model, of_model, strict=False) if isinstance(model, list) else ()
    changed += [f"{old} → {new}" for old, new in pairs if old != new and new.partition(" ")[0] not in found]
    if known and changed:
        logger.warning("The environment has changed, so this resume may not be exact: %s", "; ".join(changed))
