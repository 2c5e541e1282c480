"""Optimizers of Keras: by name, by the names of TensorFlow 1, or as objects; and what is said of others."""

from __future__ import annotations

import logging

import pytest

from emloop._config.check import check_config
from emloop.errors import ConfigError

keras = pytest.importorskip("keras")

from emloop_tensorflow._optimizers import as_optimizer, build_optimizer, rate_of  # noqa: E402

MODULE = """
from dataclasses import dataclass

from emloop import AbstractModel, BaseDataset
from emloop.declare import Component
from emloop_tensorflow._optimizers import Optimizers


class Data(BaseDataset):
    def _configure_dataset(self):
        pass

    def train_stream(self):
        yield {}


class Model(AbstractModel):
    input_names, output_names = ["x"], ["loss"]

    def __init__(self, dataset, log_dir, restore_from=None, *, optimizer: Component[Optimizers] | None = None):
        pass

    def run(self, batch, train=False, stream=None):
        return {}

    def save(self, name_suffix):
        return ""
"""


@pytest.fixture
def variables():
    """Those of a small layer."""
    return [keras.Variable([[1.0, 2.0]], name="kernel"), keras.Variable([1.0, 1.0], name="bias")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AdamOptimizer", {"class": "Adam"}),
        (
            {"class": "tensorflow.python.training.adam.AdamOptimizer", "learning_rate": 0.1, "beta1": 0.8},
            {"class": "Adam", "learning_rate": 0.1, "beta_1": 0.8},
        ),
        (
            {"class": "MomentumOptimizer", "learning_rate": 0.1, "momentum": 0.7, "use_nesterov": True},
            {"class": "SGD", "learning_rate": 0.1, "momentum": 0.7, "nesterov": True},
        ),
        ({"class": "GradientDescentOptimizer", "use_locking": True}, {"class": "SGD"}),
        ({"class": "tf.train.RMSPropOptimizer", "decay": 0.8}, {"class": "RMSprop", "rho": 0.8}),
        (
            {"class": "FtrlOptimizer", "l1_regularization_strength": 0.1},
            {"class": "Ftrl", "l1_regularization_strength": 0.1},
        ),
    ],
)
def test_a_name_of_tensorflow_1_is_understood(old, new, variables, caplog):
    """The optimizer is the one of today, its arguments included, and one line says what it is called now."""
    with caplog.at_level(logging.WARNING):
        made = build_optimizer(old, variables)

    assert (type(made).__name__, made.get_config()) == _described(build_optimizer(new, variables), name=made.name)
    (said,) = caplog.messages
    assert f"is {new['class']} now; `emloop migrate CONFIG` writes it so" in said


def _described(optimizer, name):
    return type(optimizer).__name__, {**optimizer.get_config(), "name": name}


def test_nothing_given_is_adamw(variables):
    """As with the other backends; the learning rate is a variable that hooks can set."""
    made = build_optimizer(None, variables)
    rate_of(made).assign(0.5)

    assert type(made) is keras.optimizers.AdamW
    assert float(made.learning_rate) == 0.5


def test_weight_decay_can_spare_biases(variables):
    """Only the kernel shrinks where no gradient moves anything."""
    made = build_optimizer({"class": "SGD", "learning_rate": 0.1, "weight_decay": 1.0, "no_decay": True}, variables)
    made.apply([keras.ops.zeros_like(variable) for variable in variables], variables)

    assert [[0.9, 1.8]] == pytest.approx(variables[0].numpy())
    assert [1.0, 1.0] == variables[1].numpy().tolist()


@pytest.mark.parametrize(
    ("optimizer", "keys", "told"),
    [
        ("Adm", (), "did you mean 'Adam'?"),
        ("ScheduleFreeAdamW", (), "evaluates with other weights than it trains"),
        ("keras.losses.MeanSquaredError", (), "expected a subclass of keras.optimizers.Optimizer"),
        ("{class: Adam, learning_rate: '0,1'}", ("learning_rate",), "expected number or null"),
        ("{class: Adam, learning_rat: 0.1}", ("learning_rat",), "did you mean 'learning_rate'?"),
        ("{class: SGD, clipnorm: 1}", ("clipnorm",), "`clip_gradient: {norm: 1.0}`"),
        ("{class: AdamOptimizer, beta3: 1}", ("beta3",), "did you mean 'beta_1'?"),
        ("{class: AdamOptimizer, beta1: 0.8}", None, ""),
    ],
)
def test_the_check_knows_the_optimizers_of_keras(optimizer, keys, told, tmp_path, monkeypatch):
    """From their source: nothing is imported for it."""
    (tmp_path / "optimized.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    model = f"{{class: optimized.Model, optimizer: {optimizer}}}"
    (tmp_path / "config.yaml").write_text(f"dataset: {{class: optimized.Data}}\nmodel: {model}\n")
    found = check_config("config.yaml")[1]

    assert ([] if keys is None else [("model", "optimizer", *keys)]) == [
        problem.keys[: 2 + len(keys or ())] for problem in found
    ]
    assert all(told in str(problem) for problem in found)


def test_what_an_optimizer_lacks_or_refuses_is_said_where_it_stands(variables):
    """By the key of the configuration."""
    for description, told in (
        ({"class": "SGD", "no_decay": True}, "optimizer.no_decay: SGD has no weight_decay"),
        ({"class": "SGD", "momentum": 7}, "optimizer: SGD: `momentum` must be a float between [0, 1]."),
    ):
        with pytest.raises(ConfigError) as caught:
            build_optimizer(description, variables)
        assert told in str(caught.value)


def test_a_class_makes_its_optimizer_itself(variables):
    """An object of Keras is built for the variables; a description is read; anything else is named."""
    own = as_optimizer(keras.optimizers.Adam(0.1), variables)

    assert own.built
    assert type(as_optimizer({"class": "Lion"}, variables)) is keras.optimizers.Lion
    with pytest.raises(TypeError, match=r"has returned a builtins.float; return an optimizer of Keras"):
        as_optimizer(0.1, variables)


def test_a_schedule_inside_an_optimizer_leaves_no_rate_to_set(variables):
    """It computes the rate from the number of steps."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)

    assert rate_of(as_optimizer(keras.optimizers.SGD(schedule), variables)) is None
