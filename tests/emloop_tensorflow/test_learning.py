"""What a step does: weights, windows, rates, limits, and what is left alone."""

from __future__ import annotations

import logging

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras
import tensorflow as tf

import emloop_tensorflow
from emloop._state.tree import copy_tree, equal_trees
from emloop.errors import BatchError, ConfigError

from . import nets
from .trials import BATCHES, SGD, step, weights_in


def test_batches_that_make_one_step_count_by_their_examples(create):
    """Three batches of different sizes move the weights as all of them together do."""
    several, one = create(optimizer=SGD, accumulate=4), create(optimizer=SGD)
    for batch in BATCHES[1:4]:
        several.run(batch, train=True)
    before = copy_tree(weights_in(several))
    several.end_epoch()
    one.run({name: np.concatenate([batch[name] for batch in BATCHES[1:4]]) for name in BATCHES[0]}, train=True)

    assert equal_trees(before, weights_in(create(optimizer=SGD)) or before)
    for name, expected in weights_in(one).items():
        np.testing.assert_allclose(weights_in(several)[name], expected, rtol=1e-5, atol=1e-7)


def test_a_weight_counts_in_gradients_and_what_has_none_counts_nothing(create):
    """Not even where it is NaN."""
    batch = {**BATCHES[0], "mask": np.array([1, 1, 1, 0, 0, 0, 0, 2.0])}
    spoilt = {**batch, "points": batch["points"].copy()}
    spoilt["points"][3:7] = np.nan
    repeated = {name: batch[name][[0, 1, 2, 7, 7]] for name in ("points", "labels")}
    weighted, other = (create(optimizer=SGD, weights={"loss": "mask"}) for _ in range(2))
    plain = create(optimizer=SGD)
    weighted.run(batch, train=True)
    plain.run(repeated, train=True)
    assert np.isnan(other.run(spoilt, train=False)["loss"]).sum() == 4
    assert other.first_nan() == 0

    for name, expected in weights_in(plain).items():
        np.testing.assert_allclose(weights_in(weighted)[name], expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(BatchError, match="expected numbers from 0 on"):
        weighted.run({**batch, "mask": -batch["mask"]}, train=True)


@pytest.mark.parametrize(("clip", "measure"), [
    pytest.param(0.001, lambda moved: max(np.abs(each).max() for each in moved), id="a-bare-number"),
    pytest.param({"norm": 0.001}, lambda moved: np.sqrt(sum((each**2).sum() for each in moved)), id="norm"),
])  # fmt: skip
def test_gradients_are_clipped(clip, measure, create):
    """By value for a bare number, by the norm of all of them where that is named."""
    model = create(optimizer={"class": "SGD", "learning_rate": 1.0}, clip_gradient=clip)
    model.run(BATCHES[0], train=False)
    before = copy_tree(weights_in(model))
    model.run(BATCHES[0], train=True)

    assert measure([weights_in(model)[name] - before[name] for name in before]) == pytest.approx(0.001, rel=1e-3)


def test_regularisers_and_losses_of_layers_are_learned_from_and_statistics_move(create):
    """Without a word in the configuration; the output ``loss`` stays what the model gives."""
    model = create(nets.Subclassed, optimizer={"class": "SGD", "learning_rate": 0.5})
    first = model.run(BATCHES[0], train=False)["loss"]
    norm = np.abs(weights_in(model)["net/dense/kernel"]).sum()
    for _ in range(20):
        model.run(BATCHES[0], train=True)

    assert np.isfinite(first).all()
    assert np.abs(weights_in(model)["net/dense/kernel"]).sum() < norm
    assert not np.allclose(weights_in(model)["net/batch_normalization/moving_mean"], 0)


def test_a_schedule_moves_the_rate_and_goes_on_from_one_that_a_hook_sets(create):
    """By epochs unless told otherwise; a warm-up is no part of it."""
    schedule = {"class": "ExponentialDecay", "decay_steps": 1, "decay_rate": 0.5, "warmup_steps": 100}
    model = create(optimizer=SGD, lr_schedule=schedule)
    rates = [model.get_variable("learning_rate")]
    for _ in range(2):
        rates += [float(step(model, batch)["rate"]) for batch in BATCHES[:2]]
        model.end_epoch()
    model.set_variable("learning_rate", 0.2)
    rates.append(float(step(model, BATCHES[0])["rate"]))

    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.1])


