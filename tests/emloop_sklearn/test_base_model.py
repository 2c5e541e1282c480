"""What a scikit-learn model gives for a batch, and what it says of a configuration that cannot work."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

import emloop_sklearn
from emloop.errors import BatchError, ConfigError, MissingVariableError, SavedModelError

NAIVE_BAYES = {"class": "sklearn.naive_bayes.GaussianNB"}
REGRESSOR = {"class": "sklearn.linear_model.SGDRegressor", "random_state": 0}
ALL = ["predictions", "probabilities", "loss", "accuracy"]


def test_a_model_has_the_names_that_the_configuration_gives(create, sgd):
    """In the order given."""
    model = create(estimator=sgd, inputs=["scans", "digits"], outputs=["loss", "predictions"])

    assert (model.input_names, model.output_names) == (["scans", "digits"], ["loss", "predictions"])


def test_a_classifier_gives_what_it_knows_of_every_example(create, batches):
    """Predictions and probabilities; and, against the labels, log loss in nats and accuracy."""
    model = create(estimator=NAIVE_BAYES, outputs=ALL)
    for batch in batches:
        model.run(batch, train=True)
    outputs = model.run(batches[0], train=False)

    labels = batches[0]["labels"]
    probabilities = outputs["probabilities"]
    assert probabilities.shape == (32, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(outputs["predictions"], probabilities.argmax(axis=1))
    np.testing.assert_allclose(outputs["loss"], -np.log(np.maximum(probabilities[np.arange(32), labels], 1e-12)))
    np.testing.assert_array_equal(outputs["accuracy"], (outputs["predictions"] == labels).astype(float))
    assert outputs["accuracy"].mean() > 0.8
    assert list(outputs) == ALL


def test_a_wrong_and_certain_answer_has_a_finite_loss(create):
    """One example cannot make the mean of an epoch infinite."""
    model = create(estimator=NAIVE_BAYES, outputs=["loss"], classes=2)
    batch = {"images": np.array([[0.0], [0.1], [1000.0], [1000.1]]), "labels": np.array([0, 0, 1, 1])}
    model.run(batch, train=True)
    loss = model.run({"images": [[0.0]], "labels": [1]}, train=False)["loss"]

    np.testing.assert_allclose(loss, -np.log(1e-12))


def test_a_regressor_gives_predictions_and_squared_errors(create, batches):
    """With one target or several."""
    model = create(estimator=REGRESSOR, outputs=["predictions", "loss"], classes=None)
    for batch in batches:
        model.run(batch, train=True)
    outputs = model.run(batches[0], train=False)
    np.testing.assert_allclose(outputs["loss"], (outputs["predictions"] - batches[0]["labels"]) ** 2)

    several = create(
        estimator={"class": "sklearn.multioutput.MultiOutputRegressor", "estimator": REGRESSOR}, outputs=["loss"]
    )
    batch = {"images": batches[0]["images"], "labels": np.full((32, 2), [3.0, 4.0])}
    np.testing.assert_allclose(several.run(batch, train=True)["loss"], 12.5)
    assert several.run(batch, train=False)["loss"].mean() < 12.5


def test_a_transformer_needs_no_labels(create, batches):
    """What it makes of the features is its output."""
    model = create(
        estimator={"class": "sklearn.preprocessing.StandardScaler"}, inputs=["images"], outputs=["transformed"]
    )
    first = model.run(batches[0], train=True)["transformed"]
    np.testing.assert_array_equal(first, batches[0]["images"].reshape(32, 8))
    second = model.run(batches[0], train=False)["transformed"]
    np.testing.assert_allclose(second.mean(axis=0), 0, atol=1e-12)


def test_features_of_any_shape_are_flattened(create, sgd, batches):
    """Images need not be made vectors by the dataset; lists are as good as arrays; one column of labels is labels."""
    flat, square, nested = (create(estimator=sgd, outputs=["probabilities"]) for _ in range(3))
    for batch in batches[:3]:
        expected = flat.run({**batch, "images": batch["images"].reshape(32, 8)}, train=True)
        for model, variant in (
            (square, batch),
            (nested, {"images": batch["images"].tolist(), "labels": batch["labels"][:, None].tolist()}),
        ):
            np.testing.assert_array_equal(model.run(variant, train=True)["probabilities"], expected["probabilities"])


@pytest.mark.parametrize(
    ("estimator", "outputs", "expected"),
    [
        pytest.param(
            {"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss"},
            ALL,
            {
                "predictions": [5, 5],
                "probabilities": np.full((2, 3), 1 / 3),
                "loss": [np.log(3)] * 2,
                "accuracy": [0, 1],
            },
            id="classifier",
        ),
        pytest.param(
            {"class": "sklearn.linear_model.Perceptron"},
            ["predictions", "accuracy"],
            {"predictions": [5, 5], "accuracy": [0, 1]},
            id="classifier-without-probabilities",
        ),
        pytest.param(REGRESSOR, ["predictions", "loss"], {"predictions": [0, 0], "loss": [49, 25]}, id="regressor"),
        pytest.param(
            {"class": "sklearn.cluster.MiniBatchKMeans", "n_clusters": 2},
            ["predictions"],
            {"predictions": [0, 0]},
            id="clusters",
        ),
    ],
)
def test_before_the_first_batch_a_model_only_guesses(create, estimator, outputs, expected):
    """So a zeroth epoch has figures to compare with: all classes alike, or zero."""
    batch = {"images": np.ones((2, 3)), "labels": np.array([7, 5])}
    model = create(estimator=estimator, outputs=outputs, classes=[5, 7, 9])
    found = model.run(batch, train=False)

    assert list(found) == outputs
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value)


def test_in_training_outputs_are_those_before_the_step(create, sgd, batches):
    """The loss of a training batch is that of examples not learned from yet."""
    trained, watched = (create(estimator=sgd, outputs=["probabilities", "loss"]) for _ in range(2))
    for batch in batches[:4]:
        before = watched.run(batch, train=False)
        during = trained.run(batch, train=True)
        watched.run(batch, train=True)
        np.testing.assert_array_equal(during["loss"], before["loss"])


def test_evaluating_teaches_nothing(create, sgd, batches):
    """However often."""
    model = create(estimator=sgd)
    model.run(batches[0], train=True)
    before = model.state_dict()
    for batch in batches:
        model.run(batch, train=False)

    assert model.state_dict()["estimator"] == before["estimator"]
    assert model.state_dict()["examples"] == 32


def test_a_pipeline_learns_step_by_step(create, batches, sgd):
    """Every step learns from what the steps before it make of the batch; steps that learn nothing just transform."""
    pipeline = {
        "class": "sklearn.pipeline.Pipeline",
        "steps": [
            ["norm", {"class": "sklearn.preprocessing.Normalizer"}],
            ["nothing", "passthrough"],
            ["scale", {"class": "sklearn.preprocessing.StandardScaler"}],
            ["classify", {**sgd, "random_state": 0}],
        ],
    }
    model = create(estimator=pipeline, outputs=["probabilities"])
    scaler, classifier = StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)
    for batch in batches:
        model.run(batch, train=True)
        features = batch["images"].reshape(32, 8)
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
        classifier.partial_fit(scaler.partial_fit(features).transform(features), batch["labels"], classes=range(3))

    expected = classifier.predict_proba(scaler.transform(features))
    np.testing.assert_allclose(model.run(batches[-1], train=False)["probabilities"], expected)


class Classes:
    """A dataset that knows its classes."""

    def __init__(self, num_classes):
        self.num_classes = num_classes


@pytest.mark.parametrize(
    ("classes", "dataset", "expected"),
    [
        pytest.param(3, None, [0, 1, 2], id="number"),
        pytest.param(["cat", "dog", "ant"], None, ["ant", "cat", "dog"], id="names"),
        pytest.param(None, Classes(2), [0, 1], id="dataset-attribute"),
        pytest.param(None, Classes(lambda: 4), [0, 1, 2, 3], id="dataset-method"),
        pytest.param(2, Classes(9), [0, 1], id="configuration-before-dataset"),
    ],
)
def test_classes_come_from_the_configuration_or_the_dataset(create, sgd, classes, dataset, expected):
    """Sorted; the dataset's number of classes needs no configuration."""
    model = create(estimator=sgd, classes=classes, dataset=dataset)
    labels = np.array([expected[-1]] * 4)
    model.run({"images": np.ones((4, 2)), "labels": labels}, train=True)

    np.testing.assert_array_equal(model.classes, expected)
    np.testing.assert_array_equal(
        model.run({"images": [[1, 1]], "labels": labels[:1]}, train=False)["predictions"], labels[:1]
    )


