"""The main loop: streams, model and hooks, epoch after epoch.

Read :meth:`MainLoop.run_training`, then :meth:`MainLoop._run_epoch` and :meth:`MainLoop._run_stream`: they are the
pseudocode of the documentation. The rest of a training lives in the neighbours: ``checks`` (batches and policies),
``events`` (hooks), ``streams`` (wrappers and cursors), ``interrupts`` (signals), ``run_record`` and ``commits``
(durable state).
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from types import TracebackType
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from emloop._contracts import (
    REFUSED,
    SAFE,
    AbstractHook,
    AbstractModel,
    EpochAware,
    NaNAware,
    Prefetching,
    ResumeChanges,
    bind_run,
    weights_of,
)
from emloop._reporter.bar import announced_total
from emloop._reporter.reporter import Reading, Reporter
from emloop._reporter.telling import place_of
from emloop._settings.kinds import MAIN_LOOP
from emloop._state.random import random_state, restore_random_state, use_seed
from emloop._streams import StreamWrapper
from emloop._support.interrupting import WAITING, Interrupted, interruptible_function
from emloop._support.intervals import Interval, Rhythm, parse_interval
from emloop._support.problems import unknown_argument
from emloop.constants import EL_DEFAULT_TRAIN_STREAM, EL_LOG_ONLY, EL_SHOWN, EXIT_STOPPED
from emloop.declare import Count, Limits, Positive
from emloop.errors import ConfigError
from emloop.types import Batch, EpochData, StateTree, TrainingTerminated

from .checks import POLICIES, Policy, StreamChecks, has_nan, policy
from .commit_policy import Commit, CommitPolicy
from .events import BatchTimes, HookEvents, Listener
from .interrupts import STOPPED, CaughtInterrupts, TrainingInterrupted
from .record import Record, outcome
from .stage import Stage
from .streams import Buffer, StreamLike, Streams

__all__ = ["MainLoop"]

logger = logging.getLogger(__name__)

_OTHER_EPOCHS = "epochs are cut differently from here on; the result is no longer that of an unchanged run"
_OUTSIDE: Batch = {}
"""Stands for the batch in progress where none is read, so that no signal takes that for a wait to be given up."""


Inside: TypeAlias = Annotated[
    int | str,
    Limits(
        pattern=r"0*[1-9][0-9]*(ba|sa)?|([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)(s|min|h)",
        words="an interval inside an epoch such as 500 or 500ba (batches), 10000sa (samples), 30s, 10min or 2h",
    ),
]


class _Look:
    """After which batch of the stream in progress to see to what is due; anybody may set it to 0 at any time.

    ``seen``: the batch after which that was done last.
    """

    __slots__ = ("at", "seen")

    def __init__(self) -> None:
        self.at = self.seen = 0


class MainLoop(CaughtInterrupts):
    """Runs a model on the streams of a dataset and tells the hooks.

    Args:
        model: The model.
        dataset: The dataset; every stream is one of its ``<name>_stream`` methods.
        hooks: Observers, in order of delivery.
        train_stream_name: Name of the stream that trains the model.
        extra_streams: Names of the streams to evaluate in every epoch, after training.
        buffer: Number of batches to read ahead in a thread, while the model computes; the run is the same with any
            number. ``{size: 8, gate: model}``: only while the model allows it, by ``stream.allow_buffering``.
        workers: Number of processes that load batches of sequences, such as an ``IndexStream``, each with a dataset of
            its own, made from the configuration; 0: this process does. The run is the same with any number.
        on_empty_batch: What to do about a batch without examples: ``ignore``, ``warn`` or ``error``; it is never run.
        on_empty_stream: What to do about a stream without batches.
        on_unused_sources: What to do about sources that the model does not use; warns once per stream.
        on_unequal_lengths: What to do about a batch whose sources differ in length.
        on_incorrect_config: What to do about unknown arguments, here and of dataset, model and hooks.
        epochs_count: Number of training epochs after which to stop; ``None`` for no limit.
        fixed_batch_size: Size that a batch must have to be used; others are dropped.
        fixed_epoch_size: Batches per training epoch; ``None`` for one pass over the stream.
        evaluate_every: Interval of training after which the extra streams are evaluated inside an epoch, too, counted
            from the last evaluation: ``500ba`` (batches), ``10000sa`` (samples), ``10min``. It changes no batch and no
            random number of the training.
        skip_zeroth_epoch: Whether to skip the evaluation before the first training epoch.
        overfit: Number of batches to which every stream is cut, the same in every epoch: a model that cannot learn
            these by heart has a mistake. Such an epoch is one pass; later evaluations of the run see whole streams.
        seed: The run's only seed; drawn and recorded if not given.
        commit: When to commit, and which commits to keep: ``{every: auto, keep: 2}``.
        on_inexact_resume: What to do if something cannot take its state back on resume.

    Raises:
        ConfigError: If an argument is unknown or has an impossible value.
    """

    EMPTY_ACTIONS: ClassVar[Sequence[str]] = POLICIES
    UNUSED_SOURCE_ACTIONS: ClassVar[Sequence[str]] = POLICIES
    INCORRECT_CONFIG_ACTIONS: ClassVar[Sequence[str]] = POLICIES
    resume_changes: ClassVar[ResumeChanges] = {
        "seed": REFUSED,
        "train_stream_name": "another stream trains from here on; the result is no longer that of an unchanged run",
        "fixed_batch_size": _OTHER_EPOCHS,
        "fixed_epoch_size": _OTHER_EPOCHS,
        "overfit": "other batches train from here on; the result is no longer that of an unchanged run",
        "*": SAFE,
    }

    def __init__(
        self,
        model: AbstractModel,
        dataset: object,
        hooks: Iterable[AbstractHook] = (),
        train_stream_name: str = EL_DEFAULT_TRAIN_STREAM,
        extra_streams: Sequence[str] = (),
        buffer: Count | Buffer = 0,
        on_empty_batch: Policy = "error",
        on_empty_stream: Policy = "error",
        on_unused_sources: Policy = "warn",
        on_incorrect_config: Policy = "error",
        epochs_count: Count | None = None,
        fixed_batch_size: Positive | None = None,
        fixed_epoch_size: Positive | None = None,
        skip_zeroth_epoch: bool = False,
        *,
        on_unequal_lengths: Policy = "error",
        workers: Count = 0,
        evaluate_every: Inside | None = None,
        overfit: Positive | None = None,
        seed: Count | None = None,
        commit: Commit | None = None,
        on_inexact_resume: Policy = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        _refuse_unknown(kwargs, policy("on_incorrect_config", on_incorrect_config))
        self._policies = {
            "on_empty_batch": policy("on_empty_batch", on_empty_batch),
            "on_empty_stream": policy("on_empty_stream", on_empty_stream),
            "on_unused_sources": policy("on_unused_sources", on_unused_sources),
            "on_unequal_lengths": policy("on_unequal_lengths", on_unequal_lengths),
        }
        self.on_inexact_resume = policy("on_inexact_resume", on_inexact_resume)
        self.model = model
        self.dataset = dataset
        self.train_stream_name = train_stream_name
        self.extra_streams = _stream_list("extra_streams", extra_streams, train_stream_name)
        self.fixed_epoch_size = _positive("fixed_epoch_size", fixed_epoch_size)
        self.epochs_count = epochs_count
        self.seed = seed
        self.commit_policy = CommitPolicy.parse(commit)
        self.rhythm = None if evaluate_every is None else Rhythm(_inside_epochs(evaluate_every))
        """When the next evaluation inside an epoch is due; ``None`` if there are none."""
        self._evaluated: Mapping[str, StreamWrapper] = {}
        self._workers = workers
        self.training_epochs_done = 0
        self.zeroth_epoch_done = False
        self.samples_since_commit = 0
        self.batches_ended = 0
        """Batches of training streams that have ended; see :attr:`batches_done`."""
        self._trained = 0  # since the last commit, before the stream in progress
        self._trains: StreamChecks | None = None  # of the stream in progress, if it trains
        self.is_training = False
        self._fixed_batch_size = _positive("fixed_batch_size", fixed_batch_size)
        self._skip_zeroth_epoch = skip_zeroth_epoch
        self._warned: set[str] = set()
        self.events = HookEvents(hooks)
        self._epoch_profile: dict[str, Sequence[float]] = {}
        self._times: BatchTimes | None = None  # of the stream in progress, if a hook looks at them
        self.events.register(self)
        self._run_model = bind_run(model)
        self._end_epoch = model.end_epoch if isinstance(model, EpochAware) else None
        self._first_nan = model.first_nan if isinstance(model, NaNAware) else None
        self.stage: Stage | None = None
        """How far the epoch in progress has come; ``None`` between two."""
        self._look = _Look()
        self._epoch_id = 0
        self._running: Batch | None = _OUTSIDE  # None while the next batch is read
        self.streams = Streams(
            dataset,
            Buffer.parse(buffer),
            self._epoch_size,
            model.prefetch if isinstance(model, Prefetching) else None,
            first=_positive("overfit", overfit),
        )
        self._record = Record()
        self.reporter = Reporter()
        """What shows a person how the run gets on."""
        self._introduces = False
        self.exit_status = 0
        self._exit: ExitStack | None = None

    # -- running ------------------------------------------------------------------------------------------------------

    def run_training(self) -> None:
        """Train until a hook, a signal or ``epochs_count`` ends it.

        Epochs are numbered from 1; the zeroth epoch, unless skipped, evaluates all streams first.
        """
        with self._terminable("Training"), self:
            train, extra, everything = self.look_up_streams()
            logger.debug("Training started")
            self._record.start(train)
            self._introduce()
            if not (self._skip_zeroth_epoch or self.zeroth_epoch_done):
                logger.info("Evaluating the model before the first training epoch", extra=EL_LOG_ONLY)
                self._run_epoch({}, everything)
            self._stop_at_epochs_count()
            while True:
                logger.info("Training epoch %s", self.training_epochs_done + 1, extra=EL_LOG_ONLY)
                self._run_epoch(train, extra)
                self._stop_at_epochs_count()
                logger.info("Epoch %s done\n\n", self.training_epochs_done, extra=EL_LOG_ONLY)

    def run_evaluation(self, stream_name: str, *more: str) -> None:
        """Evaluate one or more streams, in order, as one epoch.

        Args:
            stream_name: Name of the stream.
            *more: Names of further streams.

        Raises:
            MissingStreamError: If the dataset lacks one of them.
        """
        self.streams.first = None
        with self._terminable("Evaluation"), self:
            streams = self.streams.prepare([stream_name, *more], "eval", training=False)
            names = ", ".join(f"`{name}`" for name in streams)
            logger.info("Running the evaluation of stream %s", names, extra=EL_LOG_ONLY)
            self._run_epoch({}, streams)
            logger.info("Evaluation done\n\n", extra=EL_LOG_ONLY)

    def epoch(
        self,
        train_streams: Sequence[StreamLike] = (),
        eval_streams: Sequence[StreamLike] = (),
        *,
        valid_streams: Sequence[StreamLike] = (),
    ) -> None:
        """Run a single epoch from Python, over streams given by name, as iterables or as wrappers.

        Wrap one or more in ``with main_loop:`` for ``before_training``, ``after_training`` and signal handling.

        Args:
            train_streams: Streams to train on, in order.
            eval_streams: Streams to evaluate afterwards.
            valid_streams: Another name for ``eval_streams``.

        Raises:
            TrainingTerminated: If a hook ended the training.
            ConfigError: If two streams share a name.
        """
        self.streams.forget()
        try:
            train = self.streams.prepare(train_streams, "train", training=True)
            evaluate = self.streams.prepare([*eval_streams, *valid_streams], "eval", training=False)
            if common := sorted(set(train) & set(evaluate)):
                raise ConfigError(f"streams {common} are given both to train on and to evaluate; name each once")
            self._run_epoch(train, evaluate)
        finally:
            self.streams.forget()

    def _introduce(self) -> None:
        """Let the reporter begin, once in an attempt."""
        if self._introduces:
            self._introduces = False
            self.reporter.begin(self._record.facts(self))

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

    # -- context ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Install signal handlers, publish the seed and fire ``before_training``; once, where blocks are nested."""
        if self._exit is not None:
            return self
        with ExitStack() as entered:
            super().__enter__()
            entered.push(super().__exit__)
            entered.callback(self.streams.close)
            entered.enter_context(use_seed(self.seed))
            entered.push(lambda _kind, error, _trace: self.reporter.end(*outcome(error)[:2]))
            entered.push(lambda _kind, error, _trace: self._record.finish(error))
            entered.push(
                lambda _kind, error, _trace: self.events.after_training(
                    error is None or isinstance(error, (TrainingTerminated, *STOPPED))
                )
            )
            if self._workers and self.streams.workers is None:
                logger.warning(
                    "main_loop.workers: this process loads all streams, since others could only make a dataset that a "
                    "configuration describes, and none but your own"
                )
            self._record.begin()
            self._introduces = True
            self.events.before_training(self.raise_check_interrupt)
            self._exit = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Fire ``after_training``, end the attempt, put the signal handlers back.

        Raises:
            TrainingTerminated: In place of a ``KeyboardInterrupt``.
        """
        entered, self._exit = self._exit, None
        if entered is None:
            return  # run_training inside of the block has ended it
        self.exit_status = EXIT_STOPPED if isinstance(error, STOPPED) else 0
        entered.__exit__(kind, error, trace)
        if isinstance(error, KeyboardInterrupt):
            raise TrainingInterrupted(str(error) or type(error).__name__) from None

    @contextmanager
    def _terminable(self, what: str) -> Generator[None]:
        try:
            yield
        except (TrainingTerminated, KeyboardInterrupt) as ended:
            if isinstance(ended, STOPPED):
                self.exit_status = EXIT_STOPPED  # also where it came before the first batch
            logger.info("%s terminated: %s", what, str(ended) or type(ended).__name__, extra=EL_SHOWN)

    # -- parts --------------------------------------------------------------------------------------------------------

    def attach(self, record: Record) -> None:
        """Let a record follow the loop: it writes metrics, commits, and ends the attempt."""
        self._record = record

    @property
    def weights(self) -> Mapping[str, str]:
        """Variable → the variable of the batch that weighs it, as the model says."""
        return weights_of(self.model)

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

    def get_stream(self, stream_name: str) -> StreamWrapper:
        """The wrapper of a stream: for training if that is the training stream, else for evaluation.

        Raises:
            MissingStreamError: If the dataset has no such stream.
        """
        return self.streams.get(stream_name, training=stream_name == self.train_stream_name)

    def prepare_streams(self, stream_list: Sequence[StreamLike], base_name: str) -> list[str]:
        """Wrap streams given by name, as iterables or as wrappers, and return their names.

        Raises:
            ConfigError: If two streams share a name.
        """
        return list(self.streams.prepare(stream_list, base_name, training=base_name == "train"))

    def look_up_streams(self) -> tuple[dict[str, StreamWrapper], dict[str, StreamWrapper], dict[str, StreamWrapper]]:
        """Wrappers of the streams to train on, to evaluate in each epoch, and to evaluate in the zeroth epoch.

        Raises:
            MissingStreamError: If the dataset lacks one of them.
        """
        train, extra = [self.train_stream_name], self.extra_streams
        return (
            self.streams.prepare(train, "train", training=True),
            self.streams.prepare(extra, "eval", training=False),
            self.streams.prepare([*train, *extra], "eval", training=False),
        )

    def epochs_count_reached(self) -> bool:
        """Whether the configured number of epochs has been trained."""
        return self.epochs_count is not None and self.training_epochs_done >= self.epochs_count

    def _stop_at_epochs_count(self) -> None:
        if self.epochs_count_reached():
            raise TrainingTerminated(f"main_loop.epochs_count = {self.epochs_count} is reached")

    def _epoch_size(self, name: str) -> int:
        is_cut = name != self.train_stream_name or self.streams.first
        return self.fixed_epoch_size if self.fixed_epoch_size and not is_cut else -1

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


def _stream_list(argument: str, names: Sequence[str], train_stream_name: str) -> list[str]:
    if isinstance(names, str):
        raise ConfigError(f"main_loop.{argument}: expected a list of stream names, got {names!r}; write [{names}]")
    listed = list(names)
    for name in listed:
        if listed.count(name) > 1 or name == train_stream_name:
            raise ConfigError(f"main_loop.{argument}: stream {name!r} is named twice, or is the training stream")
    return listed


def _inside_epochs(every: str | int) -> Interval:
    interval = parse_interval(every, argument="main_loop.evaluate_every")
    if interval.unit == "epochs":
        message = f"expected batches, samples or time, got {every!r}: the extra streams are evaluated after every epoch"
        raise ConfigError.about("main_loop.evaluate_every", message)
    return interval


def _positive(argument: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ConfigError(f"main_loop.{argument}: expected a positive number or null, got {value!r}")
    return value


def _refuse_unknown(arguments: Mapping[str, Any], action: str) -> None:
    if not arguments or action == "ignore":
        return
    if action == "warn":
        logger.warning("MainLoop was given unknown arguments. Extra arguments: %s", dict(arguments))
        return
    accepted = [name for name in inspect.signature(MainLoop).parameters if name not in ("kwargs", *MAIN_LOOP.injected)]
    raise ConfigError(unknown_argument("main_loop", name, accepted) for name in arguments)
