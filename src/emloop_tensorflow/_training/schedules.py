"""Learning rates that change by themselves, as part of a graph: schedules of Keras, and a warm-up before them.

.. code-block:: yaml

    lr_schedule: {class: CosineDecay, decay_steps: 100, interval: epoch, warmup_steps: 500}

The warm-up is a factor from 0 to 1 that applies to single steps of the optimizer; a schedule never sees it, so any two
go together.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from emloop.arguments import made, read_component
from emloop.declare import Count, Family

__all__ = ["Schedule", "Schedules"]


class Schedules(Family):
    """The key ``lr_schedule``.

    Attributes:
        interval: What a step of the schedule is.
        warmup_steps: Number of steps of the optimizer over which the rate rises from zero.
    """

    word = "schedule"
    home = "keras.optimizers.schedules"
    base = "keras.optimizers.schedules.LearningRateSchedule"
    given = ("initial_learning_rate",)
    refused: ClassVar = {
        "warmup_target": "the rate warms up to the optimizer's `learning_rate`: `warmup_steps: 500`",
    }
    needs_class = False

    interval: Literal["batch", "epoch"] = "epoch"
    warmup_steps: Count = 0


class Schedule:
    """The schedule of an optimizer's learning rate.

    Args:
        description: The key ``lr_schedule``; ``None`` for none.
        rate: The optimizer's learning rate, with which it begins.

    Raises:
        ConfigError: If the description is wrong.
    """

    def __init__(self, description: Any, rate: float) -> None:
        keys = ("lr_schedule",)
        chosen = read_component(Schedules, description or {}, keys)
        self.interval = chosen.beside.get("interval", Schedules.interval)
        self.warmup_steps = chosen.beside.get("warmup_steps", Schedules.warmup_steps)
        self.at: Any = None
        """Step → rate; ``None``: the rate stays as it is."""
        if chosen.cls is not None:
            begins = {} if chosen.cls.__name__ == "PiecewiseConstantDecay" else {"initial_learning_rate": rate}
            with made(keys, chosen.cls, chosen.arguments):
                self.at = chosen.cls(**begins, **chosen.arguments)