def test_a_classifier_that_nobody_told_the_classes_says_so(create, sgd, batches):
    """At its first batch, with both ways to tell."""
    model = create(estimator=sgd, classes=None)
    with pytest.raises(ConfigError, match=r"the classes are unknown\n .*classes: 10 .* num_classes of the dataset"):
        model.run(batches[0], train=True)


def test_a_label_that_is_no_class_is_named(create, sgd, batches):
    """With the classes that there are."""
    model = create(estimator=sgd, outputs=["loss"])
    for train in (False, True):
        with pytest.raises(BatchError, match="7 is none of the 3 classes 0, 1, 2"):
            model.run({**batches[0], "labels": np.full(32, 7)}, train=train)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({}, "the argument 'estimator' is missing\n.*override create_model", id="no-estimator"),
        pytest.param({"estmator": 1}, "unknown argument 'estmator'\n  did you mean 'estimator'", id="unknown-argument"),
        pytest.param(
            {"inputs": "images"},
            r"inputs: expected a list of one or two names.*, got 'images'\n  write \[images\]",
            id="text",
        ),
        pytest.param({"inputs": []}, "inputs: expected one name, of the features, or two", id="no-input"),
        pytest.param({"inputs": ["a", "b", "c"]}, "inputs: expected one name, of the features, or two", id="three"),
        pytest.param({"outputs": ["loss", "loss"]}, "outputs: expected a list of different names", id="twice"),
        pytest.param({"outputs": [1]}, r"outputs\[0\]: expected text, got 1", id="no-name"),
        pytest.param({"outputs": None}, "outputs: expected a list of different names", id="nothing"),
        pytest.param({"classes": 0}, "classes: expected their number or a list of them, got 0", id="zero-classes"),
        pytest.param(
            {"classes": True}, "classes: expected their number or a list of them, got True", id="true-classes"
        ),
        pytest.param({"trusted_types": "x.Y"}, r"trusted_types: expected .*\n  write \[x.Y\]", id="trusted"),
    ],
)
def test_a_mistake_in_the_section_is_named(create, config, message):
    """With what is accepted."""
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        create(**config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {"estimator": NAIVE_BAYES, "outputs": ["acuracy"]},
            "unknown output 'acuracy'\n  did you mean 'accuracy'.\n"
            r"  GaussianNB\(\) gives: predictions, probabilities, loss, accuracy",
            id="misspelt",
        ),
        pytest.param(
            {"estimator": {"class": "sklearn.linear_model.SGDClassifier"}, "outputs": ["probabilities"]},
            "unknown output 'probabilities'.*loss: log_loss",
            id="no-probabilities",
        ),
        pytest.param(
            {"estimator": NAIVE_BAYES, "outputs": ["loss"], "inputs": ["images"]},
            r"outputs: 'loss' needs the labels\n  name them after the features: inputs: \[features, labels\]",
            id="no-labels",
        ),
    ],
)
def test_what_an_estimator_cannot_do_is_said_at_once(create, config, message):
    """Before the first batch."""
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        create(**config)


