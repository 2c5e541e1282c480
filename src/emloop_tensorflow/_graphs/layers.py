"""The layers of Keras that a model is made of, and what they add to its loss."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

__all__ = ["added_losses", "forget_losses", "layers_of"]


def layers_of(owner: Any, apart: Collection[str] = ()) -> list[keras.Layer]:
    """All layers that the attributes of an object lead to, each once.

    Args:
        owner: The object.
        apart: Its attributes that do not count.
    """
    found: dict[int, keras.Layer] = {}
    known: set[int] = set()
    waiting = [value for name, value in vars(owner).items() if name not in apart]
    while waiting:
        value = waiting.pop()
        if id(value) in known:
            continue
        known.add(id(value))
        if isinstance(value, keras.Layer):
            found |= {id(layer): layer for layer in value._flatten_layers()}
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif isinstance(value, tf.Module):
            waiting += vars(value).values()
    return list(found.values())


def forget_losses(layers: Iterable[keras.Layer]) -> None:
    """Before a graph is made: what layers have added in another one is no part of it."""
    for layer in layers:
        layer._clear_losses()


def added_losses(layers: Iterable[keras.Layer]) -> Any:
    """The sum of what layers have added, and of the regularisers of what is trained; ``None`` if there is nothing."""
    layers = list(layers)
    added = [loss for layer in layers for loss in layer._get_own_losses()]
    variables = {id(variable): variable for layer in layers for variable in layer.trainable_weights}
    added += [each.regularizer(each) for each in variables.values() if each.regularizer is not None]
    return tf.add_n([tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in added]) if added else None
