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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import optim
from torch.optim import lr_scheduler

from emloop.errors import ConfigError, Problem, StateError
from emloop.suggest import check_choice, did_you_mean
from emloop.types import StateTree
from emloop_torch._classes import construct, require_mapping, split_class

from .optimizers import first_rates

__all__ = ["Schedule"]

_BATCH, _EPOCH = "batch", "epoch"
_RATES = ("base_lrs", "_last_lr")
_LISTS = {"base_lrs", "max_lrs"}
"""What schedulers keep themselves of the rates that theirs are made of, for every group."""
_KEYS = ("class", "interval", "warmup_steps")
_OF_OTHERS = (lr_scheduler.SequentialLR, lr_scheduler.ChainedScheduler)
_OF_FUNCTIONS = (lr_scheduler.LambdaLR, lr_scheduler.MultiplicativeLR)


class Schedule:
    """The schedule of an optimizer's learning rates.

    Args:
        description: The key ``lr_schedule``; ``None`` for none.
        optimizer: The optimizer.

    Raises:
        ConfigError: If the description is wrong.
    """

    def __init__(self, description: Any, optimizer: optim.Optimizer) -> None:
        values = require_mapping("lr_schedule", description or {}, "{class: CosineAnnealingLR, T_max: 100}")
        self._optimizer = optimizer
        self.interval = check_choice("lr_schedule: interval", values.pop("interval", _EPOCH), (_BATCH, _EPOCH))
        self._warmup_steps = values.pop("warmup_steps", 0)
        if isinstance(self._warmup_steps, bool) or not isinstance(self._warmup_steps, int) or self._warmup_steps < 0:
            raise ConfigError(f"lr_schedule: warmup_steps: expected a number of steps, got {self._warmup_steps!r}")
        self._steps = 0
        self._epoch_ended = False
        self._scheduler = self._build(values) if values else None
        self._parts = [] if self._scheduler is None else _parts(self._scheduler)
        self._fresh = [_changing(part) for part in self._parts]

    def _build(self, values: dict[str, Any]) -> lr_scheduler.LRScheduler:
        if "class" not in values:
            unknown = next(iter(values))
            hints = (
                *did_you_mean(unknown, _KEYS),
                "lr_schedule takes: class, interval, warmup_steps, and what the class does",
            )
            raise ConfigError(
                Problem(f"lr_schedule: unknown argument {unknown!r} where there is no class", hints=hints)
            )
        cls, arguments = split_class("lr_schedule", values, lr_scheduler, lr_scheduler.LRScheduler)
        if issubclass(cls, lr_scheduler.ReduceLROnPlateau):
            raise ConfigError(
                "lr_schedule: ReduceLROnPlateau needs a metric; the hook DecayLROnPlateau sees all of them"
            )
        if cls in _OF_FUNCTIONS:
            raise ConfigError(
                f"lr_schedule: {cls.__name__} takes a function, which a configuration cannot hold; "
                "derive a class from it that makes its own, and name that one"
            )
        if "last_epoch" in arguments:
            raise ConfigError("lr_schedule: last_epoch: leave it out; a restored schedule goes on where it was")
        if cls in _OF_OTHERS:
            return self._build_of_others(cls, arguments)
        scheduler: lr_scheduler.LRScheduler = construct("lr_schedule", cls, arguments, self._optimizer)
        return scheduler

    def _build_of_others(self, cls: type[Any], arguments: dict[str, Any]) -> lr_scheduler.LRScheduler:
        descriptions = arguments.pop("schedulers", None)
        if not isinstance(descriptions, list) or not descriptions:
            example = "[{class: ConstantLR, total_iters: 10}, {class: ExponentialLR, gamma: 0.9}]"
            raise ConfigError(f"lr_schedule: schedulers: expected a list such as {example}, got {descriptions!r}")
        others = [self._build(require_mapping("lr_schedule: schedulers", each, "{class: …}")) for each in descriptions]
        first = (self._optimizer, others) if cls is lr_scheduler.SequentialLR else (others, self._optimizer)
        scheduler: lr_scheduler.LRScheduler = construct("lr_schedule", cls, arguments, *first)
        return scheduler

    @contextmanager
    def warmed_up(self) -> Iterator[None]:
        """Around one step of the optimizer: its rates as far as they have warmed up."""
        self._steps += 1
        if self._steps >= self._warmup_steps:
            yield
            return
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
        if self._scheduler is not None and self.interval == _BATCH:
            self._scheduler.step()

    def before_batch(self) -> None:
        """Called before every training batch. Only here an epoch moves the rates: until then, they are those it had."""
        if self._epoch_ended and self._scheduler is not None and self.interval == _EPOCH:
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
        if not isinstance(state, Mapping) or not {"classes", "steps", "epoch_ended", "schedulers"} <= state.keys():
            raise StateError("no state of a learning-rate schedule")
        self._steps, self._epoch_ended = state["steps"], state["epoch_ended"]
        if state["classes"] != [type(part).__name__ for part in self._parts]:
            return
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


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
