"""Learning rates that change by themselves: schedules per step or per epoch, and a warm-up before them.

.. code-block:: yaml

    lr_schedule: {class: CosineAnnealingLR, T_max: 100, interval: epoch, warmup_steps: 500}

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

from ._classes import construct, require_mapping, split_class

__all__ = ["Schedule"]

_BATCH, _EPOCH = "batch", "epoch"
_RATES = ("base_lrs", "_last_lr")
_KEYS = ("class", "interval", "warmup_steps")


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
        self._fresh = _changing(self._scheduler)

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
        scheduler: lr_scheduler.LRScheduler = construct("lr_schedule", cls, arguments, self._optimizer)
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
        """Let the schedule go on from rates that somebody has changed by a factor."""
        for group in self._optimizer.param_groups:
            if "initial_lr" in group:
                group["initial_lr"] = group["lr"] if factor is None else group["initial_lr"] * factor
        if self._scheduler is not None:
            self._scheduler.base_lrs = [
                group["lr"] if factor is None else rate * factor
                for rate, group in zip(self._scheduler.base_lrs, self._optimizer.param_groups, strict=True)
            ]

    def state_dict(self) -> StateTree:
        """Where the schedule stands."""
        now = _changing(self._scheduler)
        changed = {key: value for key, value in sorted(now.items()) if key in _RATES or value != self._fresh.get(key)}
        kind = type(self._scheduler).__name__ if self._scheduler is not None else None
        return {"class": kind, "steps": self._steps, "epoch_ended": self._epoch_ended, "scheduler": changed}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned; a schedule of another class begins anew.

        Raises:
            StateError: If it is no such state.
        """
        if not isinstance(state, Mapping) or not {"class", "steps", "epoch_ended", "scheduler"} <= state.keys():
            raise StateError("no state of a learning-rate schedule")
        self._steps, self._epoch_ended = state["steps"], state["epoch_ended"]
        if self._scheduler is not None and state["class"] == type(self._scheduler).__name__:
            self._scheduler.load_state_dict({**self._fresh, **state["scheduler"]})
            self._scheduler.base_lrs = [group["initial_lr"] for group in self._optimizer.param_groups]


def _changing(scheduler: lr_scheduler.LRScheduler | None) -> dict[str, Any]:
    """What a scheduler keeps of numbers, and lists of them; its other attributes are how it was made."""
    if scheduler is None:
        return {}
    return {
        key: list(value) if isinstance(value, (list, tuple)) else value
        for key, value in scheduler.state_dict().items()
        if _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
