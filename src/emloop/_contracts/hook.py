"""The contract of hooks: observe the main loop's events, and declare what they remember, read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from emloop._settings.hints import Accepted
from emloop._settings.live import accepted_by
from emloop._settings.signatures import accepted_by_source
from emloop._source.ancestry import Ancestry
from emloop._source.library import ClassSource
from emloop._support.problems import unknown_argument
from emloop.errors import ConfigError, HookError, StateError
from emloop.types import Batch, EpochData, StateTree, TimeProfile, TrainingTerminated

from .resume_changes import ResumeChanges

__all__ = ["AbstractHook", "Loop", "Monitored", "TrainingTerminated", "declares_state"]


class Monitored(NamedTuple):
    """A value of an epoch that a hook watches.

    Attributes:
        variable: Name of the variable.
        stream: Name of the stream.
        aggregation: Which of the variable's aggregations; a plain number counts as any.
        condition: Whether smaller (``min``) or larger (``max``) is better.
        saved_as: Suffix of the model that the hook saves when the value is best; empty if it saves none.
    """

    variable: str
    stream: str = "valid"
    aggregation: str | None = "mean"
    condition: str = "min"
    saved_as: str = ""


class Loop(Protocol):
    """What a hook may ask of the main loop it observes."""

    reporter: Any
    """What shows a person how the run gets on."""

    @property
    def training_epochs_done(self) -> int:
        """Number of finished training epochs."""

    @property
    def fixed_epoch_size(self) -> int | None:
        """Number of batches in a training epoch, if fixed."""

    @property
    def extra_streams(self) -> list[str]:
        """Names of the streams evaluated in every epoch."""

    @property
    def train_stream_name(self) -> str:
        """Name of the stream the model is trained on."""

    @property
    def weights(self) -> Mapping[str, str]:
        """Variable → the variable of the batch that weighs it, as the model says."""

    @property
    def is_training(self) -> bool:
        """Whether the current batches train the model; false in the zeroth epoch and on evaluated streams."""

    def note(self, data: EpochData) -> None:
        """Note numbers inside an epoch: in ``steps.jsonl``, and for hooks that hear ``after_note``."""


class AbstractHook:
    """Observer of the main loop; override the events that matter.

    .. code-block:: python

        class Announce(el.AbstractHook):
            def __init__(self, text, **kwargs):
                super().__init__(**kwargs)
                self._text = text

            def after_epoch(self, epoch_id, epoch_data):
                logging.getLogger(__name__).info("%s: %s", self._text, epoch_data["valid"]["loss"]["mean"])

    The constructor receives the arguments in the configuration, and ``model``, ``dataset`` and ``output_dir`` if it
    names them or takes ``**kwargs``.

    A hook that remembers something between events overrides :meth:`state_dict` and :meth:`load_state_dict`, or a
    resumed run forgets it; one with nothing to remember sets ``stateless = True``.
    """

    EL_HOOK_INIT_ARGS: ClassVar[frozenset[str]] = frozenset({"model", "dataset", "output_dir"})
    """Injected objects that constructors with ``**kwargs`` receive."""

    stateless: ClassVar[bool] = False
    """Whether the hook remembers nothing that a resumed run needs."""

    steers_training: ClassVar[bool] = False
    """Whether the hook saves, steers or stops a training; it then steps aside in evaluations that do not name it."""

    resume_changes: ClassVar[ResumeChanges] = {}
    """What a changed argument means for a resumed run: argument (``*``: any other) → ``safe``, ``refused``, or its
    effect in words. Without an entry, a change is safe if the hook is stateless. Shown, or refused, before anything is
    written."""

    reads: ClassVar[Sequence[NamedTuple]]
    """What the hook reads, in the words of :mod:`emloop.declare`; ``()`` for nothing. With ``writes`` it lets ``emloop
    check`` see typing errors, a wrong order and collisions. Without either, nothing is certain about ``epoch_data`` for
    the hooks behind one that looks at it. A class that overrides an event declares anew what it does there."""

    writes: ClassVar[Sequence[NamedTuple]]
    """What the hook writes, likewise."""

    monitored: Monitored | None = None
    """What the hook watches, if it does; it is shown first, its best epochs are marked, and listings judge the run by
    it."""

    only_sums_times: ClassVar[bool] = False
    """Whether ``after_epoch_profile`` does no more than add up the times of an event. If that is enough for all hooks,
    only their sum is kept, so that the memory does not grow with the epoch."""

    idle_events: Sequence[Callable[..., None]] = ()
    """Events, as the class defines them, that do nothing as this hook is configured, e.g. ``[MyHook.after_batch]``; the
    loop need not call them."""

    hook_name: str | None = None
    """The hook's ``name:`` in the configuration, if any; its state and overrides refer to it by that."""

    _main_loop: Loop | None = None

    def __init__(self, **kwargs: Any) -> None:
        """
        Raises:
            ConfigError: For every argument that no constructor of the class took.
        """
        unknown = sorted(set(kwargs) - self.EL_HOOK_INIT_ARGS)
        if unknown:
            accepted = _accepted_by(type(self))
            if not accepted.open:
                strange = [name for name in unknown if name not in accepted.hints]
                names = sorted(set(accepted.hints) - self.EL_HOOK_INIT_ARGS)
                if strange:
                    raise ConfigError(unknown_argument(type(self).__name__, name, names) for name in strange)

    def register_mainloop(self, main_loop: Loop) -> None:
        """Attach the hook to the one loop it observes.

        Raises:
            HookError: If it is registered already.
        """
        if self._main_loop is not None:
            raise HookError(f"hook {type(self).__name__} is registered with a main loop already; create one per loop")
        self._main_loop = main_loop

    def before_training(self) -> None:
        """Called once per attempt, before the first batch."""

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Called after the model has run a batch.

        Args:
            stream_name: The stream the batch came from.
            batch_data: The batch's sources and the model's outputs, ``B`` examples each; one mutable mapping shared
                by all hooks.

        Raises:
            TrainingTerminated: To end the training; the remaining hooks still see the batch.
        """

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Called after all streams of an epoch.

        Args:
            epoch_id: Training epochs done; 0 in the zeroth epoch and in evaluation.
            epoch_data: Stream → variable → value; hooks write here what later hooks read.

        Raises:
            TrainingTerminated: To end the training; the remaining hooks still see the epoch.
        """

    def after_epoch_profile(self, epoch_id: int, profile: TimeProfile, streams: Sequence[str]) -> None:
        """Called after ``after_epoch`` with the epoch's times.

        Args:
            epoch_id: As in ``after_epoch``.
            profile: Event name, e.g. ``eval_batch_train`` → seconds, one per occurrence.
            streams: Names of the streams of this epoch, training streams first.
        """

    def after_evaluation(self, batches: int, epoch_data: EpochData) -> None:
        """Called after an evaluation inside an epoch, which ``main_loop.evaluate_every`` asks for.

        A class that overrides it takes part in such evaluations: it hears their batches by ``after_batch``, and forgets
        here what it has gathered of their streams, but not of the training stream in progress. A derived class that
        overrides ``after_epoch``, or ``after_batch``, has to override this event again to take part. Others hear
        nothing of these evaluations, except stateless ones that only look at batches.

        Args:
            batches: Batches that were trained on so far, in all epochs.
            epoch_data: Evaluated stream → variable → value; hooks write here what later hooks read.

        Raises:
            TrainingTerminated: To end the training; the remaining hooks still see the evaluation.
        """

    def after_note(self, batches: int, data: EpochData) -> None:
        """Called when something is noted inside an epoch, such as the running means of ``LogEvery``.

        Args:
            batches: Batches that were trained on so far, in all epochs.
            data: Stream → variable → aggregation → number.
        """

    def after_training(self, success: bool) -> None:
        """Called once per attempt, at its end.

        Args:
            success: Whether the attempt ended without an error.
        """

    def state_dict(self) -> StateTree:
        """Everything the hook remembers between events, as a state tree; ``{}`` for nothing."""
        return {}

    def load_state_dict(self, state: StateTree) -> None:
        """Take up what :meth:`state_dict` of an equally configured hook returned.

        Raises:
            StateError: If the state is not one of this class.
        """
        if state:
            raise StateError(f"{type(self).__name__} keeps no state, but was given {', '.join(sorted(state))}")


def declares_state(hook: object) -> bool:
    """Whether the class of a hook says what it remembers, or that there is nothing to remember."""
    for cls in type(hook).__mro__:
        if cls in (AbstractHook, object):
            return False
        if "state_dict" in vars(cls) or vars(cls).get("stateless"):
            return True
    return False


def _accepted_by(cls: type) -> Accepted:
    """What a class of hooks accepts: as its source says, which shows what it takes out of ``**kwargs`` itself."""
    from emloop._config.check import new_library  # noqa: PLC0415 - for a mistake only

    library = new_library()
    module = library.module(cls.__module__)
    found = None if module is None else library.lookup(module, cls.__qualname__)
    accepted = accepted_by_source(Ancestry(library, found)) if isinstance(found, ClassSource) else None
    return accepted or accepted_by(cls)._replace(open=False)
