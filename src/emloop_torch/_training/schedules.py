"""Learning rates that change by themselves: schedules per step or per epoch, and a warm-up before them.

.. code-block:: yaml

    lr_schedule: {class: CosineAnnealingLR, T_max: 100, interval: epoch, warmup_steps: 500}

    lr_schedule:
      class: SequentialLR
      schedulers: [{class: ConstantLR, factor: 0.5, total_iters: 10}, {class: ExponentialLR, gamma: 0.9}]
      milestones: [10]

The warm-up is a factor from 0 to 1 that applies to single steps of the optimizer; a schedule never sees it, so any two
go together. What a state holds is where the schedule stands, not how it was configured: a restored training obeys the
configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Real
from typing import Annotated, Any, ClassVar, Literal

from torch import optim
from torch.optim import lr_scheduler

from emloop.arguments import Chosen, read_component
from emloop.declare import Family, Limits
from emloop.errors import ConfigError, dotted
from emloop.saved_models import check_state
from emloop.types import StateTree
from emloop_torch._classes import construct

from .optimizers import first_rates

__all__ = ["Schedule", "Schedules"]

_WARM = nullcontext()
_RATES = ("base_lrs", "_last_lr")
_LISTS = {"base_lrs", "max_lrs"}
"""What schedulers keep themselves of the rates that theirs are made of, for every group."""
_REACHED = ("base_lr", "max_lr", "swa_lr")
"""Arguments that are one rate for every group, or a list of one for each."""
_OF_A_FUNCTION = (
    "takes a function, which a configuration cannot hold; derive a class from it that makes its own, and name that one"
)


class Schedules(Family):
    """The key ``lr_schedule``.

    Attributes:
        interval: What a step of the schedule is.
        warmup_steps: Number of steps of the optimizer over which the rates rise from zero.
    """

    word = "schedule"
    home = "torch.optim.lr_scheduler"
    base = "torch.optim.lr_scheduler.LRScheduler"
    given = ("optimizer",)
    refused: ClassVar = {
        "ReduceLROnPlateau": "needs a metric; the hook DecayLROnPlateau sees all of them",
        "LambdaLR": _OF_A_FUNCTION,
        "MultiplicativeLR": _OF_A_FUNCTION,
        "last_epoch": "leave it out; a restored schedule goes on where it was",
    }
    nested = True
    needs_class = False

    interval: Literal["batch", "epoch"] = "epoch"
    warmup_steps: Annotated[int, Limits(minimum=0)] = 0


class Schedule:
    """The schedule of an optimizer's learning rates.

    Args:
        description: The key ``lr_schedule``; ``None`` for none.
        optimizer: The optimizer.
        keys: Where the configuration describes it.

    Raises:
        ConfigError: If the description is wrong.
    """

    def __init__(self, description: Any, optimizer: optim.Optimizer, keys: tuple[Any, ...] = ("lr_schedule",)) -> None:
        chosen = read_component(Schedules, description or {}, keys)
        self._keys = keys
        self._optimizer = optimizer
        self.interval = chosen.beside.get("interval", Schedules.interval)
        self._warmup_steps = chosen.beside.get("warmup_steps", Schedules.warmup_steps)
        self._steps = 0
        self._epoch_ended = False
        self._scheduler = self._build(chosen, keys) if chosen.cls is not None else None
        self._parts = [] if self._scheduler is None else _parts(self._scheduler)
        self._fresh = [_changing(part) for part in self._parts]

    def _build(self, chosen: Chosen, keys: tuple[Any, ...]) -> lr_scheduler.LRScheduler:
        arguments = dict(chosen.arguments)
        if "schedulers" in arguments:
            if not isinstance(arguments["schedulers"], list):
                message = (
                    f"expected a list such as [{{class: ExponentialLR, gamma: 0.9}}], got {arguments['schedulers']!r}"
                )
                raise ConfigError.about((*keys, "schedulers"), message)
            arguments["schedulers"] = [
                self._build(read_component(Schedules, each, at := (*keys, "schedulers", index)), at)
                for index, each in enumerate(arguments["schedulers"])
            ]
        rates = [group["lr"] for group in self._optimizer.param_groups]
        if len(set(rates)) > 1 and rates[-1]:
            # A rate to reach is that of the last group, too; PyTorch would give it to all of them.
            reached = {key: value for key, value in arguments.items() if key in _REACHED and isinstance(value, Real)}
            arguments |= {key: [value * rate / rates[-1] for rate in rates] for key, value in reached.items()}
        scheduler: lr_scheduler.LRScheduler = construct(
            keys, chosen._replace(arguments={**arguments, "optimizer": self._optimizer})
        )
        return scheduler

    @property
    def is_stock(self) -> bool:
        """Whether all of it is PyTorch's own."""
        return all(type(part).__module__ == lr_scheduler.__name__ for part in self._parts)

    def warmed_up(self) -> AbstractContextManager[None]:
        """Around one step of the optimizer: its rates as far as they have warmed up."""
        self._steps += 1
        return _WARM if self._steps >= self._warmup_steps else self._warming_up()

    @contextmanager
    def _warming_up(self) -> Iterator[None]:
        groups = self._optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * self._steps / self._warmup_steps
        try:
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def after_step(self) -> None:
        """Called after every step of the optimizer."""
        if self._scheduler is not None and self.interval == "batch":
            self._scheduler.step()

    def before_batch(self) -> None:
        """Called before every training batch. Only here an epoch moves the rates: until then, they are those it had.

        Raises:
            ConfigError: If a schedule that knows its end is at its end.
        """
        if self.interval == "batch" or self._epoch_ended:
            for part in self._parts:
                total = getattr(part, "total_steps", None)
                if total is not None and part.last_epoch >= total:
                    unit = "epochs" if self.interval == "epoch" else "steps"
                    message = f"{type(part).__name__} ends after {total} {unit}, and the training goes on"
                    keys = ("model", *self._keys, "total_steps")
                    hint = f"make it as long as the training, e.g. {dotted(keys)}={2 * total}"
                    raise ConfigError.about(keys, message, hint)
        if self._epoch_ended and self._scheduler is not None and self.interval == "epoch":
            self._scheduler.step()
        self._epoch_ended = False

    def end_epoch(self) -> None:
        """Called after the last batch of a training epoch."""
        self._epoch_ended = True

    def scale(self, factor: float | None) -> None:
        """Let the schedule go on from rates that somebody has changed by a factor; ``None`` if they were zero."""
        groups = self._optimizer.param_groups
        if factor is None:
            for group in groups:
                group.update({"initial_lr": group["lr"]} if "initial_lr" in group else {})
            self._take_base_rates("lr")
            return
        for group in groups:
            group.update({key: rate * factor for key, rate in first_rates(group).items()})
        for part in self._parts:
            for name in _LISTS & vars(part).keys():
                setattr(part, name, [rate * factor for rate in getattr(part, name)])

    def state_dict(self) -> StateTree:
        """Where the schedule stands."""
        changed = []
        for part, fresh in zip(self._parts, self._fresh, strict=True):
            now = sorted(_changing(part).items())
            changed.append({key: value for key, value in now if key in _RATES or value != fresh.get(key)})
        return {
            "classes": [type(part).__name__ for part in self._parts],
            "steps": self._steps,
            "epoch_ended": self._epoch_ended,
            "schedulers": changed,
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned; a schedule of another class begins anew.

        Raises:
            StateError: If it is no such state.
        """
        kind = {"classes": [str, ...], "steps": int, "epoch_ended": bool, "schedulers": [{str: object}, ...]}
        check_state("learning-rate schedule", state, kind)
        self._steps, self._epoch_ended = state["steps"], state["epoch_ended"]
        if state["classes"] != [type(part).__name__ for part in self._parts]:
            return
        for part, changed in zip(self._parts, state["schedulers"], strict=True):
            if type(part).__module__ == lr_scheduler.__name__:  # what others remember may be of any kind
                own = {key: _kind(value) for key, value in _changing(part).items()}
                check_state(
                    type(part).__name__, changed, {key: own.get(key, ()) for key in {*changed, *(own.keys() & _RATES)}}
                )
        for part, fresh, changed in zip(self._parts, self._fresh, state["schedulers"], strict=True):
            # What is no number, such as the function of a LambdaLR, comes from the configuration.
            part.load_state_dict({**part.state_dict(), **fresh, **changed})
        self._take_base_rates("initial_lr")

    def _take_base_rates(self, key: str) -> None:
        for part in self._parts:
            if hasattr(part, "base_lrs"):
                part.base_lrs = [group[key] for group in self._optimizer.param_groups]


def _parts(scheduler: lr_scheduler.LRScheduler) -> list[lr_scheduler.LRScheduler]:
    """A scheduler, and those that it is made of."""
    return [scheduler, *(part for inner in getattr(scheduler, "_schedulers", ()) for part in _parts(inner))]


def _changing(scheduler: lr_scheduler.LRScheduler) -> dict[str, Any]:
    """What a scheduler keeps of numbers, and lists of them; its other attributes are how it was made."""
    return {
        key: list(value) if isinstance(value, (list, tuple)) else value
        for key, value in scheduler.state_dict().items()
        if _is_plain(value)
    }


def _kind(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_kind, value))
    # What no epoch has measured yet may be None.
    return type(value) if isinstance(value, (bool, str)) else (Real, None)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
