"""The mean that training follows, as part of a graph: a sum of weighted losses over the sum of the weights.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from emloop.errors import BatchError

__all__ = ["check_loss", "check_weight", "total_weight", "weighted_mean"]

_TINY = {tf.float32: np.finfo(np.float32).tiny, tf.float64: np.finfo(np.float64).tiny}


def weighted_mean(loss: Any, weight: Any) -> Any:
    """``Σ w·l / Σ w``, differentiable in the loss; 0 where all weights are 0.

    What has no weight counts nothing, not even where it is NaN.

    Args:
        loss: Any shape; a scalar is a mean already.
        weight: The same shape, any dtype; with further axes, a loss counts for the sum over them. ``None``: all equal.
    """
    values = loss if loss.dtype in _TINY else tf.cast(loss, tf.float32)
    if weight is None or not loss.shape.rank:
        return tf.reduce_mean(values)
    number = tf.cast(_of_losses(weight, loss), values.dtype)
    share = number / tf.maximum(tf.reduce_sum(number), _TINY[values.dtype])
    return tf.reduce_sum(tf.where(number == 0, tf.zeros_like(values), values) * share)


def total_weight(loss: Any, weight: Any, examples: Any) -> Any:
    """How much a batch counts among others: the sum of its weights, or its number of losses, or of examples."""
    if weight is not None:
        return tf.reduce_sum(tf.cast(tf.stop_gradient(weight), tf.float32))
    return tf.cast(tf.size(loss) if loss.shape.rank else examples, tf.float32)


def _of_losses(weight: Any, loss: Any) -> Any:
    weight = tf.stop_gradient(tf.cast(weight, tf.float32) if weight.dtype is tf.bool else weight)
    axes = list(range(loss.shape.rank, weight.shape.rank))
    return tf.reduce_sum(weight, axis=axes) if axes else weight


def check_loss(loss: Any, weight: Any, name: str | None) -> None:
    """Refuse what is no loss.

    Args:
        loss: A scalar, or a value for every example; of more axes only if the weight has them, too, since ``[B, B]``
            is mostly a slip.
        weight: Its weight, if any.
        name: What the weight is called.

    Raises:
        BatchError: If shape or dtype are others; says how they come about.
    """
    rank = loss.shape.rank
    if weight is not None and loss.dtype.is_floating and rank:
        if not weight.shape[:rank].is_compatible_with(loss.shape):
            raise BatchError(f"loss: its weight {name!r} has the shape {_told(weight)}, not {_told(loss)}")
        return
    if loss.dtype.is_floating and rank is not None and rank < 2:
        return
    found = f"got {loss.dtype.name} {_told(loss)}"
    if not loss.dtype.is_floating:
        raise BatchError(f"loss: expected a number for every example, {found}")
    hint = "take the mean of the other axes, or give every element its weight: model.weights={loss: …}"
    if loss.shape[1:].as_list() == [1]:
        hint = "tf.squeeze(loss, 1) has no such axis"
    elif rank == 2:
        hint += "; [B, 1] and [B] broadcast to [B, B]: give prediction and target one shape, e.g. by tf.squeeze"
    raise BatchError(f"loss: expected a number for every example, or their mean, {found}; {hint}")


def check_weight(weight: np.ndarray[Any, Any], name: str) -> None:
    """Refuse weights below 0, infinite or NaN.

    Raises:
        BatchError: If there is one.
    """
    if weight.dtype.kind in "iuf":
        wrong = weight[~((weight >= 0) & (weight < np.inf))]
        if wrong.size:
            raise BatchError(f"weight {name!r}: expected numbers from 0 on, got {wrong[0]:g}")


def _told(tensor: Any) -> str:
    sizes = tensor.shape.as_list() if tensor.shape.rank is not None else ["…"]
    return f"[{', '.join('B' if not n and size is None else str(size or 'any') for n, size in enumerate(sizes))}]"
