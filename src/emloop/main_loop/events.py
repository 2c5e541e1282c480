"""Delivers the loop's events to the hooks, in the order of the configuration.

Which hooks listen to which event is decided once. An exception keeps its type and traceback and gains a note that
names the hook and the event.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import dropwhile, islice
from time import perf_counter
from typing import Any

from emloop._contracts import AbstractHook, Loop, Monitored
from emloop._streams import StreamWrapper
from emloop.errors import ConfigError
from emloop.types import Batch, EpochData, TrainingTerminated

__all__ = ["BatchTimes", "HookEvents", "Listener"]

Listener = tuple[str, Callable[..., None]]


class HookEvents:
    """The hooks of a loop, by name and by event.

    Args:
        hooks: The hooks, in order of delivery. A hook is named as the configuration says, or else after its class;
            equal class names get a number.
    """

    def __init__(self, hooks: Iterable[AbstractHook]) -> None:
        self.by_name = _named(hooks)
        self._started: list[Listener] = []
        self.batch_listeners = self._listeners("after_batch")
        self.inside_listeners = [one for one in self.batch_listeners if _takes_part(self.by_name[one[0]])]
        """Those that hear the batches of evaluations inside an epoch."""
        self._after_evaluation = [
            (name, hook.after_evaluation) for name, hook in self.by_name.items() if _takes_part(hook)
        ]
        self._after_epoch = self._listeners("after_epoch")
        self._after_epoch_profile = self._listeners("after_epoch_profile")
        self._after_note = self._listeners("after_note")

    @property
    def monitored(self) -> list[Monitored]:
        """What hooks watch."""
        return [hook.monitored for hook in self.by_name.values() if hook.monitored is not None]

    @property
    def wants_profile(self) -> bool:
        """Whether any hook looks at the times."""
        return bool(self._after_epoch_profile)

    def times(self) -> tuple[Sequence[float], Callable[[float], object]]:
        """Times of an event, none so far, as compact as the hooks that look at them allow; and what adds one."""
        if all(_only_sums(self.by_name[name]) for name, _ in self._after_epoch_profile):
            total = [0.0]
            adding = _added_to(total)
            next(adding)
            return total, adding.send
        times = array("d")
        return times, times.append

    def register(self, loop: Loop) -> None:
        """Tell every hook which loop it observes."""
        for hook in self.by_name.values():
            hook.register_mainloop(loop)

    def before_training(self, check: Callable[[], None]) -> None:
        """Fire ``before_training``; every hook reached will also see ``after_training``.

        Args:
            check: Called before each of them; may raise.
        """
        self._started = []
        for name, hook in self.by_name.items():
            check()
            self._started.append((name, hook.after_training))
            _call(name, "before_training", hook.before_training)

    @staticmethod
    def has_raised(
        listeners: Iterable[Listener], hook: str, error: Exception, stream_name: str, batch_data: Mapping[str, Any]
    ) -> None:
        """Say where ``after_batch`` has failed; if it only ends the training, the hooks behind see the batch, too."""
        if not isinstance(error, TrainingTerminated):
            error.add_note(f"raised by hook {hook} in after_batch of stream {stream_name!r}")
            return
        behind = dropwhile(lambda one: one[0] != hook, listeners)
        for name, listener in islice(behind, 1, None):
            with suppress(TrainingTerminated):  # the first one counts
                event = f"after_batch of stream {stream_name!r}"
                _call(name, event, listener, stream_name=stream_name, batch_data=batch_data)

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> TrainingTerminated | None:
        """Fire ``after_epoch`` on every hook and return the last ``TrainingTerminated``, if any."""
        event = f"after_epoch of epoch {epoch_id}"
        return _last_stop(self._after_epoch, event, epoch_id=epoch_id, epoch_data=epoch_data)

    def after_evaluation(self, batches: int, epoch_data: EpochData) -> TrainingTerminated | None:
        """Fire ``after_evaluation`` on every hook that takes part; return the last ``TrainingTerminated``, if any."""
        event = f"after_evaluation after batch {batches}"
        return _last_stop(self._after_evaluation, event, batches=batches, epoch_data=epoch_data)

    def after_epoch_profile(self, epoch_id: int, profile: Mapping[str, Sequence[float]], streams: list[str]) -> None:
        """Fire ``after_epoch_profile`` on every hook."""
        event = f"after_epoch_profile of epoch {epoch_id}"
        for name, listener in self._after_epoch_profile:
            _call(name, event, listener, epoch_id=epoch_id, profile=profile, streams=streams)

    def after_note(self, batches: int, data: EpochData) -> None:
        """Fire ``after_note`` on every hook."""
        for name, listener in self._after_note:
            _call(name, f"after_note of batch {batches}", listener, batches=batches, data=data)

    def after_training(self, success: bool) -> None:
        """Fire ``after_training`` on every hook that saw ``before_training``, then raise the first error."""
        failed = None
        while self._started:
            name, listener = self._started.pop(0)
            try:
                _call(name, "after_training", listener, success)
            except Exception as error:  # noqa: BLE001 - raised below, once every hook has had its turn
                failed = failed or error
        if failed is not None:
            raise failed

    def _listeners(self, event: str) -> list[Listener]:
        found = []
        for name, hook in self.by_name.items():
            method = getattr(hook, event)
            if getattr(method, "__func__", None) not in (
                getattr(AbstractHook, event),
                *hook.idle_events,
            ):
                found.append((name, method))
        return found


class BatchTimes:
    """Takes the times of a stream's batches: of reading, of the model, and of all from there to the last hook.

    Args:
        stream: Name of the stream.
        run_model: The model's ``run``.
        events: Whose hooks look at the times.

    Attributes:
        since: When the next batch began to be read.
        profile: The times of each event, in seconds.
    """

    def __init__(self, stream: str, run_model: Callable[..., Batch], events: HookEvents) -> None:
        self._run_model = run_model
        kept = {event: events.times() for event in ("read_batch", "eval_batch", "after_batch_hooks")}
        self._was_read, self._was_run, self._was_heard = (add for _, add in kept.values())
        self.profile = {f"{event}_{stream}": times for event, (times, _) in kept.items()}
        self.since = perf_counter()

    def run(self, batch: Batch, train: bool, stream: StreamWrapper) -> Batch:
        """Run the model."""
        began = perf_counter()
        self._was_read(began - self.since)
        outputs = self._run_model(batch=batch, train=train, stream=stream)
        self.since = perf_counter()
        self._was_run(self.since - began)
        return outputs

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:  # noqa: ARG002 - as of a hook
        """Called as the last hook."""
        began, self.since = self.since, perf_counter()
        self._was_heard(self.since - began)


def _added_to(total: list[float]) -> Generator[None, float]:
    """Adds what it is sent, in half the time that a method takes."""
    while True:
        total[0] += yield


def _last_stop(listeners: Iterable[Listener], event: str, **arguments: Any) -> TrainingTerminated | None:
    terminated = None
    for name, listener in listeners:
        try:
            _call(name, event, listener, **arguments)
        except TrainingTerminated as stop:
            terminated = stop
    return terminated


def _takes_part(hook: AbstractHook) -> bool:
    """Whether a hook takes part in evaluations inside an epoch, as the docstring of ``after_evaluation`` says."""
    for cls in type(hook).__mro__:
        if cls is AbstractHook:
            return hook.stateless
        if "after_evaluation" in vars(cls):
            return True
        if "after_epoch" in vars(cls) or ("after_batch" in vars(cls) and not hook.stateless):
            return False
    return False


def _named(hooks: Iterable[AbstractHook]) -> dict[str, AbstractHook]:
    named: dict[str, AbstractHook] = {}
    for hook in hooks:
        given = getattr(hook, "hook_name", None)
        name = base = type(hook).__name__ if given is None else given
        if given is not None and base in named:
            raise ConfigError.about("hooks", f"two hooks are named {base!r}; give one of them another `name`")
        number = 1
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = hook
    return named


def _only_sums(hook: AbstractHook) -> bool:
    """Whether the class that defines ``after_epoch_profile`` says so."""
    owner = next(cls for cls in type(hook).__mro__ if "after_epoch_profile" in vars(cls))
    return bool(vars(owner).get("only_sums_times", False))


def _call(name: str, event: str, listener: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    try:
        listener(*args, **kwargs)
    except TrainingTerminated:
        raise
    except Exception as error:
        error.add_note(f"raised by hook {name} in {event}")
        raise
