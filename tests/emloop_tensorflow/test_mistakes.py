"""Batches, configurations and classes that mean nothing are refused by name, with the way out."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

import emloop_tensorflow  # noqa: E402
from emloop.errors import BatchError, ConfigError  # noqa: E402

from . import nets  # noqa: E402
from .trials import BATCHES  # noqa: E402


@pytest.mark.parametrize(("points", "words"), [
    pytest.param(np.array([["a"] * 3] * 8), "expected numbers, got an array of <U1; turn text into numbers", id="text"),
    pytest.param(tf.ragged.constant([[1.0], [1.0, 2.0]]), "got a RaggedTensor", id="ragged"),
    pytest.param(np.float32(1), "expected a value for every example", id="scalar"),
    pytest.param([[1.0], [1.0, 2.0]], "must have one shape", id="of-different-lengths"),
])  # fmt: skip
def test_what_no_graph_takes_is_refused_by_name(points, words, create):
    """With the way out."""
    with pytest.raises(BatchError, match=f"points: .*{words}"):
        create().run({**BATCHES[0], "points": points}, train=False)


@pytest.mark.parametrize(("config", "words"), [
    pytest.param({"ema": {"decay": 0.9}}, "no average is kept here", id="ema"),
    pytest.param({"clip_gradient": {"norm": 1.0, "value": 1.0}}, "either a value or a norm", id="two-limits"),
    pytest.param({"clip_gradient": {}}, "either a value or a norm", id="no-limit"),
    pytest.param({"optimizer": {"class": "Adam", "beta_1": "x"}}, "beta_1: expected a number", id="no-number"),
    pytest.param({"optimizers": []}, "one optimizer trains a model", id="several-optimizers"),
    pytest.param({"inputs": ["points", "label"]}, "call takes no 'label'", id="an-input"),
    pytest.param({"lr_schedule": {"class": "CosineDecay"}}, "lr_schedule", id="a-schedule-without-arguments"),
])  # fmt: skip
def test_what_means_nothing_here_is_refused_when_the_model_is_made(config, words, create):
    """By one line that says what to do instead."""
    with pytest.raises(ConfigError, match=words):
        create(**config)


@pytest.mark.parametrize(("given", "words"), [
    pytest.param(lambda points, labels: {"loss": points @ tf.transpose(points)}, r"broadcast to \[B, B\]", id="square"),
    pytest.param(lambda points, labels: {"loss": labels}, "got int64", id="whole-numbers"),
    pytest.param(lambda points, labels: {"los": points[:, 0]}, "no 'loss' to learn from; .*did you mean", id="none"),
    pytest.param(lambda points, labels: points, "must return a mapping", id="a-tensor"),
])  # fmt: skip
def test_what_is_no_loss_is_refused(given, words, create):
    """Before anything is learned from it."""

    class Odd(emloop_tensorflow.BaseModel):
        def create_model(self):
            self.out = keras.layers.Dense(1)

        def call(self, points, labels, training):
            return given(self.out(points) * points, labels)

    with pytest.raises((BatchError, KeyError), match=words):
        create(Odd, outputs=["loss"]).run(BATCHES[0], train=True)


@pytest.mark.parametrize(("body", "words"), [
    pytest.param({"create_model": lambda self: None}, "no method 'call'", id="without-call"),
    pytest.param({"call": lambda self, points, labels: {}}, "does not take 'training'", id="call-without-training"),
    pytest.param(
        {"create_model": lambda self: setattr(self, "weights", [])}, "sets self.weights", id="a-name-that-is-taken"
    ),
])  # fmt: skip
def test_a_class_that_lacks_something_is_refused_when_the_model_is_made(body, words, create):
    """And told what is needed."""
    base = emloop_tensorflow.BaseModel if words.startswith("no") else nets.Classifier

    with pytest.raises(ConfigError, match=words):
        create(type("Odd", (base,), body))