def test_an_estimator_that_needs_labels_asks_for_them_when_it_trains(create, batches):
    """Predicting without is fine."""
    model = create(estimator=NAIVE_BAYES, inputs=["images"], outputs=["predictions"])
    model.run(batches[0], train=False)
    with pytest.raises(ConfigError, match=r"GaussianNB learns from labels\n.*inputs: \[features, labels\]"):
        model.run(batches[0], train=True)


def test_examples_of_different_shapes_are_refused(create, sgd):
    """By the name of the source."""
    with pytest.raises(BatchError, match="images: the examples of a batch must have one shape"):
        create(estimator=sgd).run({"images": [[1, 2], [1]], "labels": [0, 1]}, train=True)


class Custom(emloop_sklearn.BaseModel):
    """Overrides all that may be overridden, as the documentation shows it."""

    def create_model(self, alpha=1e-4, n_classes=3):
        self.classes = np.arange(n_classes)
        return SGDClassifier(loss="log_loss", alpha=alpha, random_state=self.seed)

    def fit_batch(self, estimator, features, labels):
        estimator.partial_fit(features, labels, classes=self.classes, sample_weight=np.full(len(labels), 0.5))

    def compute_outputs(self, estimator, features, labels):
        probabilities = estimator.predict_proba(features)
        return {"confidence": probabilities.max(axis=1), "total": probabilities.sum(), "ragged": probabilities[1:]}


def test_a_class_of_one_s_own_decides_everything(create, batches):
    """Estimator, learning and outputs; before the first batch its outputs are computed from a guess."""
    model = create(Custom, classes=None, outputs=["confidence"], alpha=0.01)

    np.testing.assert_allclose(model.run(batches[0], train=True)["confidence"], 1 / 3)
    assert model.run(batches[0], train=False)["confidence"].mean() > 1 / 3


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("certainty", MissingVariableError, "gives no 'certainty'; it gives 'confidence', 'total', 'ragged'"),
        ("total", BatchError, r"output 'total': expected 32 values, one for every example, got shape \(\)"),
        ("ragged", BatchError, r"output 'ragged': expected 32 values, one for every example, got shape \(31, 3\)"),
    ],
)
def test_an_output_of_one_s_own_that_is_not_there_or_not_per_example_is_named(create, batches, output, error, message):
    """With its shape."""
    with pytest.raises(error, match=message):
        create(Custom, classes=None, outputs=[output]).run(batches[0], train=False)


