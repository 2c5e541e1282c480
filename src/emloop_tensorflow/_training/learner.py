"""What learns in a graph: an optimizer of Keras, with its schedule, its clipping and the batches that make one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from emloop.errors import ConfigError
from emloop.parameters import Clip
from emloop_tensorflow._graphs.variables import plain, unused

from .schedules import Schedule

__all__ = ["Learner"]


class Learner:
    """The steps of an optimizer; all that they depend on are variables.

    Args:
        rate: Its learning rate; ``None`` where it computes that itself.
        schedule: Moves the rate.
        clip: The key ``clip_gradient``.
        accumulate: Batches that make one step.
        scales: Whether the loss is scaled, so that 16-bit gradients do not vanish.
    """

    def __init__(
        self, rate: float | None, schedule: Schedule, clip: float | Clip | None, accumulate: int, *, scales: bool
    ) -> None:
        self._schedule, self._accumulate, self._scales = schedule, accumulate, scales
        self._clip = Clip.of(clip)
        self._optimizer: Any = None
        self._trained: dict[str, Any] = {}
        self._accumulated: dict[str, tf.Variable] = {}
        self.computes_rate = rate is None
        if rate is None and schedule.at is not None:
            raise ConfigError.about("lr_schedule", "the optimizer of create_optimizer has a schedule of its own")
        self.rate = _number(0.0 if rate is None else rate)
        self._factor = _number(1.0)
        self._steps, self.epochs, self._waiting = (_number(0) for _ in range(3))
        self._total = _number(0.0)
        if schedule.at is not None:
            self.rate.assign(schedule.at(tf.constant(0.0)))

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """What the steps depend on, beside the optimizer: rates, counters, and gradients that wait."""
        numbers = {"learning_rate": self.rate, "factor": self._factor, "steps": self._steps, "epochs": self.epochs}
        waiting = {"waiting": self._waiting, "total": self._total} if self._accumulate > 1 else {}
        return {**numbers, **waiting, **{f"accumulated/{name}": each for name, each in self._accumulated.items()}}

    @property
    def optimizer_variables(self) -> dict[str, Any]:
        """All that the optimizer remembers; its rate is ours."""
        own = [] if self._optimizer is None else self._optimizer.variables
        found: dict[str, Any] = {}
        for variable in own:
            if variable is not self.own_rate:
                # Before the slash stands what the optimizer is called, which counts how many of them there were.
                found[unused(variable.path.partition("/")[2], found)] = variable
        return found

    @property
    def own_rate(self) -> Any:
        """The variable from which the optimizer takes its rate, which every step sets; ``None`` if it computes it."""
        return None if self._optimizer is None or self.computes_rate else self._inner.learning_rate

    @property
    def is_built(self) -> bool:
        """Whether there is an optimizer yet."""
        return self._optimizer is not None

    @property
    def accumulates(self) -> bool:
        """Whether several batches make one step."""
        return self._accumulate > 1

    def adopt(self, optimizer: Any, trained: Mapping[str, Any]) -> None:
        """Take an optimizer that has been built for these variables."""
        self._inner, self._trained = optimizer, dict(trained)
        clip = self._clip
        # Inside of the optimizer, gradients are no longer scaled.
        if clip is not None and clip.value is not None:
            optimizer.clipvalue = clip.value
        if clip is not None and clip.norm is not None:
            optimizer.global_clipnorm = clip.norm
        self._optimizer = optimizer
        if self._scales:
            self._optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            self._optimizer.build(list(trained.values()))
        if self.accumulates:
            self._accumulated = {
                name: tf.Variable(tf.zeros_like(plain(variable)), trainable=False, name="accumulated")
                for name, variable in trained.items()
            }

    def forget(self) -> None:
        """Begin anew, without an optimizer."""
        self._optimizer, self._accumulated, self._trained = None, {}, {}

    @property
    def trained(self) -> list[tf.Variable]:
        """What gradients are taken of."""
        return [plain(variable) for variable in self._trained.values()]

    def begin(self) -> None:
        """Before a batch: the rate is where the schedule puts it."""
        at = self._schedule.at
        if at is not None:
            counter = self._steps if self._schedule.interval == "batch" else self.epochs
            self.rate.assign(self._factor * tf.cast(at(tf.cast(counter, tf.float32)), tf.float32))

    def objective(self, mean: Any) -> Any:
        """What the gradients are to be taken of."""
        return self._optimizer.scale_loss(mean) if self._scales else mean

    def learn(self, gradients: Sequence[Any], total: Any) -> None:
        """Take a step by the gradients of a batch or, in the middle of several, keep them."""
        if not self.accumulates:
            pairs = [pair for pair in zip(gradients, self._trained.values(), strict=True) if pair[0] is not None]
            self._step([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
            return
        for gradient, kept in zip(gradients, self._accumulated.values(), strict=True):
            if gradient is not None:
                dense = tf.convert_to_tensor(gradient)
                kept.assign_add(dense * tf.cast(total, dense.dtype))
        self._total.assign_add(total)
        self._waiting.assign_add(1)
        # What no gradient reaches has zeros, by which an optimizer would still decay it.
        reached = [gradient is not None for gradient in gradients]
        self._reached = reached
        tf.cond(self._waiting >= self._accumulate, self._step_of_several, lambda: None)

    def end_epoch(self) -> None:
        """Take what is left of several batches for a step; of one, nothing is left."""
        if self.accumulates:
            tf.cond(self._waiting > 0, self._step_of_several, lambda: None)

    def _step_of_several(self) -> None:
        pairs = [
            (kept, variable)
            for kept, variable, reached in zip(
                self._accumulated.values(), self._trained.values(), self._reached, strict=True
            )
            if reached
        ]
        share = tf.math.divide_no_nan(tf.constant(1.0), self._total)
        gradients = [kept * tf.cast(share, kept.dtype) for kept, _ in pairs]
        self._step(gradients, [variable for _, variable in pairs])
        for kept in self._accumulated.values():
            kept.assign(tf.zeros_like(kept))
        self._total.assign(0.0)
        self._waiting.assign(0)

    def _step(self, gradients: list[Any], variables: list[Any]) -> None:
        if not self.computes_rate:
            rate = self.rate
            if self._schedule.warmup_steps:
                done = tf.cast(self._steps + 1, tf.float32) / float(self._schedule.warmup_steps)
                rate = rate * tf.minimum(done, 1.0)
            plain(self.own_rate).assign(rate)
        self._optimizer.apply(gradients, variables)
        self._steps.assign_add(1)

    def set_rate(self, value: float) -> None:
        """Change the rate; a schedule goes on from it."""
        before = float(self.rate.numpy())
        if before:
            self._factor.assign(float(self._factor.numpy()) * value / before)
        self.rate.assign(value)


def _number(value: float) -> tf.Variable:
    kind = tf.int64 if isinstance(value, int) else tf.float32
    return tf.Variable(value, trainable=False, dtype=kind)
