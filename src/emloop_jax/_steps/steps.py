"""What happens to a batch, as pure functions of flat lists of arrays: these are what is compiled, exported and kept.

``model`` are the arrays of the network, ``training`` those that only training needs, ``watch`` two counters that tell
the first batch whose loss was no number. ``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emloop.errors import BatchError, ConfigError, MissingVariableError

from .networks import PARAMS, Network
from .optimizing import Rates, clipped
from .trees import Nesting

__all__ = ["LOSS", "RNG", "Steps", "fresh_watch"]

LOSS = "loss"
RNG = "rng"

_LOW = (jnp.bfloat16, jnp.float16)

Arrays = Mapping[str, Any]
Values = Sequence[Any]


class Steps(NamedTuple):
    """The functions.

    Args:
        network: The network.
        outputs: What the user makes of its results and the batch.
        optimizer: Learning rate → an optimizer of optax.
        rates: The learning rate of every step.
        weight: What weighs the loss, an output or a source; ``None`` for nothing.
        clip: The key ``clip_gradient``.
        accumulate: Number of batches that make one step.
        half: Whether to compute with 16 bits.
        frozen: Says by the name of a parameter, below ``params``, whether it stays as it is.
        model: How the network's arrays are nested.
        training: How the others are.
    """

    network: Network
    outputs: Callable[[Any, Arrays], Any]
    optimizer: Callable[[Any], Any]
    rates: Rates
    weight: str | None
    clip: Any
    accumulate: int
    half: bool
    frozen: frozenset[str]
    model: Nesting
    training: Nesting

    def train(self, model: Values, training: Values, watch: Any, inputs: Arrays) -> tuple[Any, Any, Any, Arrays]:
        """Learn from a batch; the outputs are those of before."""
        state, training_state = self.model.unpack(model), self.training.unpack(training)
        params = state[PARAMS]
        leaves = jax.tree.leaves(params)
        tree: Any = jax.tree.structure(params)
        learns = self._learns(params)
        key = jax.random.fold_in(training_state[RNG]["training"], training_state["step"])

        def loss_of(trained: Values) -> Any:
            left = iter(trained)
            whole = [next(left) if own else leaf for own, leaf in zip(learns, leaves, strict=True)]
            found, moved = self._forward({**state, PARAMS: tree.unflatten(whole)}, inputs, True, key)
            mean, total = self._mean(found, inputs)
            return mean, (mean, total, found, moved)

        trained = [leaf for own, leaf in zip(learns, leaves, strict=True) if own]
        found, (mean, total, outputs, moved) = jax.grad(loss_of, has_aux=True)(trained)
        given = iter(found)
        gradients = tree.unflatten(
            [next(given) if o else jnp.zeros_like(x) for o, x in zip(learns, leaves, strict=True)]
        )
        new_state = {**state, **self._kept(state, moved)}
        params, training_state = self._learned(params, training_state, gradients, mean, total)
        training_state = {**training_state, "step": training_state["step"] + 1}
        new_state[PARAMS] = params
        return (
            self.model.pack(new_state),
            self.training.pack(training_state),
            _watched(watch, mean),
            self._shown(outputs, inputs),
        )

    def flush(self, model: Values, training: Values) -> tuple[Any, Any, Arrays]:
        """Learn from what is left of the batches that would have made one step."""
        state, training_state = self.model.unpack(model), self.training.unpack(training)
        gathered = training_state["gathered"]
        is_left = gathered["batches"] > 0
        params, training_state = jax.lax.cond(is_left, self._stepped, lambda *left: left, state[PARAMS], training_state)
        return self.model.pack({**state, PARAMS: params}), self.training.pack(training_state), {}

    def evaluate(self, model: Values, watch: Any, inputs: Arrays) -> tuple[Any, Arrays]:
        """The outputs for a batch; its loss is looked at, and nothing else happens."""
        outputs = self._evaluated(model, inputs)
        mean = self._mean(outputs, inputs)[0] if LOSS in outputs else None
        return watch if mean is None else _watched(watch, mean), self._shown(outputs, inputs)

    def infer(
        self, model: Values, inputs: Arrays, *, lacking: Callable[[Arrays], Arrays], names: Sequence[str]
    ) -> tuple[Arrays]:
        """The named outputs for a batch that lacks some sources, on which they do not depend."""
        zeros = {name: jnp.zeros(spec.shape, spec.dtype) for name, spec in lacking(inputs).items()}
        shown = self._shown(self._evaluated(model, {**inputs, **zeros}), inputs)
        return ({name: shown[name] for name in names},)

    def results(self, model: Values, inputs: Arrays) -> Any:
        """What the network itself says of a batch, in evaluation."""
        return self._network_of(self.model.unpack(model), inputs, False, jax.random.key(0))[0]

    def _evaluated(self, model: Values, inputs: Arrays) -> Arrays:
        state = self.model.unpack(model)
        return self._forward(state, inputs, False, state[RNG]["evaluation"])[0]

    def _forward(self, state: Any, inputs: Arrays, train: bool, key: Any) -> tuple[Arrays, Any]:
        results, moved = self._network_of(state, inputs, train, key)
        found = self.outputs(results, inputs)
        if not isinstance(found, Mapping):
            hint = "define outputs(self, results, batch), which returns a mapping with a 'loss'"
            raise ConfigError(f"the network returns {_told(found)}, not a mapping of outputs; {hint}")
        return {name: _widened(jnp.asarray(values)) for name, values in found.items()}, moved

    def _network_of(self, state: Any, inputs: Arrays, train: bool, key: Any) -> tuple[Any, Any]:
        """What the network says, with 32 bits, and which of its collections have moved."""
        variables = {name: values for name, values in state.items() if name != RNG}
        taken = {name: inputs[name] for name in self.network.sources}
        if self.half:
            variables[PARAMS], taken = _cast(variables[PARAMS], jnp.bfloat16), _cast(taken, jnp.bfloat16)
        results, moved = self.network.apply(variables, taken, train, key)
        return _widened(results), moved

    def _mean(self, outputs: Arrays, inputs: Arrays) -> tuple[Any, Any]:
        """The mean of the loss, and how much the batch counts among others."""
        if LOSS not in outputs:
            raise MissingVariableError(f"the model gives no 'loss' to learn from; it gives {', '.join(outputs)}")
        loss, weight = outputs[LOSS], None
        if self.weight is not None:
            weight = outputs.get(self.weight, inputs.get(self.weight))
            if weight is None:
                raise MissingVariableError(f"neither model nor batch has {self.weight!r}, which weighs the loss")
            weight = jax.lax.stop_gradient(weight)
        _check_loss(loss, weight, self.weight)
        if weight is None:
            size = loss.size if loss.ndim else next(iter(inputs.values())).shape[0]
            return loss.mean(), jnp.asarray(size).astype(jnp.float32)
        if not loss.ndim:
            return loss, weight.astype(jnp.float32).sum()
        weight = weight.astype(loss.dtype).reshape(*loss.shape, -1).sum(-1)
        share = weight / jnp.maximum(weight.sum(), jnp.finfo(loss.dtype).tiny)
        # What has no weight counts nothing, not even where it is NaN.
        return (jnp.where(weight == 0, 0, loss) * share).sum(), weight.sum().astype(jnp.float32)

    def _learned(self, params: Any, training: Any, gradients: Any, mean: Any, total: Any) -> tuple[Any, Any]:
        if self.accumulate == 1:
            return self._applied(params, training, gradients, mean)
        before = training["gathered"]
        gathered = {
            "gradients": jax.tree.map(lambda sum_, new: sum_ + total * new, before["gradients"], gradients),
            "loss": before["loss"] + total * mean,
            "total": before["total"] + total,
            "batches": before["batches"] + 1,
        }
        training = {**training, "gathered": gathered}
        is_full = gathered["batches"] >= self.accumulate
        return jax.lax.cond(is_full, self._stepped, lambda *left: left, params, training)

    def _stepped(self, params: Any, training: Any) -> tuple[Any, Any]:
        """A step from the gradients that have been gathered."""
        gathered = training["gathered"]
        total = jnp.where(gathered["total"] > 0, gathered["total"], 1.0)
        gradients = jax.tree.map(lambda each: (each / total).astype(each.dtype), gathered["gradients"])
        params, training = self._applied(params, training, gradients, gathered["loss"] / total)
        return params, {**training, "gathered": jax.tree.map(jnp.zeros_like, gathered)}

    def _applied(self, params: Any, training: Any, gradients: Any, mean: Any) -> tuple[Any, Any]:
        steps = training["updates"] if "updates" in training else training["step"]
        rate = training["learning_rate"]
        if self.rates.moves:
            rate = training["scale"] * self.rates.at(training["epoch"] if self.rates.by_epochs else steps)
        optimizer = self.masked(self.optimizer(rate * self.rates.warmth(steps)), params)
        changes, remembered = optimizer.update(clipped(gradients, self.clip), training["optimizer"], params, value=mean)
        learns = iter(self._learns(params))
        new = jax.tree.map(lambda old, by: (old + by).astype(old.dtype) if next(learns) else old, params, changes)
        counted = {"updates": steps + 1} if "updates" in training else {}
        return new, {**training, "optimizer": remembered, "learning_rate": rate, **counted}

    def masked(self, optimizer: Any, params: Any) -> Any:
        """An optimizer that keeps nothing of what is not trained."""
        import optax  # noqa: PLC0415 - whose optimizer this is

        learns = self._learns(params)
        if not all(learns):
            tree: Any = jax.tree.structure(params)
            optimizer = optax.masked(optimizer, tree.unflatten(learns))
        return optax.with_extra_args_support(optimizer)

    def _learns(self, params: Any) -> list[bool]:
        found, _ = jax.tree_util.tree_flatten_with_path(params)
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]
        return [
            jnp.issubdtype(leaf.dtype, jnp.inexact) and name not in self.frozen
            for name, (_, leaf) in zip(names, found, strict=True)
        ]

    def _kept(self, state: Any, moved: Any) -> Any:
        """What has moved, but for statistics of a normalisation whose parameters are frozen."""
        if not self.frozen:
            return moved
        learned = {name.rpartition("/")[0] for name in map(_name, _paths(state[PARAMS])) if name not in self.frozen}
        still = {name.rpartition("/")[0] for name in self.frozen} - learned

        def choose(path: Any, old: Any, new: Any) -> Any:
            return old if _name(path).rpartition("/")[0] in still else new

        return {
            name: jax.tree_util.tree_map_with_path(choose, state[name], values) if name in state else values
            for name, values in moved.items()
        }

    @staticmethod
    def _shown(outputs: Arrays, inputs: Arrays) -> Arrays:
        """The outputs as hooks see them: of a loss that is a mean, every example has that."""
        size = next(iter(inputs.values())).shape[0]
        loss = outputs.get(LOSS)
        if loss is None or loss.ndim:
            return outputs
        return {**outputs, LOSS: jnp.broadcast_to(loss, (size,))}


def fresh_watch() -> Any:
    """The number of batches, and of the first of them whose loss was none, 0 for none of them.

    One array, since a step pays for every array that it returns: two scalars cost 90 µs more on a CPU.
    """
    return jnp.zeros(2, jnp.int32)


def _watched(watch: Any, mean: Any) -> Any:
    count, first = watch[0] + 1, watch[1]
    return jnp.stack([count, jnp.where((first == 0) & jnp.isnan(mean), count, first)])


def _paths(tree: Any) -> list[Any]:
    return [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda each: each.astype(dtype) if jnp.issubdtype(each.dtype, jnp.floating) else each, tree)


def _widened(tree: Any) -> Any:
    return jax.tree.map(lambda each: each.astype(jnp.float32) if getattr(each, "dtype", None) in _LOW else each, tree)


def _told(found: Any) -> str:
    return f"an array of shape {list(found.shape)}" if hasattr(found, "shape") else f"a {type(found).__name__}"


def _check_loss(loss: Any, weight: Any, name: str | None) -> None:
    """Refuse what is no loss.

    Raises:
        BatchError: If its shape or dtype is another, or its weight has another; says how they come about.
    """
    found = f"got {loss.dtype} {list(loss.shape)}"
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise BatchError(f"loss: expected a number for every example, {found}")
    if weight is not None and loss.ndim and weight.shape[: loss.ndim] != loss.shape:
        raise BatchError(f"loss: its weight {name!r} has the shape {list(weight.shape)}, not {list(loss.shape)}")
    if loss.ndim < 2 or weight is not None:
        return
    hint = "take the mean of the other axes, or give every element its weight: model.weights={loss: …}"
    if loss.shape[1:] == (1,):
        hint = "loss[:, 0] has no such axis"
    elif loss.shape[:1] == loss.shape[1:]:
        hint = "[B, 1] and [B] broadcast to [B, B]: give prediction and target one shape, e.g. by [:, 0]"
    raise BatchError(f"loss: expected a number for every example, or their mean, {found}; {hint}")