def test_arguments_of_one_s_own_are_checked(create, sgd):
    """The keys of the section are those of BaseModel and of create_model."""
    with pytest.raises(
        ConfigError,
        match=r"Custom: unknown argument 'alhpa'\n  did you mean 'alpha'\?\n"
        r"  Custom takes: outputs, inputs, features, labels, categories, estimator, rounds_per_epoch, classes, "
        r"weights, trusted_types, saved_model, alpha, n_classes",
    ):
        create(Custom, outputs=["confidence"], alhpa=1)
    with pytest.raises(ConfigError, match="estimator: has no effect, since create_model is overridden"):
        create(Custom, outputs=["confidence"], estimator=sgd)


def test_a_create_model_that_returns_nothing_is_named(create):
    """A forgotten ``return`` is told as such."""

    class Forgetful(emloop_sklearn.BaseModel):
        def create_model(self):
            SGDClassifier()

    with pytest.raises(ConfigError, match=r"create_model of Forgetful must return an estimator, .* got None"):
        create(Forgetful)


class AllowBuffering:
    """A stream that notes who reads ahead when."""

    def __init__(self):
        self.open = False
        self.entered = 0

    @property
    def allow_buffering(self):
        return self

    def __enter__(self):
        self.open = True
        self.entered += 1

    def __exit__(self, *_):
        self.open = False


def test_the_stream_may_read_ahead_while_the_estimator_learns(create, batches):
    """And only then."""
    stream = AllowBuffering()
    seen = []

    class Watching(Custom):
        def fit_batch(self, estimator, features, labels):
            seen.append(stream.open)
            super().fit_batch(estimator, features, labels)

    model = create(Watching, classes=None, outputs=["confidence"])
    model.run(batches[0], True, stream)
    model.run(batches[1], train=True)

    assert seen == [True, False]
    assert (stream.entered, stream.open) == (1, False)


@pytest.mark.parametrize(
    ("estimator", "initial"),
    [
        pytest.param({"class": "sklearn.neural_network.MLPClassifier", "learning_rate_init": 0.02}, 0.02, id="adam"),
        pytest.param(
            {"class": "sklearn.neural_network.MLPClassifier", "solver": "sgd", "learning_rate_init": 0.02},
            0.02,
            id="sgd",
        ),
        pytest.param(
            {"class": "sklearn.linear_model.SGDClassifier", "learning_rate": "constant", "eta0": 0.5}, 0.5, id="linear"
        ),
        pytest.param({"class": "sklearn.linear_model.Perceptron", "eta0": 2}, 2.0, id="perceptron"),
        pytest.param(
            {
                "class": "sklearn.pipeline.Pipeline",
                "steps": [
                    ["scale", {"class": "sklearn.preprocessing.StandardScaler"}],
                    ["classify", {"class": "sklearn.neural_network.MLPClassifier", "learning_rate_init": 0.02}],
                ],
            },
            0.02,
            id="pipeline",
        ),
    ],
)
def test_the_learning_rate_is_a_variable(create, batches, estimator, initial):
    """What is set acts from the next batch on: a rate near zero freezes the model, also one that has learned."""
    model = create(estimator={**estimator})
    assert model.get_variable("learning_rate") == initial
    for batch in batches[:3]:
        model.run(batch, train=True)
    model.set_variable("learning_rate", 0.25)
    assert model.get_variable("learning_rate") == 0.25

    model.set_variable("learning_rate", 1e-300)
    weights = weights_of(model)
    for batch in batches[3:]:
        model.run(batch, train=True)
    if estimator.get("solver") != "sgd":  # its momentum goes on
        np.testing.assert_allclose(weights_of(model), weights, atol=1e-200)


def weights_of(model):
    estimator = model._estimator
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return last.coefs_[0].copy() if hasattr(last, "coefs_") else last.coef_.copy()


def test_an_estimator_without_a_learning_rate_says_so(create, sgd):
    """Or what to choose instead; and which variables there are."""
    with pytest.raises(MissingVariableError, match="learning_rate: GaussianNB has none"):
        create(estimator=NAIVE_BAYES).get_variable("learning_rate")
    with pytest.raises(MissingVariableError, match="computes its own; choose learning_rate: constant, and eta0"):
        create(estimator=sgd).set_variable("learning_rate", 1)
    with pytest.raises(MissingVariableError, match="there is no variable 'momentum'; there is 'learning_rate'"):
        create(estimator=sgd).get_variable("momentum")


def test_a_model_without_a_directory_runs_and_does_not_save(create, sgd, batches):
    """As a member of an ensemble does."""
    model = create(estimator=sgd, log_dir=None)
    model.run(batches[0], train=False)
    with pytest.raises(SavedModelError, match="BaseModel has no log_dir"):
        model.save("best")


def test_a_model_logs_nothing_in_normal_use(create, sgd, batches, caplog):
    """Nothing is worth a line as long as it works."""
    caplog.set_level(logging.DEBUG)
    model = create(estimator=sgd)
    model.run(batches[0], train=True)
    create(estimator=sgd, restore_from=model.save("best"))

    assert caplog.records == []
