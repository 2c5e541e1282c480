"""One batch on several devices: its examples are split evenly, and what is learned from them is what one would learn.

Every device computes its share of the examples with the same variables, which lie on the first. Means and gradients are
weighted as a single device weighs examples, so that it makes no difference that a batch cannot be divided; one with
fewer examples than there are devices is computed by the first alone. The variables are those of a model on one device,
and so are commits and saved models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

__all__ = ["Share", "gradients_of", "joined", "spread"]


class Share(NamedTuple):
    """What has been computed of some of the examples of a batch.

    Args:
        outputs: Name → output.
        mean: The mean loss; ``None`` if there is no loss.
        total: How much they count among others.
        tells_mean: The output that is this mean for every example, if there is one.
        added: What layers have added to the loss; ``None`` if nothing.
        tape: What has watched, where something is learned.
        device: Where it was computed.
        part: How many of the examples they are.
    """

    outputs: Mapping[str, Any]
    mean: Any
    total: Any
    tells_mean: str | None = None
    added: Any = None
    tape: Any = None
    device: str | None = None
    part: Any = 1.0


def spread(
    given: Mapping[str, Any],
    examples: Any,
    devices: Sequence[str],
    compute: Callable[[Mapping[str, Any], Any], Share],
    join: Callable[[Sequence[Share]], Any],
) -> Any:
    """Compute the shares of a batch, and join them, as part of a graph.

    Args:
        given: Source → tensor.
        examples: How many examples there are.
        devices: Where to compute, at least two.
        compute: Computes some of the examples.
        join: Makes tensors of the shares, always in one structure.
    """
    count = len(devices)

    def on_all() -> Any:
        sizes = [examples // count + tf.cast(number < examples % count, examples.dtype) for number in range(count)]
        parts = {name: tf.split(tensor, tf.stack(sizes), num=count) for name, tensor in given.items()}
        shares = []
        for number, (device, size) in enumerate(zip(devices, sizes, strict=True)):
            with tf.device(device):
                share = compute({name: part[number] for name, part in parts.items()}, size)
            part = tf.cast(size, tf.float32) / tf.cast(examples, tf.float32)
            shares.append(share._replace(device=device, part=part))
        return join(shares)

    return tf.cond(examples >= count, on_all, lambda: join([compute(given, examples)]))


def joined(shares: Sequence[Share], names: Sequence[str]) -> list[Any]:
    """Outputs of all examples in their order, then the mean loss, if there is one, and how much the batch counts."""
    outputs = {name: tf.concat([share.outputs[name] for share in shares], 0) for name in names}
    if shares[0].mean is None:
        return list(outputs.values())
    total = tf.add_n([share.total for share in shares])
    mean = tf.add_n([share.mean * _counting(share, total) for share in shares])
    if shares[0].tells_mean in outputs:
        values = outputs[shares[0].tells_mean]
        outputs[shares[0].tells_mean] = tf.fill(tf.shape(values), tf.cast(mean, values.dtype))
    return [*outputs.values(), mean, total]


def gradients_of(shares: Sequence[Share], trained: Sequence[Any], scale: Any) -> list[Any]:
    """The gradients of the loss of all examples, each computed where its share was; ``None`` where it depends not.

    Args:
        shares: The shares.
        trained: The variables.
        scale: What the loss is multiplied by.
    """
    total, found = tf.add_n([share.total for share in shares]), []
    for share in shares:
        with tf.device(share.device):
            targets = [(share.mean, _counting(share, total) * scale)]
            if share.added is not None:
                targets.append((share.added, share.part * scale))
            losses = [loss for loss, _ in targets]
            weights = [tf.cast(weight, loss.dtype) for loss, weight in targets]
            found.append(share.tape.gradient(losses, trained, output_gradients=weights))
    return [
        None if of_one[0] is None else tf.add_n([tf.convert_to_tensor(gradient) for gradient in of_one])
        for of_one in zip(*found, strict=True)
    ]


def _counting(share: Share, total: Any) -> Any:
    return tf.cast(tf.math.divide_no_nan(share.total, total), share.mean.dtype)
