"""Optimizers of Keras: from the configuration, or as an object that a class has made.

.. code-block:: yaml

    optimizer: {class: AdamW, learning_rate: 1e-3, weight_decay: 0.01, no_decay: true}

The names and arguments that optimizers had in TensorFlow 1, such as ``AdamOptimizer``, are understood.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras

from emloop.arguments import made, read_component
from emloop.declare import Family
from emloop.errors import ConfigError

__all__ = ["Optimizers", "as_optimizer", "build_optimizer", "rate_of"]


class Optimizers(Family):
    """The key ``optimizer``.

    Attributes:
        no_decay: Whether biases, and what normalisations scale and shift with, are spared from ``weight_decay``.
    """

    word = "optimizer"
    home = "keras.optimizers"
    base = "keras.optimizers.Optimizer"
    old_names = True
    shared = ()
    refused: ClassVar = {
        "LossScaleOptimizer": "is no choice of its own: `precision: fp16` scales the loss",
        "MultiOptimizer": "has others inside, which no configuration can give it; make it in `create_optimizer`",
        "ScheduleFreeAdamW": "evaluates with other weights than it trains, which nothing swaps here; take AdamW",
        "clipnorm": "clip by `clip_gradient: {norm: 1.0}` of the model",
        "clipvalue": "clip by `clip_gradient: 1.0` of the model",
        "global_clipnorm": "clip by `clip_gradient: {norm: 1.0}` of the model",
        "gradient_accumulation_steps": "that is `accumulate` of the model",
        "groups": "an optimizer of Keras has one rate for all; `frozen` of the model leaves some out",
        "layer_decay": "an optimizer of Keras has one rate for all layers",
        "loss_scale_factor": "`precision: fp16` of the model scales the loss",
        "use_ema": "evaluations would not use the average",
    }

    # Schedules are a key of the model; text is a typing error, such as 0,1.
    names: ClassVar = {"learning_rate": "learning_rate"}
    learning_rate: float | None
    no_decay: bool = False


def build_optimizer(
    description: str | Mapping[str, Any] | None, variables: Iterable[Any], keys: Sequence[Any] = ("optimizer",)
) -> keras.optimizers.Optimizer:
    """The optimizer of a configuration.

    Args:
        description: A class, or a mapping with ``class`` and arguments; ``None``: AdamW with the values of Keras.
        variables: All that it may train. It is built for them, in this order.
        keys: Where the configuration describes it.

    Raises:
        ConfigError: If the description is wrong.
    """
    keys = tuple(keys)
    chosen = read_component(Optimizers, description or "AdamW", keys)
    arguments = {key: value for key, value in chosen.arguments.items() if (key, value) != ("learning_rate", None)}
    defaults = {name: each.default for name, each in inspect.signature(chosen.cls).parameters.items()}
    for name, value in arguments.items():
        # Keras itself would take it, and fail in the middle of the first step.
        if isinstance(value, str) and name != "name" and not isinstance(defaults.get(name, ""), str):
            raise ConfigError.about((*keys, name), f"expected a number or a truth value, got {value!r}")
    with made(keys, chosen.cls, arguments):
        optimizer: keras.optimizers.Optimizer = chosen.cls(**arguments)
    variables = list(variables)
    if chosen.beside.get("no_decay"):
        if optimizer.weight_decay is None:
            hint = "give it one, or leave no_decay out"
            message = f"{type(optimizer).__name__} has no weight_decay to spare anything from"
            raise ConfigError.about((*keys, "no_decay"), message, hint)
        optimizer.exclude_from_weight_decay(list(_spared(variables)))
    with made(keys, chosen.cls, arguments):
        optimizer.build(variables)
    return optimizer


def as_optimizer(made_by_class: Any, variables: Iterable[Any]) -> keras.optimizers.Optimizer:
    """An optimizer as ``create_optimizer`` returns it: an object of Keras, or a description as in a configuration.

    Args:
        made_by_class: What it has returned.
        variables: All that it may train. It is built for them, unless it is already.

    Raises:
        TypeError: If it is neither.
    """
    if made_by_class is None or isinstance(made_by_class, (str, Mapping)):
        return build_optimizer(made_by_class, variables)
    if not isinstance(made_by_class, keras.optimizers.Optimizer):
        kind = f"{type(made_by_class).__module__}.{type(made_by_class).__qualname__}"
        raise TypeError(
            f"create_optimizer has returned a {kind}; return an optimizer of Keras, such as "
            "keras.optimizers.Adam(1e-3), or a description such as {'class': 'Adam', 'learning_rate': 1e-3}"
        )
    if not made_by_class.built:
        made_by_class.build(list(variables))
    return made_by_class


def rate_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """The variable that is the learning rate; ``None`` where a schedule inside the optimizer computes it."""
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, keras.Variable) else None


def _spared(variables: Sequence[Any]) -> Iterator[Any]:
    """Biases and, by their shape, what normalisations scale and shift with."""
    return (variable for variable in variables if variable.name == "bias" or len(variable.shape) < 2)
