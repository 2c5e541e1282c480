"""Batches, configurations and classes that mean nothing are refused by name, with the way out."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

import emloop_tensorflow  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import BatchError, ConfigError, MissingVariableError  # noqa: E402

from . import nets  # noqa: E402
from .trials import BATCHES  # noqa: E402


@pytest.mark.parametrize(("points", "words"), [
    pytest.param(np.array([["a"] * 3] * 8), "expected numbers, got an array of <U1; turn text into numbers", id="text"),
    pytest.param(tf.ragged.constant([[1.0], [1.0, 2.0]]), "got a RaggedTensor", id="ragged"),
    pytest.param(np.float32(1), "expected a value for every example", id="scalar"),
    pytest.param([[1.0], [1.0, 2.0]], "must have one shape", id="of-different-lengths"),
    pytest.param([None] * 8, "got an array of NoneType$", id="nothing"),
])  # fmt: skip
def test_what_no_graph_takes_is_refused_by_name(points, words, create):
    """With the way out."""
    with pytest.raises(BatchError, match=f"points: .*{words}"):
        create().run({**BATCHES[0], "points": points}, train=False)


def test_what_is_no_batch_or_lacks_a_source_is_told_by_name(create):
    """And what it has instead."""
    model = create()

    with pytest.raises(MissingVariableError, match="the batch has no 'labels'; it has 'points', 'label'; did you mean"):
        model.run({"points": BATCHES[0]["points"], "label": BATCHES[0]["labels"]}, train=True)
    with pytest.raises(BatchError, match="expected a mapping of source names to examples, got list"):
        model.run(list(BATCHES[0].values()), train=True)


@pytest.mark.parametrize(("wrong", "words"), [
    pytest.param(
        {"points": np.zeros((8, 4), np.float32)},
        r"points float32 \[8, 4\], .*, where earlier batches had points float32 \[any, 3\], .*: Matrix size",
        id="width",
    ),
    pytest.param({"labels": np.full(8, 7)}, r"points .*, labels int64 \[8\]: Received a label value of 7", id="label"),
])  # fmt: skip
def test_a_batch_that_cannot_be_computed_is_one_line_and_forgotten(wrong, words, create):
    """The line of TensorFlow that says why, and the sizes; what the model takes is as before."""
    model = create()
    model.run(BATCHES[0], train=True)
    before = copy_tree(model.state_dict())

    with pytest.raises(BatchError, match=f"^{words}[^\n]*$"):
        model.run({**BATCHES[0], **wrong}, train=True)
    assert equal_trees(before["signatures"], model.state_dict()["signatures"])
    assert np.isfinite(model.run(BATCHES[1], train=True)["loss"]).all()


def test_a_first_batch_that_no_layer_takes_is_forgotten(create):
    """The error of the layer says what the batch was."""
    model = create()
    with pytest.raises(ValueError, match="expected min_ndim=2") as caught:
        model.run({**BATCHES[0], "points": np.zeros(8, np.float32)}, train=True)

    assert caught.value.__notes__ == ["points float32 [8], labels int64 [8]"]
    assert np.isfinite(model.run(BATCHES[0], train=True)["loss"]).all()


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
