"""Networks without code."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import equal_trees  # noqa: E402
from emloop.errors import ConfigError  # noqa: E402

LINEAR = {"class": "Linear", "in_features": 3, "out_features": 2}


@pytest.fixture
def supervised(create):
    """Create a supervised model."""
    return lambda **config: create(cls=emloop_torch.Supervised, **{"net": [LINEAR]} | config)


def test_a_classifier_gives_scores_classes_and_probabilities(supervised, batches):
    """And, against the labels, the loss in nats and the accuracy."""
    outputs = ["scores", "predictions", "probabilities", "loss", "accuracy"]
    model = supervised(metrics=["accuracy"], outputs=outputs)
    found, labels = model.run(batches[0], train=False), torch.from_numpy(batches[0]["labels"])

    scores = torch.from_numpy(found["scores"])
    np.testing.assert_allclose(found["loss"], functional.cross_entropy(scores, labels, reduction="none"), rtol=1e-5)
    np.testing.assert_array_equal(found["predictions"], scores.argmax(1))
    np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found["accuracy"], (found["predictions"] == batches[0]["labels"]).astype("f4"))


def test_a_regressor_gives_predictions_and_errors(supervised, batches):
    """One number for every example may be a column of the network."""
    model = supervised(
        net=[{**LINEAR, "out_features": 1}],
        loss="MSELoss",
        metrics=["absolute_error", "squared_error"],
        outputs=["predictions", "loss", "absolute_error", "squared_error"],
    )
    found = model.run(batches[0], train=True)

    np.testing.assert_allclose(found["loss"], (found["predictions"][:, 0] - batches[0]["labels"]) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found["squared_error"], found["loss"], rtol=1e-5)
    np.testing.assert_allclose(found["absolute_error"], np.sqrt(found["loss"]), rtol=1e-5)


def test_two_classes_can_be_one_number(supervised, batches):
    """Its sign is the class."""
    model = supervised(
        net=[{**LINEAR, "out_features": 1}],
        loss={"class": "BCEWithLogitsLoss"},
        metrics=["accuracy"],
        outputs=["predictions", "probabilities", "loss", "accuracy"],
    )
    found = model.run(batches[0], train=True)

    np.testing.assert_array_equal(found["predictions"], (found["probabilities"] > 0.5).astype(int))
    assert set(found["accuracy"]) <= {0, 1}


def test_layers_may_hold_layers(supervised, batches):
    """What names a class is an object wherever it stands; one module is as good as a list."""
    layer = {"class": "TransformerEncoderLayer", "d_model": 3, "nhead": 1, "dim_feedforward": 4, "batch_first": True}
    net = [{"class": "Unflatten", "dim": 1, "unflattened_size": [1, 3]},
           {"class": "TransformerEncoder", "encoder_layer": layer, "num_layers": 1,
            "enable_nested_tensor": False}, "Flatten", LINEAR]  # fmt: skip
    model = supervised(net=net)
    model.run(batches[0], train=True)

    assert supervised(net=LINEAR).run(batches[0], train=True)["loss"].shape == (8,)


def test_a_saved_model_needs_neither_net_nor_loss(supervised, create, batches):
    """The class that restores it is the one of every other model."""
    model = supervised(metrics=["accuracy"], outputs=["loss", "accuracy"])
    model.run(batches[0], train=True)
    restored = create(restore_from=model.save("best"), outputs=["loss", "accuracy"])

    for batch in batches[1:]:
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"net": ["Flaten"]}, "net[0]: unknown layer 'Flaten'\n  did you mean 'Flatten'?"),
        ({"net": [{"class": "Linear", "in_feature": 3}]}, "'in_feature'\n  did you mean 'in_features'?"),
        ({"net": [{"class": "Linear"}]}, "Linear needs the argument 'in_features'"),
        ({"net": [{"class": "Dropout", "p": 2}]}, "net[0]: Dropout: dropout probability"),
        ({"net": 3}, "net: expected a layer, by its name or as {class: Name, argument: value}, or a list of"),
        ({"loss": "MSE"}, "loss: unknown loss 'MSE'\n  did you mean 'MSELoss'?"),
        ({"loss": {"class": "MSELoss", "reduction": "sum"}}, "loss.reduction: is always 'none'"),
        ({"metrics": ["acuracy"]}, "'absolute_error', 'squared_error', got 'acuracy'"),
        ({"outputs": ["accuracy"]}, "outputs[0]: there is no 'accuracy'\n  add it: metrics: [accuracy]"),
        ({"outputs": ["prediction"]}, "got 'prediction'\n  did you mean 'predictions'?"),
        ({"inputs": ["a", "b", "c"]}, "inputs: expected features, or features and a target"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(supervised, config, message):
    """And what was probably meant."""
    with pytest.raises(ConfigError) as error:
        supervised(**config)

    assert message in str(error.value)


def test_all_mistakes_of_a_net_come_at_once(supervised):
    """One for every layer that is wrong."""
    with pytest.raises(ConfigError) as error:
        supervised(net=["Flaten", {"class": "Linear"}, {"class": "ReLU", "place": True}])

    assert len(error.value.problems) == 4


@pytest.mark.parametrize(
    ("loss", "target"),
    [("CrossEntropyLoss", "classes"), ("NLLLoss", "classes"), ("BCEWithLogitsLoss", "columns"), ("MSELoss", "columns")],
)
def test_outputs_that_nobody_asks_for_change_nothing(create, batches, caplog, loss, target):
    """They are left out of the training, and yet the saved model has them."""
    caplog.set_level("WARNING")
    outputs = ["scores", "predictions", "loss", "squared_error"]
    config = {
        "net": [{"class": "Linear", "in_features": 3, "out_features": 2}, {"class": "Dropout", "p": 0.2}],
        "loss": loss,
        "metrics": ["squared_error"] if target == "columns" else ["accuracy"],
        "saved_model": {"shadow": 1.0, "source_free": "require"},
    }
    outputs = outputs if target == "columns" else [*outputs[:3], "accuracy"]
    few = create(cls=emloop_torch.Supervised, **config)
    many = create(cls=emloop_torch.Supervised, **config, outputs=outputs, log_dir=None)
    if target == "columns":
        batches = [{**batch, "labels": np.eye(2, dtype=np.float32)[batch["labels"]]} for batch in batches]
    for number, batch in enumerate(batches):
        train = number % 4 != 3
        expected = many.run(batch, train=train)
        assert np.array_equal(expected["loss"], few.run(batch, train=train)["loss"])
        if number == 4:
            path = few.save("best")
            restored = create(restore_from=path, outputs=outputs, log_dir=None)
            assert equal_trees(many.run(batch, train=False), restored.run(batch, train=False))

    assert equal_trees(few.state_dict(), many.state_dict())
    assert caplog.text == ""
