"""Where the steps of a model and its first arrays come from: the user's network, and the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emloop.errors import ConfigError
from emloop.parameters import Clip, frozen_names
from emloop_jax._steps.networks import PARAMS, Network
from emloop_jax._steps.optimizing import Rates
from emloop_jax._steps.steps import LOSS, RNG, Steps
from emloop_jax._steps.trees import Nesting, is_key

from ._batches import Shapes
from ._compiling import compiled_once
from ._settings import Settings

__all__ = ["Builder", "key_of"]


def key_of(seed: int | None) -> jax.Array:
    """The key of a run's seed, however large that is."""
    low, high = (seed or 0) % 2**32, (seed or 0) >> 32
    key = jax.random.key(np.uint32(low))
    return key if not high else jax.random.fold_in(key, np.uint32(high % 2**32))


class Builder:
    """Makes the steps of a model.

    Args:
        network: The network.
        outputs: Makes outputs of its results.
        optimizer: Makes an optimizer for a rate.
        settings: The configuration.
        weights: Output → what weighs it.
        rate: The configured learning rate.
    """

    def __init__(
        self,
        network: Network,
        outputs: Callable[[Any, Mapping[str, Any]], Any],
        optimizer: Callable[[Any], Any],
        settings: Settings,
        weights: Mapping[str, str],
        rate: float,
    ) -> None:
        self._network, self._outputs, self._optimizer = network, outputs, optimizer
        self._settings, self._clip = settings, Clip.of(settings.clip_gradient)
        self._weight = weights.get(LOSS)
        self._rate = rate
        self._rates = Rates(settings.lr_schedule, rate)
        self._makers: tuple[Steps, dict[str, Callable[..., list[Any]]]] | None = None

    def steps(self, shapes: Shapes, key: Any) -> Steps:
        """The steps, for a model that begins with a batch of these shapes.

        Raises:
            ConfigError: If the network, or what is frozen in it, is not as described.
        """
        settings = self._settings
        model = Nesting(self._model, key, shapes.concrete())
        prefix = f"{PARAMS}/"
        is_trained = {
            leaf.name.removeprefix(prefix): jnp.issubdtype(leaf.dtype, jnp.inexact)
            for leaf in model.leaves
            if leaf.name.startswith(prefix)
        }
        steps = Steps(
            network=self._network,
            outputs=self._outputs,
            optimizer=self._optimizer,
            rates=self._rates,
            weight=self._weight,
            clip=self._clip,
            accumulate=settings.accumulate,
            half=settings.precision == "bf16",
            frozen=frozenset(frozen_names(settings.frozen, is_trained)),
            model=model,
            training=model,
        )
        specs = [leaf.spec for leaf in model.leaves]
        steps = steps._replace(
            training=Nesting(lambda k, values: self._training(steps, k, values, 0.0, 1.0), key, specs)
        )
        twice = {leaf.name for leaf in steps.model.leaves} & {leaf.name for leaf in steps.training.leaves}
        if twice:
            raise ConfigError(f"the network has a collection whose name is taken: {min(twice)!r}; give it another")
        return steps

    def fresh(
        self,
        steps: Steps,
        shapes: Shapes,
        key: Any,
        pending: float | None,
        replaced: Callable[[list[Any]], list[Any]],
    ) -> tuple[list[Any], list[Any]]:
        """The first arrays of the network, and those that training needs beside them.

        Args:
            steps: The steps.
            shapes: What the first batch looks like.
            key: The run's key.
            pending: A rate that hooks have set already.
            replaced: Puts arrays of another model in the place of some.
        """
        if self._makers is None or self._makers[0] is not steps:
            self._makers = steps, {}
        makers = self._makers[1]

        def made(what: str, make: Callable[..., list[Any]], *given: Any) -> list[Any]:
            if what not in makers:
                makers[what] = compiled_once(make, given, what)
            arrays: list[Any] = makers[what](*given)
            return arrays

        zeros = {name: jnp.zeros(spec.shape, spec.dtype) for name, spec in shapes.concrete().items()}
        if self._network.variables is None:
            model = made("network", lambda k, batch: steps.model.pack(self._model(k, batch)), key, zeros)
        else:
            model = steps.model.pack(self._model(key, zeros))
        model = replaced(model)
        scale = 1.0 if pending is None or not self._rate else pending / self._rate
        rate = self._rate if pending is None else pending
        numbers = (np.float32(rate), np.float32(scale))
        training = made(
            "optimizer",
            lambda k, values, *moved: steps.training.pack(self._training(steps, k, values, *moved)),
            *(key, model, *numbers),
        )
        return model, training

    def _model(self, key: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        first, evaluation, _ = _split(key)
        made = self._network.variables
        variables = self._network.init(first, inputs) if made is None else made
        return {
            **jax.tree.map(lambda leaf: leaf if is_key(leaf) else jnp.asarray(leaf), variables),
            RNG: {"evaluation": evaluation},
        }

    def _training(self, steps: Steps, key: Any, model: Any, rate: Any, scale: Any) -> dict[str, Any]:
        params = steps.model.unpack(model)[PARAMS]
        zero = jnp.zeros((), jnp.int32)
        if self._rates.moves:
            rate = self._rates.at(zero) * scale
        training: dict[str, Any] = {
            "learning_rate": jnp.asarray(rate, jnp.float32),
            "optimizer": steps.masked(self._optimizer(jnp.asarray(rate, jnp.float32)), params).init(params),
            RNG: {"training": _split(key)[2]},
            "step": zero,
        }
        if self._rates.moves:
            training["scale"] = jnp.asarray(scale, jnp.float32)
        if self._rates.by_epochs:
            training["epoch"] = zero
        if self._settings.accumulate > 1:
            training["updates"] = zero
            none = jnp.zeros(())
            gradients = jax.tree.map(jnp.zeros_like, params)
            training["gathered"] = {"gradients": gradients, "loss": none, "total": none, "batches": zero}
        return training


def _split(key: Any) -> jax.Array:
    return jax.random.split(jax.random.wrap_key_data(jnp.asarray(key)), 3)
