"""The main loop: a training or an evaluation from its start to its end.

Read :meth:`MainLoop.run_training`, and go on in ``epochs``: what happens in an epoch, and with every batch of it. The
rest of a training lives in the neighbours: ``checks`` (batches and policies), ``events`` (hooks), ``streams`` (wrappers
and cursors), ``interrupts`` (signals), ``run_record`` and ``commits`` (durable state).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from emloop._contracts import (
    REFUSED,
    SAFE,
    AbstractHook,
    AbstractModel,
    Prefetching,
    ResumeChanges,
    weights_of,
)
from emloop._settings.kinds import MAIN_LOOP
from emloop._state.random import use_seed
from emloop._streams import StreamWrapper
from emloop._support.intervals import Interval, Rhythm, parse_interval
from emloop._support.problems import unknown_argument
from emloop.constants import EL_DEFAULT_TRAIN_STREAM, EL_LOG_ONLY, EL_SHOWN, EXIT_STOPPED
from emloop.declare import Count, Limits, Positive
from emloop.errors import ConfigError
from emloop.types import TrainingTerminated

from .checks import POLICIES, Policy, policy
from .commit_policy import Commit, CommitPolicy
from .epochs import Epochs
from .interrupts import STOPPED, TrainingInterrupted
from .record import Record, outcome
from .streams import Buffer, StreamLike, Streams

__all__ = ["MainLoop"]

logger = logging.getLogger(__name__)

_OTHER_EPOCHS = "epochs are cut differently from here on; the result is no longer that of an unchanged run"

Inside: TypeAlias = Annotated[
    int | str,
    Limits(
        pattern=r"0*[1-9][0-9]*(ba|sa)?|([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)(s|min|h)",
        words="an interval inside an epoch such as 500 or 500ba (batches), 10000sa (samples), 30s, 10min or 2h",
    ),
]


class MainLoop(Epochs):
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
        _refuse_unknown(kwargs, policy("on_incorrect_config", on_incorrect_config))
        policies = {
            "on_empty_batch": policy("on_empty_batch", on_empty_batch),
            "on_empty_stream": policy("on_empty_stream", on_empty_stream),
            "on_unused_sources": policy("on_unused_sources", on_unused_sources),
            "on_unequal_lengths": policy("on_unequal_lengths", on_unequal_lengths),
        }
        self.on_inexact_resume = policy("on_inexact_resume", on_inexact_resume)
        self.train_stream_name = train_stream_name
        self.extra_streams = _stream_list("extra_streams", extra_streams, train_stream_name)
        super().__init__(
            model,
            dataset,
            hooks,
            Streams(
                dataset,
                Buffer.parse(buffer),
                self._epoch_size,
                model.prefetch if isinstance(model, Prefetching) else None,
                first=_positive("overfit", overfit),
            ),
            policies,
            CommitPolicy.parse(commit),
            None if evaluate_every is None else Rhythm(_inside_epochs(evaluate_every)),
            fixed_batch_size=_positive("fixed_batch_size", fixed_batch_size),
            fixed_epoch_size=_positive("fixed_epoch_size", fixed_epoch_size),
            epochs_count=epochs_count,
        )
        self.seed = seed
        self._workers = workers
        self._skip_zeroth_epoch = skip_zeroth_epoch
        self.events.register(self)
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

    def _stop_at_epochs_count(self) -> None:
        if self.epochs_count_reached():
            raise TrainingTerminated(f"main_loop.epochs_count = {self.epochs_count} is reached")

    def _epoch_size(self, name: str) -> int:
        is_cut = name != self.train_stream_name or self.streams.first
        return self.fixed_epoch_size if self.fixed_epoch_size and not is_cut else -1


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
