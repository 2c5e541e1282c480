"""Watching the signals inside of a graph: two more outputs, from all operations of a type, or of a layer.

``signal_mean`` and ``signal_variance`` are, for every example, mean and variance of what the operations put out; of
several the average.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from emloop.errors import ConfigError, Problem
from emloop.suggest import did_you_mean

__all__ = ["SIGNALS", "listening", "signals"]

SIGNALS = ("signal_mean", "signal_variance")
_SHOWN = 12


@contextmanager
def listening(wanted: str | None, layers: Sequence[keras.Layer]) -> Iterator[list[Any]]:
    """Collect, inside the block, what layers of a name or type put out.

    Args:
        wanted: The key ``monitor``; ``None``: nobody listens.
        layers: All layers.
    """
    heard: list[Any] = []
    found = [layer for layer in layers if wanted in (layer.name, type(layer).__name__)]
    for layer in found:
        vars(layer)["call"] = _heard(layer.call, heard)  # not by setattr, which takes note of attributes
    try:
        yield heard
    finally:
        for layer in found:
            del vars(layer)["call"]


def signals(
    wanted: str, heard: Sequence[Any], layers: Sequence[keras.Layer], graph: Any, examples: Any
) -> dict[str, tf.Tensor]:
    """The two outputs, ``[B]``, as part of a graph.

    Args:
        wanted: The key ``monitor``: a type of operation, such as ``Conv2D``, or the name or type of a layer.
        heard: What such layers have put out.
        layers: All layers.
        graph: What has been traced so far.
        examples: ``B``.

    Raises:
        ConfigError: If there is no such operation or layer; says what there is.
    """
    operations = [each for each in graph.get_operations() if each.outputs and each.outputs[0].dtype.is_floating]
    found = [each.outputs[0] for each in operations if each.type == wanted] or [
        each for each in heard if each.shape.rank
    ]
    if not found:
        known = sorted({each.type for each in operations}.union(*((e.name, type(e).__name__) for e in layers)))
        hints = (*did_you_mean(wanted, known), f"types and names: {', '.join(known[:_SHOWN])}")
        raise ConfigError(Problem(f"there is no operation or layer {wanted!r}", keys=("monitor",), hints=hints))
    flat = [tf.reshape(tf.cast(tf.stop_gradient(each), tf.float32), [examples, -1]) for each in found]
    means = tf.stack([tf.reduce_mean(each, axis=1) for each in flat])
    variances = tf.stack([tf.math.reduce_variance(each, axis=1) for each in flat])
    return {"signal_mean": tf.reduce_mean(means, axis=0), "signal_variance": tf.reduce_mean(variances, axis=0)}


def _heard(call: Callable[..., Any], heard: list[Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def listened(*args: Any, **kwargs: Any) -> Any:
        found = call(*args, **kwargs)
        heard.extend(each for each in tf.nest.flatten(found) if tf.is_tensor(each) and each.dtype.is_floating)
        return found

    return listened
