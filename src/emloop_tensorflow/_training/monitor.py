"""Watching the signals inside of a graph: two more outputs, from all operations of a type, or of a layer.

``signal_mean`` and ``signal_variance`` are, for every example, mean and variance of what the operations put out; of
several the average.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from emloop.errors import ConfigError, Problem
from emloop.suggest import did_you_mean

__all__ = ["SIGNALS", "signals"]

SIGNALS = ("signal_mean", "signal_variance")
_SHOWN = 12


def signals(wanted: str, graph: Any, examples: Any) -> dict[str, tf.Tensor]:
    """The two outputs, ``[B]``, as part of a graph.

    Args:
        wanted: The key ``monitor``: a type of operation, such as ``Conv2D``, or the name of a layer.
        graph: What has been traced so far.
        examples: ``B``.

    Raises:
        ConfigError: If there is no such operation or layer; says what there is.
    """
    operations = [each for each in graph.get_operations() if each.outputs and each.outputs[0].dtype.is_floating]
    found = [each for each in operations if each.type == wanted]
    if not found:
        # The last operation inside of a layer is what it puts out.
        layers = {each.name[: each.name.index(f"{wanted}/")]: each for each in operations if f"{wanted}/" in each.name}
        found = [each for each in layers.values() if wanted in each.name.split("/")]
    heard = [each.outputs[0] for each in found if each.outputs[0].shape.rank]
    if not heard:
        known = sorted(
            {each.type for each in operations} | {part for e in operations for part in e.name.split("/")[:-1]}
        )
        hints = (*did_you_mean(wanted, known), f"types and names: {', '.join(known[:_SHOWN])}")
        raise ConfigError(Problem(f"there is no operation or layer {wanted!r}", keys=("monitor",), hints=hints))
    flat = [tf.reshape(tf.cast(tf.stop_gradient(each), tf.float32), [examples, -1]) for each in heard]
    means = tf.stack([tf.reduce_mean(each, axis=1) for each in flat])
    variances = tf.stack([tf.math.reduce_variance(each, axis=1) for each in flat])
    return {"signal_mean": tf.reduce_mean(means, axis=0), "signal_variance": tf.reduce_mean(variances, axis=0)}
