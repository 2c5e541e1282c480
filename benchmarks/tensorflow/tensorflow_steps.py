"""What does a training step of a TensorFlow model cost beside the same step in a hand-written loop?

A small perceptron, batches of 32, SGD; CPU time, one thread, steps of all variants in turn. The hand-written loop is a
``tf.function`` with a signature that returns the loss of every example as an array; beside it, ``train_on_batch`` of
Keras, which returns only a mean. Then an evaluation, and the step of a model that goes on without its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import emloop_tensorflow

from ..figures import Figure, Measure, compare, repeated

import keras  # isort: skip - not before the backend has chosen its surroundings
import tensorflow as tf  # isort: skip

RATE = 1e-7
"""So low that nothing is learned: gradients that vanish are computed slowly."""
CONFIG: Mapping[str, Any] = {
    "inputs": ["points", "labels"],
    "outputs": ["loss"],
    "device": "cpu",
    "optimizer": {"class": "SGD", "learning_rate": RATE},
}
_RNG = np.random.default_rng(0)
BATCH: dict[str, Any] = {"points": _RNG.normal(size=(32, 64)).astype(np.float32), "labels": _RNG.integers(0, 10, 32)}
"""32 points in ten classes."""


def net() -> keras.Sequential:
    """10k parameters."""
    layers = [keras.layers.Dense(128, "relu"), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((64,)), *layers])


class Classifier(emloop_tensorflow.BaseModel):
    """A perceptron with its loss for every example."""

    def create_model(self) -> None:
        """Layers."""
        self.net = net()

    def call(self, points: Any, labels: Any, training: bool) -> dict[str, Any]:
        """The loss."""
        logits = self.net(points, training=training)
        return {"loss": tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)}


def hand_written(*, train: bool = True) -> Callable[[], Any]:
    """A step as one would write it."""
    module, optimizer = net(), keras.optimizers.SGD(RATE)
    optimizer.build(module.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec((None, 64)), tf.TensorSpec((None,), tf.int64)])
    def step(points: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, module(points, training=True))
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, module.trainable_variables), module.trainable_variables)
        return losses

    @tf.function(input_signature=[tf.TensorSpec((None, 64)), tf.TensorSpec((None,), tf.int64)])
    def evaluate(points: Any, labels: Any) -> Any:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, module(points, training=False))

    run = step if train else evaluate
    return lambda: run(tf.constant(BATCH["points"]), tf.constant(BATCH["labels"])).numpy()


def by_keras() -> Callable[[], Any]:
    """A step of Keras."""
    module = net()
    module.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda: module.train_on_batch(BATCH["points"], BATCH["labels"])


def running(model: Any, *, train: bool = True) -> Measure:
    """Batches, as the main loop runs them."""
    return repeated(lambda: model.run(batch=BATCH, train=train, stream=None))


def measure(quick: bool) -> list[Figure]:
    """Blocks of steps."""
    with ExitStack() as entered:
        directory = entered.enter_context(TemporaryDirectory())
        live = Classifier(None, directory, **CONFIG)
        live.run(BATCH, train=True)
        restored = emloop_tensorflow.BaseModel(None, None, live.save("best"), **CONFIG)
        groups: list[dict[str, Measure]] = [
            {
                "hand-written step": repeated(hand_written()),
                "BaseModel": running(live),
                "BaseModel without source": running(restored),
                "train_on_batch of Keras": repeated(by_keras()),
            },
            {
                "hand-written evaluation": repeated(hand_written(train=False)),
                "BaseModel, evaluation": running(live, train=False),
            },
        ]
        for group in groups:
            for warm in group.values():
                warm(10)
        asked = {"BaseModel": 1.10, "BaseModel without source": 1.10, "BaseModel, evaluation": 1.10}
        return compare(groups, *((2, 2) if quick else (50, 40)), most=asked)
