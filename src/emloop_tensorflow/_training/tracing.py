"""Makes the graphs of a model from its source: what trains, what evaluates, what predicts, and the end of an epoch.

The training runs these very graphs, and they are what is saved.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import tensorflow as tf

from emloop.errors import BatchError, ConfigError
from emloop.parameters import frozen_names
from emloop_tensorflow._graphs.attributes import python_values
from emloop_tensorflow._graphs.feeding import Signature
from emloop_tensorflow._graphs.layers import added_losses, forget_losses, layers_of
from emloop_tensorflow._graphs.variables import hidden_variables, is_trainable, named_variables, note_variables
from emloop_tensorflow._graphs.views import LOSS, Interface, View, outputs_of, require

from .learner import Learner
from .means import check_loss, total_weight, weighted_mean
from .monitor import listening, signals
from .splitting import Share, gradients_of, joined, spread

__all__ = ["Tracing"]

logger = logging.getLogger(__name__)


class Tracing:
    """Makes the graphs of a model.

    Args:
        model: The model, whose attributes lead to its variables.
        apart: Attributes that do not count.
        interface: What it takes and gives.
        around: What to enter while something is made.
        learner: What learns.
        optimize: Builds the optimizer for some variables.
        frozen: Regular expressions of names that are not trained.
        monitor: The key of that name.
        compiled: Whether XLA compiles the graphs.
        devices: Those that share each batch, if there are several.
    """

    def __init__(
        self,
        model: Any,
        apart: Collection[str],
        interface: Interface,
        around: Sequence[Callable[[], AbstractContextManager[Any]]],
        learner: Learner,
        optimize: Callable[[Sequence[Any]], Any],
        frozen: Sequence[str],
        monitor: str | None,
        *,
        compiled: bool,
        devices: Sequence[str] = (),
    ) -> None:
        self._model, self._apart, self._interface, self._around = model, apart, interface, around
        self._learner, self._optimize, self._frozen, self._monitor = learner, optimize, frozen, monitor
        self._compiled, self._devices = compiled, devices
        self._hidden: dict[str, Any] = {}
        self._tells_mean = False
        self.on_built: Callable[[], None] = lambda: None
        """Called once all variables are there."""
        self.is_built = False
        """Whether all variables are there; layers make theirs when they see what they are given."""

    @property
    def variables(self) -> dict[str, Any]:
        """Name → variable of the model, as far as they are there."""
        found = named_variables(self._model, self._apart)
        return {**found, **{name: each for name, each in self._hidden.items() if name not in found}}

    def build(self, signature: Signature) -> None:
        """Let layers make their variables, if they have not yet."""
        if not self.is_built:
            self._traced(signature, self._only_computed)
            self.is_built = True
            self.on_built()

    def train(self, signature: Signature) -> tuple[Any, list[str]]:
        """What learns from a batch: its function, and the names of what it returns; behind these comes the mean loss.

        Raises:
            ConfigError: If there is nothing to train.
        """
        if not self._interface.trains:
            listed = ", ".join(self._interface.sources)
            raise ConfigError.about("inputs", f"[{listed}] are enough to predict, not to train; add the labels")
        self.build(signature)
        learner, before = self._learner, None
        if not learner.is_built:
            before = python_values(self._model, self._apart)
            variables = self.variables
            frozen = frozen_names(self._frozen, {name: is_trainable(each) for name, each in variables.items()})
            trained = {n: each for n, each in variables.items() if is_trainable(each) and n not in frozen}
            if not trained:
                raise ConfigError(f"{type(self._model).__name__} has no variables to train")
            with self._entered():
                learner.adopt(self._optimize(list(trained.values())), trained)
        names = self._names(monitored=True)

        def step(*tensors: Any) -> list[Any]:
            given, examples = self._named(self._interface.sources, tensors)
            trained = learner.trained
            learner.begin()
            if self._devices:
                return self._learned_on_several(given, examples, names)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(trained)
                outputs, mean, total = self._computed(given, examples, training=True)
                added = added_losses(layers_of(self._model, self._apart))
                objective = learner.objective(mean if added is None else mean + added)
            gradients = tape.gradient(objective, trained)
            if all(gradient is None for gradient in gradients):
                raise ConfigError(f"the loss of {type(self._model).__name__} depends on no variable that is trained")
            learner.learn(gradients, total)
            return [*(require(outputs, name) for name in names), mean]

        traced = self._traced(signature, step)
        if before is not None and (odd := self._changed_by_tracing(before, signature)):
            logger.warning(
                "%s changes %s in Python, which happens when its graph is traced, and with no batch: there, each is a "
                "constant. Keep what changes with batches in a tf.Variable, e.g. by assign_add",
                type(self._model).__name__,
                ", ".join(odd),
            )
        return traced, names

    def _changed_by_tracing(self, before: Mapping[str, str], signature: Signature) -> list[str]:
        """Attributes that change each time, and not only for the first time or with the sizes of a batch."""
        after = python_values(self._model, self._apart)
        if after == before:
            return []
        self._traced(signature, self._only_computed)
        again = python_values(self._model, self._apart)
        return [name for name, value in after.items() if before.get(name) != value != again.get(name)]

    def evaluate(self, signature: Signature) -> tuple[Any, list[str]]:
        """What computes the outputs of a batch; behind these comes the mean loss, if there is one."""
        self.build(signature)
        names = self._names(monitored=True)

        def evaluated(*tensors: Any) -> list[Any]:
            given, examples = self._named(self._interface.sources, tensors)
            if self._devices:
                compute = partial(self._share, training=False)
                found = spread(given, examples, self._devices, compute, lambda shares: joined(shares, names))
                return found[: len(names) + 1]
            outputs, mean, _ = self._computed(given, examples, training=False)
            return [*(require(outputs, name) for name in names), *([] if mean is None else [mean])]

        return self._traced(signature, evaluated), names

    def infer(self, view: View) -> Callable[[Signature], tuple[Any, list[str]]]:
        """What computes all that can be told without labels; what has no value for every example is left out."""

        def trace(signature: Signature) -> tuple[Any, list[str]]:
            names: list[str] = []

            def inferred(*tensors: Any) -> list[Any]:
                given, _ = self._named(view.taken, tensors)
                found = outputs_of(view.name, view(self._model, given, training=False))
                found = {name: _readable(each) for name, each in found.items() if each.shape.rank}
                names[:] = found
                return list(found.values())

            return self._traced(signature, inferred), names

        return trace

    def end_epoch(self) -> Any:
        """What takes the step that is left at the end of an epoch; ``None`` where there never is one."""
        if not self._learner.accumulates:
            return None

        def end() -> None:
            self._learner.end_epoch()

        with self._entered():
            return tf.function(end, input_signature=(), autograph=False).get_concrete_function()

    def _names(self, *, monitored: bool) -> list[str]:
        return [*self._interface.outputs, *(("signal_mean", "signal_variance") if monitored and self._monitor else ())]

    def _named(self, names: Sequence[str], tensors: Sequence[Any]) -> tuple[dict[str, Any], Any]:
        return dict(zip(names, tensors, strict=True)), tf.shape(tensors[0])[0]

    def _computed(self, given: Mapping[str, Any], examples: Any, *, training: bool) -> tuple[dict[str, Any], Any, Any]:
        """Outputs, the mean loss, and how much the batch counts among others."""
        view, weights = self._interface.view, self._interface.weights
        layers = layers_of(self._model, self._apart)
        with listening(self._monitor, layers) as heard:
            outputs = outputs_of(view.name, view(self._model, given, training=training))
        mean = total = None
        if LOSS in outputs or training:
            loss = require(outputs, LOSS, f"{view.name} gives no {{!r}} to learn from")
            called = weights.get(LOSS)
            weight = None if called is None else require({**given, **outputs}, called)
            check_loss(loss, weight, called)
            mean, total = weighted_mean(loss, weight), total_weight(loss, weight, examples)
            self._tells_mean = not loss.shape.rank
            if self._tells_mean:
                outputs[LOSS] = tf.fill([examples], loss)
        if self._monitor is not None:
            outputs |= signals(self._monitor, heard, layers, tf.compat.v1.get_default_graph(), examples)
        wanted = self._names(monitored=True)
        for name in wanted:
            if name in outputs and not outputs[name].shape.rank and outputs[name].shape.rank is not None:
                raise BatchError(f"output {name!r}: expected a value for every example, got a single one")
        return {name: _readable(each) for name, each in outputs.items()}, mean, total

    def _share(self, given: Mapping[str, Any], examples: Any, *, training: bool) -> Share:
        """What one of several devices computes."""
        outputs, mean, total = self._computed(given, examples, training=training)
        return Share(outputs, mean, total, LOSS if self._tells_mean else None)

    def _learned_on_several(self, given: Mapping[str, Any], examples: Any, names: Sequence[str]) -> list[Any]:
        """Take a step on what several devices have computed of a batch."""
        learner, layers = self._learner, layers_of(self._model, self._apart)
        trained, reached = learner.trained, list[bool]()

        def compute(given: Mapping[str, Any], examples: Any) -> Share:
            forget_losses(layers)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(trained)
                share = self._share(given, examples, training=True)
                return share._replace(added=added_losses(layers), tape=tape)

        def join(shares: Sequence[Share]) -> list[Any]:
            gradients = gradients_of(shares, trained, learner.objective(tf.constant(1.0)))
            reached[:] = [gradient is not None for gradient in gradients]
            return [*joined(shares, names), *(gradient for gradient in gradients if gradient is not None)]

        found = spread(given, examples, self._devices, compute, join)
        if not any(reached):
            raise ConfigError(f"the loss of {type(self._model).__name__} depends on no variable that is trained")
        *outputs, mean, total = found[: len(names) + 2]
        gradients = iter(found[len(names) + 2 :])
        learner.learn([next(gradients) if has_one else None for has_one in reached], total)
        return [*outputs, mean]

    def _only_computed(self, *tensors: Any) -> list[Any]:
        training = self._interface.trains
        return list(self._computed(*self._named(self._interface.sources, tensors), training=training)[0].values())

    def _traced(self, signature: Signature, function: Callable[..., Any]) -> Any:
        layers = layers_of(self._model, self._apart)
        with self._entered():
            forget_losses(layers)
            made: Any = tf.function(
                function,
                input_signature=signature.specs,
                autograph=False,
                jit_compile=self._compiled or None,
            )
            concrete = made.get_concrete_function()
        forget_losses(layers)
        learner = self._learner
        known = {**self.variables, **learner.optimizer_variables, **learner.variables}
        if learner.is_built and not learner.computes_rate:
            known[" rate"] = learner.own_rate
        note_variables(concrete.graph, known)
        self._hidden |= hidden_variables(concrete.graph, known)
        return concrete

    def _entered(self) -> ExitStack:
        stack = ExitStack()
        for enter in self._around:
            stack.enter_context(enter())
        return stack


def _readable(tensor: Any) -> Any:
    """An output of a kind that NumPy has."""
    return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.bfloat16,) else tensor