def test_an_optimizer_that_a_class_has_made_is_used(create):
    """As it is, in every step; its rate is the one that hooks set."""

    class Own(nets.Classifier):
        def create_model(self):
            super().create_model()
            self.chosen = keras.optimizers.SGD(0.25)

        def create_optimizer(self):
            return self.chosen

    model = create(Own)
    assert model.get_variable("learning_rate") == 0.25
    model.run(BATCHES[0], train=True)
    model.set_variable("learning_rate", 0.0)
    before = copy_tree(weights_in(model))
    model.run(BATCHES[0], train=True)

    assert equal_trees(before, weights_in(model))


def test_frozen_variables_stay(create):
    """Those whose whole name matches; a pattern that matches nothing is refused."""
    model = create(nets.Subclassed, frozen=["net/dense.*"])
    model.run(BATCHES[0], train=False)
    before = copy_tree(weights_in(model))
    model.run(BATCHES[0], train=True)
    moved = {name for name, value in weights_in(model).items() if not np.array_equal(value, before[name])}

    assert moved >= {"net/batch_normalization/beta", "net/scale"}
    assert not [name for name in moved if name.startswith("net/dense")]
    with pytest.raises(ConfigError, match="frozen: 'net/dens' matches"):
        create(nets.Subclassed, frozen=["net/dens"]).run(BATCHES[0], train=True)


def test_a_fresh_model_begins_with_what_fits(create, tmp_path, caplog):
    """By name and shape; the log says what became of the rest."""
    caplog.set_level(logging.INFO)
    origin = create(nets.Subclassed, log_dir=tmp_path / "origin")
    (tmp_path / "origin").mkdir()
    origin.run(BATCHES[0], train=True)
    path = origin.save("best")
    rename = {"net/dense/(.*)": r"first/\1", "net/dense_2/.*": "elsewhere"}

    class Other(nets.Classifier):
        def create_model(self):
            self.first, self.out = keras.layers.Dense(6, name="first"), keras.layers.Dense(2, name="out")

        def score(self, points, training):
            return self.out(self.first(points))

    model = create(Other, init_from={"path": path, "rename": {k: v for k, v in rename.items() if "2" not in k}})
    model.run(BATCHES[0], train=False)

    assert np.array_equal(weights_in(model)["first/kernel"], weights_in(origin)["net/dense/kernel"])
    assert [r for r in caplog.records if "2 of 4 taken" in r.getMessage()]


def test_a_model_of_keras_that_gives_its_loss_needs_no_method(create):
    """Its arguments are the sources, in their order."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = keras.layers.Dense(2)

        def call(self, points, labels, training=False):
            loss = keras.losses.sparse_categorical_crossentropy(labels, self.out(points), from_logits=True)
            return {"loss": loss, "logits": self.out(points)}

    model = create(type("Returned", (emloop_tensorflow.BaseModel,), {"create_model": lambda self: Net()}))
    first = np.mean(model.run(BATCHES[0], train=True)["loss"])
    for _ in range(9):
        last = np.mean(model.run(BATCHES[0], train=True)["loss"])

    assert last < first
    assert list(weights_in(model)) == ["net/dense/kernel", "net/dense/bias"]


def test_the_first_batch_with_nan_is_known(create):
    """Its number since one has asked last."""
    model = create()
    assert model.first_nan() is None
    for number in range(70):
        spoilt = {**BATCHES[0], "points": np.full((8, 3), np.nan, np.float32)}
        model.run(spoilt if number in (66, 68) else BATCHES[0], train=False)

    assert model.first_nan() == 67
    model.run(BATCHES[0], train=False)
    assert model.first_nan() == 0


def test_signals_and_traces_of_single_batches(create, tmp_path):
    """Of a kind of operation, or of a layer; the newest traces stay."""
    config = {"monitor": "Conv2D", "profile": {"keep": 2, "every": 1}}
    model = create(nets.Looked, **config)
    for batch in BATCHES[:3]:
        outputs = model.run(batch, train=True)
    by_layer = create(nets.Looked, monitor="look").run(BATCHES[0], train=False)
    without = create(emloop_tensorflow.BaseModel, model.save("best"), **config)

    assert outputs["signal_mean"].shape == outputs["signal_variance"].shape == (5,)
    assert np.isfinite(by_layer["signal_variance"]).all()
    assert list(without.run(BATCHES[0], train=False)) == ["loss", "logits", "signal_mean", "signal_variance"]
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == ["trace-00000002", "trace-00000003"]
    with pytest.raises(ConfigError, match="there is no operation or layer 'Conv3D'"):
        create(nets.Looked, monitor="Conv3D").run(BATCHES[0], train=False)


def test_a_run_names_the_device_that_auto_means(create):
    """So that a resume elsewhere can tell that it is another one."""
    expected = "gpu:0" if tf.config.list_logical_devices("GPU") else "cpu:0"

    assert expected in create(device="auto").model_facts()
