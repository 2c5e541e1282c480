"""One epoch: streams in order, every batch to the model and on to the hooks, and what may come in between.

Read :meth:`Epochs._run_epoch`, then :meth:`Epochs._run_stream`: with :meth:`MainLoop.run_training` they are the
pseudocode of the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

from emloop._contracts import AbstractHook, AbstractModel, EpochAware, NaNAware, bind_run
from emloop._reporter.bar import announced_total
from emloop._reporter.reporter import Reading, Reporter
from emloop._reporter.telling import place_of
from emloop._state.random import random_state, restore_random_state
from emloop._streams import StreamWrapper
from emloop._support.interrupting import WAITING, Interrupted, interruptible_function
from emloop._support.intervals import Rhythm
from emloop.types import Batch, EpochData, StateTree, TrainingTerminated

from .checks import StreamChecks, has_nan
from .commit_policy import CommitPolicy
from .events import BatchTimes, HookEvents, Listener
from .interrupts import STOPPED, CaughtInterrupts, TrainingInterrupted
from .record import Record
from .stage import Stage
from .streams import Streams

__all__ = ["Epochs"]

_OUTSIDE: Batch = {}
"""Stands for the batch in progress where none is read, so that no signal takes that for a wait to be given up."""


class _Look:
    """After which batch of the stream in progress to see to what is due; anybody may set it to 0 at any time.

    ``seen``: the batch after which that was done last.
    """

    __slots__ = ("at", "seen")

    def __init__(self) -> None:
        self.at = self.seen = 0


class Epochs(CaughtInterrupts):
    """Runs a model on streams, epoch after epoch, and tells the hooks.

    Args:
        model: The model.
        dataset: The dataset.
        hooks: Observers, in order of delivery.
        streams: The streams of the dataset.
        policies: Argument of the main loop, e.g. ``on_empty_batch`` → ``ignore``, ``warn`` or ``error``.
        commit_policy: When to commit.
        rhythm: When the next evaluation inside an epoch is due; ``None`` if there are none.
        fixed_batch_size: Size that a batch must have to be used; others are dropped.
        fixed_epoch_size: Batches per training epoch; ``None`` for one pass over the stream.
        epochs_count: Number of training epochs after which to stop; ``None`` for no limit.
    """

    def __init__(
        self,
        model: AbstractModel,
        dataset: object,
        hooks: Iterable[AbstractHook],
        streams: Streams,
        policies: Mapping[str, str],
        commit_policy: CommitPolicy,
        rhythm: Rhythm | None,
        *,
        fixed_batch_size: int | None,
        fixed_epoch_size: int | None,
        epochs_count: int | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.dataset = dataset
        self.events = HookEvents(hooks)
        self.streams = streams
        self._policies = policies
        self.commit_policy = commit_policy
        self.rhythm = rhythm
        self._fixed_batch_size = fixed_batch_size
        self.fixed_epoch_size = fixed_epoch_size
        self.epochs_count = epochs_count
        self.training_epochs_done = 0
        self.zeroth_epoch_done = False
        self.samples_since_commit = 0
        self.batches_ended = 0
        """Batches of training streams that have ended; see :attr:`batches_done`."""
        self._trained = 0  # since the last commit, before the stream in progress
        self._trains: StreamChecks | None = None  # of the stream in progress, if it trains
        self.is_training = False
        self._warned: set[str] = set()
        self._evaluated: Mapping[str, StreamWrapper] = {}
        self._epoch_profile: dict[str, Sequence[float]] = {}
        self._times: BatchTimes | None = None  # of the stream in progress, if a hook looks at them
        self._run_model = bind_run(model)
        self._end_epoch = model.end_epoch if isinstance(model, EpochAware) else None
        self._first_nan = model.first_nan if isinstance(model, NaNAware) else None
        self.stage: Stage | None = None
        """How far the epoch in progress has come; ``None`` between two."""
        self._look = _Look()
        self._epoch_id = 0
        self._running: Batch | None = _OUTSIDE  # None while the next batch is read
        self._record = Record()
        self.reporter = Reporter()
        """What shows a person how the run gets on."""

    def _introduce(self) -> None:
        """Called before every epoch."""

    def _run_epoch(self, train: Mapping[str, StreamWrapper], evaluate: Mapping[str, StreamWrapper]) -> None:
        self._epoch_profile.clear()
        self._epoch_id = self.training_epochs_done + bool(train)
        names = [*train, *evaluate]
        self._evaluated = evaluate
        self.stage = self.stage or Stage(names, len(train))
        stage = self.stage.epoch
        stage.require(names, len(train))
        self._introduce()
        try:
            for stream in [*train.values(), *evaluate.values()][stage.done :]:
                trains = stage.trains
                if not stream.training and stage.in_progress is None:
                    stream.restart()
                self._run_stream(stream, stage, train=trains)
                self.batches_ended += stage.where()[1] if trains else 0
                stage.end()
                if trains and not stage.trains and self._end_epoch is not None:
                    self._end_epoch()
                if stage.done < len(names):
                    self._attend()
        except (TrainingTerminated, *STOPPED):
            self._report_nan(stage)
            raise
        finally:
            self.stage = None
        if self.rhythm is not None and evaluate:
            self.rhythm.begin()
        if train:
            self.training_epochs_done += 1
        epoch_id = self.training_epochs_done
        epoch_data: EpochData = {name: {} for name in names}
        self._report_nan(stage)
        began = perf_counter()
        terminated = self.events.after_epoch(epoch_id, epoch_data)
        if self.events.wants_profile:
            self._epoch_profile["after_epoch_hooks"] = [perf_counter() - began]
        self.events.after_epoch_profile(epoch_id, dict(self._epoch_profile), names)
        self.zeroth_epoch_done = True
        self._record.epoch_done(epoch_data, complete=terminated is not None or self.epochs_count_reached())
        self.reporter.epoch_done(epoch_id, epoch_data)
        if terminated is not None:
            raise terminated
        self._attend_epoch()

    def _attend_epoch(self) -> None:
        """See to a signal that has come since the record looked for one."""
        if self.interrupted:
            self._record.epoch_interrupted()
            self.raise_check_interrupt()

    def _due_inside(self, stream: StreamWrapper, stage: Stage, checks: StreamChecks) -> Stage | None:
        is_due = stage.trains and self.rhythm is not None and self.rhythm.is_over
        if not is_due or stream.is_done or not self._evaluated:
            return None
        if self._first_nan is not None:
            checks.found_nan(int(self._first_nan() or 0))
        return Stage(list(self._evaluated), 0, around=stage, random=random_state())

    def _evaluate_inside(self, stream: StreamWrapper, stage: Stage, checks: StreamChecks) -> None:
        """Evaluate between two batches of a training stream, which goes on as if nothing had been.

        Raises:
            TrainingTerminated: If a hook ended the training, or a signal has arrived.
        """
        inside = self._due_inside(stream, stage, checks) if self.stage is stage else self.stage
        if inside is None:
            return
        self.stage = inside
        self.reporter.read()
        times, self._running = self._times, {}  # of the training stream, nothing is waited for
        try:
            inside.require(list(self._evaluated), 0)
            for evaluated in list(self._evaluated.values())[inside.done :]:
                if inside.in_progress is None:
                    evaluated.restart()
                self._run_stream(evaluated, inside, train=False)
                inside.end()
                if inside.done < len(inside.streams):
                    self._attend()
        finally:
            self._report_nan(inside)
            self._running = {}
        epoch_data: EpochData = {name: {} for name in inside.streams}
        terminated = self.events.after_evaluation(self.batches_done, epoch_data)
        self.reporter.evaluated(self.batches_done, epoch_data)
        restore_random_state(inside.random)
        self.stage = stage
        self.is_training = True
        if self.rhythm is not None:
            self.rhythm.begin()
        self.note(epoch_data)
        if terminated is not None:
            raise terminated
        self._show_reading(stream, checks, train=True)
        self._times = times
        if times is not None:
            times.since = perf_counter()
        self._look.at, self._look.seen = checks.passed + 1, checks.passed
        if self.interrupted:
            self._attend()

    # A straight line of code: what is moved out of it costs a call per batch, what is decided before it nothing.
    # Streams are read in C, so no frame but the stream's own tells a signal that a batch is waited for.
    @interruptible_function(lambda frame: WAITING if frame.f_locals["self"]._running is None else None)
    def _run_stream(self, stream: StreamWrapper, stage: Stage, *, train: bool) -> None:  # noqa: C901, PLR0912
        with self._reading(stream, stage, train=train) as checks:
            name, position, watch, look = checks.stream, stream.position, checks.watch, self._look
            run_model, listeners = self._timed(name, stage, self._counting() if train else self._run_model)
            size, (kind, width, values), passed = self._fixed_batch_size, checks.layout, checks.passed
            seeks_nan = self._first_nan is None and checks.first_nan is None
            for batches in stream.spans():
                for batch in batches:
                    self._running = position.last = batch
                    rows = 0
                    try:
                        if type(batch) is kind and len(batch) == width:
                            columns = values(batch)
                            rows = size or len(columns[0])
                            for column in columns:
                                if len(column) != rows:
                                    rows = 0
                    except (AttributeError, KeyError, TypeError):
                        rows = 0  # admit() says what is wrong
                    if rows:
                        checks.passed = passed = passed + 1
                    elif self._admit(checks, batch):
                        (kind, width, values), passed = checks.layout, checks.passed
                    else:
                        continue
                    outputs = run_model(batch=batch, train=train, stream=stream)
                    if watch is not None:
                        watch.after(batch)
                        watch = None
                    try:
                        if len(merged := {**batch, **outputs}) != width + len(outputs):
                            checks.refuse(batch, outputs)
                    except TypeError as error:
                        checks.refuse(batch, outputs, error)
                    if seeks_nan and has_nan(outputs.get("loss")):
                        checks.first_nan, seeks_nan = passed, False
                    try:
                        for hook, listener in listeners:  # noqa: B007 - named where it fails
                            listener(stream_name=name, batch_data=merged)
                    except Exception as error:
                        self.events.has_raised(listeners, hook, error, name, merged)
                        raise
                    if passed >= look.at:
                        self.reporter.saw(outputs)
                        self._attend()
                        self._evaluate_inside(stream, stage, checks)
                    self._running = None
            self._running = _OUTSIDE

    def _admit(self, checks: StreamChecks, batch: Batch) -> bool:
        """Examine a batch that is not like those before; return whether to run it."""
        self._running = {}  # it was read, but nothing works on it
        admitted = checks.admit(batch)
        if not admitted and self.interrupted:
            self._attend()
        self._running = batch if admitted else None
        return admitted

    def look_soon(self) -> None:
        """See to signals, and to what the record has to say, after the batch in progress."""
        self._look.at = 0

    def _attend(self) -> None:
        """See to what is due between two batches or streams: a commit, an error of the last one, a signal.

        Raises:
            TrainingTerminated: If a signal has arrived.
        """
        while True:
            interrupted = self.interrupted
            checks = self.stage.checks if self.stage is not None else None
            passed = 0 if checks is None else checks.passed
            later = self._record.between_batches(max(passed - self._look.seen, 0), interrupted=interrupted)
            self._look.at, self._look.seen = passed + later, passed
            if self._times is not None:
                self._times.since = perf_counter()  # nothing was read meanwhile
            if interrupted:
                self.raise_check_interrupt()
            if not self.interrupted and not self._record.has_failed:  # meanwhile
                return

    @contextmanager
    def _reading(self, stream: StreamWrapper, stage: Stage, *, train: bool) -> Generator[StreamChecks]:
        """Around the batches of a stream: its checks, and what is said of an error."""
        self._running = _OUTSIDE
        checks = StreamChecks(
            str(stream.name),
            self.model.input_names,
            self._policies,
            self._fixed_batch_size,
            self._warned,
            self._record.watch(stream),
        )
        self.is_training = train
        try:
            if self.interrupted:
                self._attend()
            stage.begin(checks)
            if train:
                self._trains, self._trained = checks, self._trained - checks.passed
            self._evaluate_inside(stream, stage, checks)
            self._running = _OUTSIDE
            self._look.at, self._look.seen = checks.passed + 1, checks.passed
            self._show_reading(stream, checks, train=train)
            with stream, self._telling_nan(checks):
                yield checks
        except BaseException as error:
            if self.stage is not stage:  # it came from the evaluation inside of this stream, and was told there
                raise
            if self._running is None or self._running is _OUTSIDE:
                stream.broken(error)
                if isinstance(error, Interrupted):
                    self._record.between_batches(0, interrupted=True)
            if isinstance(error, TrainingTerminated) and not isinstance(error, TrainingInterrupted):
                self._record.terminated_inside()
            elif isinstance(error, Exception) and not isinstance(error, TrainingTerminated):
                error.add_note(place_of(self._running, checks.stream, checks.passed, self._epoch_id, train=train))
            raise
        finally:
            if train:
                self._trained, self._trains = self.batches_since_commit, None
            self.reporter.read()
        self.is_training = False
        checks.finish()

    def _show_reading(self, stream: StreamWrapper, checks: StreamChecks, *, train: bool) -> None:
        name = checks.stream
        total = (self.fixed_epoch_size if train and not self.streams.first else None) or stream.length
        if total is None:
            total = announced_total(self.dataset, name)
        self.reporter.reading(Reading(name, self._epoch_id, train, total, lambda: checks.passed, self.look_soon))

    @contextmanager
    def _telling_nan(self, checks: StreamChecks) -> Generator[None]:
        """Around a stream: let the model tell where a loss was not a number first, without waiting for it."""
        if self._first_nan is None:
            yield
            return
        self._first_nan()  # what was run outside of streams does not count
        ended = True
        try:
            yield
        except BaseException as error:
            ended = isinstance(error, TrainingTerminated)  # a device that has failed cannot be asked
            raise
        finally:
            if ended:
                checks.found_nan(int(self._first_nan() or 0))

    @property
    def batches_since_commit(self) -> int:
        """Batches that the model was trained on since the last commit."""
        return self._trained + (0 if self._trains is None else self._trains.passed)

    @batches_since_commit.setter
    def batches_since_commit(self, batches: int) -> None:
        self._trained += batches - self.batches_since_commit

    def evaluated_stream(self) -> StreamWrapper | None:
        """The stream whose evaluation is in progress, if one is."""
        name = None if self.stage is None else self.stage.evaluated
        return None if name is None else self.streams.get(name, training=False)

    def stage_state(self) -> StateTree:
        """How far the epoch in progress has come, as a state tree; ``None`` between two."""
        if self.stage is None:
            return None
        if self._first_nan is not None and self.stage.checks is not None:
            self.stage.checks.found_nan(int(self._first_nan() or 0))
        return self.stage.state()

    def _report_nan(self, stage: Stage) -> None:
        for name, number in stage.nans().items():
            self._record.found_nan(name, number, self._epoch_id)

    @property
    def batches_done(self) -> int:
        """Batches that were trained on so far, in all epochs."""
        stage = self.stage
        return self.batches_ended + (stage.epoch.where()[1] if stage is not None and stage.epoch.trains else 0)

    def note(self, data: EpochData) -> None:
        """Note numbers inside an epoch: in ``steps.jsonl``, for hooks that hear ``after_note``, and on the screen."""
        self._record.note(self.batches_done, self._epoch_id, data)
        self.reporter.noted(data)
        self.events.after_note(self.batches_done, data)

    def epochs_count_reached(self) -> bool:
        """Whether the configured number of epochs has been trained."""
        return self.epochs_count is not None and self.training_epochs_done >= self.epochs_count

    def _counting(self) -> Callable[..., Batch]:
        """The model's ``run``, with every batch counted where an interval asks for more than its number."""
        run, every, rhythm = self._run_model, self.commit_policy.every, self.rhythm
        most = every.amount if every is not None and every.unit == "samples" else math.inf
        if rhythm is None and most == math.inf:
            return run

        def counted(batch: Batch, train: bool, stream: StreamWrapper) -> Batch:
            outputs = run(batch=batch, train=train, stream=stream)
            samples = len(next(iter(batch.values())))
            self.samples_since_commit += samples
            if rhythm is not None:
                rhythm.count("batches")
                rhythm.count("samples", samples)
            if self.samples_since_commit >= most or (rhythm is not None and rhythm.is_over):
                self.look_soon()
            return outputs

        return counted

    def _timed(
        self, stream: str, stage: Stage, run_model: Callable[..., Batch]
    ) -> tuple[Callable[..., Batch], list[Listener]]:
        """What runs and what hears batches; with what takes their times, if a hook looks at them."""
        listeners = self.events.batch_listeners if stage.around is None else self.events.inside_listeners
        if not self.events.wants_profile:
            return run_model, listeners
        self._times = BatchTimes(stream, run_model, self.events)
        self._epoch_profile |= self._times.profile
        return self._times.run, [*listeners, ("times", self._times.after_batch)]
