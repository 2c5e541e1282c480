"""A network of Keras that is described by the configuration alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import emloop
from emloop._config.check import check_config
from emloop.api import create_model
from emloop.errors import ConfigError, EmloopError

RNG = np.random.default_rng(4)
POINTS = RNG.normal(size=(32, 2, 2)).astype(np.float32)
LABELS = (POINTS.sum((1, 2)) > 0).astype(np.int64)
BATCH = {"points": POINTS, "labels": LABELS}
LAYERS = ["Flatten", {"class": "Dense", "units": 8, "activation": "relu"}, {"class": "Dense", "units": 2}]
SIGMOID = ["Flatten", {"class": "Dense", "units": 1, "activation": "sigmoid"}]


def create(**keys):
    """A model of that section."""
    section = {"net": LAYERS, "inputs": ["points", "labels"], "outputs": ["loss"], **keys}
    return create_model({"model": {"class": "emloop_tensorflow.Supervised", **section}}, None, None)


def test_layers_and_a_metric_are_enough_to_learn():
    """The default loss is that of classes by number, from what the last layer gives."""
    model = create(
        metrics=["accuracy"],
        outputs=["scores", "predictions", "probabilities", "loss", "accuracy"],
        optimizer={"class": "Adam", "learning_rate": 0.05},
    )
    before = model.run(BATCH, train=False)
    for _ in range(40):
        model.run(BATCH, train=True)
    after = model.run(BATCH, train=False)

    assert np.mean(after["accuracy"]) > 0.9
    assert np.mean(after["loss"]) < np.mean(before["loss"])
    np.testing.assert_allclose(np.sum(after["probabilities"], 1), 1, rtol=1e-5)
    np.testing.assert_array_equal(after["predictions"], np.argmax(after["scores"], 1))
    assert model.prediction_inputs == ["points"]
    assert set(model.predict({"points": POINTS})) == {"scores", "predictions", "probabilities"}


@pytest.mark.parametrize(
    ("net", "loss", "target", "expected"),
    [
        pytest.param(SIGMOID, "BinaryCrossentropy", LABELS, [0, 1], id="binary-probabilities"),
        pytest.param(
            ["Flatten", {"class": "Dense", "units": 1}],
            {"class": "BinaryCrossentropy", "from_logits": True},
            LABELS.astype(np.float32)[:, None],
            [0, 1],
            id="binary-logits",
        ),
        pytest.param(
            [*LAYERS, "Softmax"], "CategoricalCrossentropy", np.eye(2, dtype=np.float32)[LABELS], [0, 1], id="one-hot"
        ),
    ],
)
def test_predictions_are_classes_where_the_loss_is_one_of_classes(net, loss, target, expected):
    """Whether the target is a number, a column, or a vector with a 1."""
    model = create(net=net, loss=loss, metrics=["accuracy"], outputs=["predictions", "loss", "accuracy"])
    outputs = model.run({"points": POINTS, "labels": target}, train=True)

    assert set(np.ravel(outputs["predictions"])) <= set(expected)
    assert np.shape(outputs["loss"]) == np.shape(outputs["accuracy"]) == (32,)
    right = np.ravel(outputs["predictions"]) == LABELS
    np.testing.assert_array_equal(np.ravel(outputs["accuracy"]), right)


def test_numbers_are_predicted_by_the_scores_themselves():
    """A target of one number for every example fits a column of scores; errors are means over elements."""
    model = create(
        net=["Flatten", {"class": "Dense", "units": 1}],
        loss="MeanSquaredError",
        metrics=["absolute_error", "squared_error"],
        outputs=["predictions", "loss", "absolute_error", "squared_error"],
    )
    outputs = model.run({"points": POINTS, "labels": POINTS[:, 0, 0]}, train=False)

    off = np.asarray(outputs["predictions"])[:, 0] - POINTS[:, 0, 0]
    np.testing.assert_allclose(outputs["loss"], off**2, rtol=1e-5)
    np.testing.assert_allclose(outputs["squared_error"], off**2, rtol=1e-5)
    np.testing.assert_allclose(outputs["absolute_error"], np.abs(off), rtol=1e-5)


def test_what_a_mask_leaves_out_counts_for_nothing():
    """Neither in an example's mean nor among the others, be it NaN; nor do labels of the ignored class."""
    rows = RNG.normal(size=(3, 4, 2)).astype(np.float32)
    labels = RNG.integers(0, 2, (3, 4))
    mask = np.float32([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    model = create(
        net=[{"class": "Dense", "units": 2}],
        inputs=["points", "labels", "mask"],
        weights={"loss": "mask"},
        outputs=["scores", "loss"],
    )
    outputs = model.run({"points": rows, "labels": labels, "mask": mask}, train=False)
    scores = np.asarray(outputs["scores"], np.float64)
    each = np.log(np.exp(scores).sum(-1)) - np.take_along_axis(scores, labels[..., None], -1)[..., 0]

    assert model.weights == {"loss": "loss_weight"}
    assert np.asarray(outputs["loss_weight"]).tolist() == [2, 0, 4]
    np.testing.assert_allclose(np.asarray(outputs["loss"])[[0, 2]], [each[0, :2].mean(), each[2].mean()], rtol=1e-5)

    ignoring = create(
        net=[{"class": "Dense", "units": 2}],
        loss={"class": "SparseCategoricalCrossentropy", "from_logits": True, "ignore_class": -1},
    )
    outputs = ignoring.run({"points": rows, "labels": np.where(mask > 0, labels, -1)}, train=True)
    assert np.asarray(outputs["loss_weight"]).tolist() == [2, 0, 4]


TWO_INPUTS = """
import keras


def make(units):
    left, right = keras.Input((2, 2), name="points"), keras.Input((1,), name="age")
    joined = keras.layers.concatenate([keras.layers.Flatten()(left), right])
    return keras.Model([left, right], keras.layers.Dense(units)(joined))
"""


def test_a_model_of_keras_is_made_by_a_function_and_takes_its_inputs_by_name(tmp_path, monkeypatch):
    """Those that are left: the target."""
    (tmp_path / "own_nets.py").write_text(TWO_INPUTS)
    monkeypatch.syspath_prepend(tmp_path)
    model = create(net={"class": "own_nets.make", "units": 2}, inputs=["age", "labels", "points"])
    outputs = model.run({**BATCH, "age": np.ones((32, 1), np.float32)}, train=True)

    assert np.shape(outputs["loss"]) == (32,)
    assert model.prediction_inputs == ["age", "points"]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"loss": "SparseCategoricalCrossentropy"}, "loss: it is one of probabilities, and the last layer gives any"),
        ({"net": [*LAYERS[:2], {"class": "Dense", "units": 2, "activation": "softmax"}]}, "makes probabilities itself"),
        ({"outputs": ["loss", "accuracy"]}, "add it: metrics: [accuracy]"),
        ({"inputs": ["points"]}, "there is no 'loss'"),
        ({"inputs": ["points", "labels", "mask"]}, "nothing takes 'mask'"),
        ({"weights": {"los": "mask"}}, "did you mean 'loss'?"),
        ({"net": {"class": "keras.initializers.HeNormal"}}, "keras.initializers.HeNormal is no Layer"),
    ],
)
def test_what_does_not_fit_together_is_said_before_the_first_batch(keys, told):
    """In the words of the configuration."""
    with pytest.raises(ConfigError) as caught:
        create(**keys)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("net", "keys", "hint"),
    [
        ("[{class: Dense, unit: 4}]", ("net", 0, "unit"), "did you mean 'units'?"),
        ("[Flaten]", ("net", 0), "did you mean 'Flatten'?"),
        (
            "[{class: Bidirectional, layer: {class: LSTM, unit: 3}}]",
            ("net", 0, "layer", "unit"),
            "did you mean 'units'?",
        ),
        ("[{class: Dense, units: 4, name: top, trainable: false, dtype: float32}]", None, ""),
    ],
)
def test_the_check_knows_the_layers_of_keras(net, keys, hint, tmp_path, monkeypatch):
    """From their source, as deep as they nest."""
    (tmp_path / "data_of_layers.py").write_text(
        "import emloop as el\n\n\nclass Data(el.BaseDataset):\n    def _configure_dataset(self):\n        pass\n\n"
        "    def train_stream(self):\n        yield {'points': [], 'labels': []}\n"
    )
    monkeypatch.chdir(tmp_path)
    model = f"{{class: emloop_tensorflow.Supervised, net: {net}, inputs: [points, labels], outputs: [loss]}}"
    (tmp_path / "config.yaml").write_text(f"dataset: {{class: data_of_layers.Data}}\nmodel: {model}\n")
    found = check_config("config.yaml")[1]

    assert ([] if keys is None else [("model", *keys)]) == [problem.keys[: 1 + len(keys or ())] for problem in found]
    assert all(hint in str(problem) for problem in found)


def test_a_strangers_run_has_layers_losses_and_optimizers_of_keras():
    """And nothing that runs code, or opens graphs that nobody has looked through."""
    described = {
        "loss": {"class": "SparseCategoricalCrossentropy", "from_logits": True},
        "optimizer": {"class": "Adam", "learning_rate": 0.1},
        "lr_schedule": {"class": "CosineDecay", "decay_steps": 5},
    }
    graph = {"class": "TFSMLayer", "filepath": "graph"}
    with emloop.untrusted():
        losses = create(**described).run(BATCH, train=True)["loss"]
        for net in ([graph], [{"class": "TimeDistributed", "layer": graph}], [{"class": "keras.utils.get_file"}]):
            with pytest.raises(EmloopError, match=r"nobody looks through|not called for an untrusted run"):
                create(net=net)

    assert np.isfinite(losses).all()
