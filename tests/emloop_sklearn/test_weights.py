"""What examples and classes count, in learning and in means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import Perceptron, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.class_weight import compute_class_weight

from emloop.errors import BatchError, ConfigError, StateError
from emloop.hooks import ComputeStats
from emloop.main_loop import MainLoop

SGD = {"class": "sklearn.linear_model.SGDClassifier", "loss": "log_loss", "random_state": 0}
WEIGHTS = {"loss": "counts", "accuracy": "counts"}


@pytest.fixture
def weighed(batches):
    """The same batches, whose examples count 0 to 3; the last is shorter, and one counts nothing at all."""
    rng = np.random.default_rng(5)
    batches[-1] = {name: values[:5] for name, values in batches[-1].items()}
    for batch in batches:
        batch["counts"] = rng.integers(0, 4, len(batch["labels"])).astype(np.uint8)
    batches[3]["counts"][:] = 0
    return batches


def flat(batch):
    return batch["images"].reshape(len(batch["images"]), -1)


@pytest.mark.parametrize(
    ("described", "made"),
    [
        pytest.param(SGD, SGDClassifier(loss="log_loss", random_state=0), id="gradients"),
        pytest.param({"class": "sklearn.naive_bayes.GaussianNB"}, GaussianNB(), id="moments"),
    ],
)
def test_an_estimator_learns_as_from_partial_fit_with_sample_weight(create, weighed, described, made):
    """The same bits; a batch without any weight teaches nothing."""
    model = create(estimator=described, weights=WEIGHTS, outputs=["loss"])
    for batch in weighed:
        model.run(batch, train=True)
        if batch["counts"].any():
            made.partial_fit(flat(batch), batch["labels"], range(3), sample_weight=batch["counts"].astype(float))

    np.testing.assert_array_equal(
        made.predict_proba(flat(weighed[0])), model._estimator.predict_proba(flat(weighed[0]))
    )


def test_an_estimator_that_needs_no_labels_is_weighed_by_its_loss_s_weight_too(create, weighed):
    """As the name of what training follows."""
    described = {"class": "sklearn.cluster.MiniBatchKMeans", "n_clusters": 3, "random_state": 0, "n_init": 1}
    config = {"inputs": ["images"], "classes": None, "weights": {"loss": "counts"}}
    model = create(estimator=described, outputs=["predictions"], **config)
    made = MiniBatchKMeans(3, random_state=0, n_init=1)
    for batch in weighed[:3]:
        model.run(batch, train=True)
        made.partial_fit(flat(batch), sample_weight=batch["counts"].astype(float))

    np.testing.assert_array_equal(made.cluster_centers_, model._estimator.cluster_centers_)


def test_means_are_weighed_alike(create, weighed):
    """Σ w·v / Σ w over batches of uneven sizes, without a word to the hook."""
    seen = {}

    class Stream:
        def valid_stream(self):
            return weighed

    class Seen(ComputeStats):
        def after_epoch(self, epoch_data, epoch_id=0):
            super().after_epoch(epoch_data=epoch_data, epoch_id=epoch_id)
            seen.update(epoch_data["valid"])

    model = create(estimator=SGD, weights=WEIGHTS, outputs=["loss", "accuracy"])
    for batch in weighed:
        model.run(batch, train=True)
    MainLoop(model, Stream(), [Seen(["loss", "accuracy"])]).run_evaluation("valid")

    values = [model.run(batch, train=False) for batch in weighed]
    counts = np.concatenate([batch["counts"] for batch in weighed]).astype(float)
    for name in ("loss", "accuracy"):
        expected = np.average(np.concatenate([each[name] for each in values]), weights=counts)
        assert seen[name]["mean"] == pytest.approx(expected, rel=1e-12)


def test_predicting_needs_no_weights(create, weighed):
    """Without labels there is nothing to weigh."""
    model = create(estimator=SGD, inputs=["images"], weights=WEIGHTS)

    assert model.input_names == ["images"]
    assert create(estimator=SGD, weights=WEIGHTS).input_names == ["images", "labels", "counts"]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1.0, -1.0, 1.0], "weight 'counts': expected numbers from 0 on, got -1.0"),
        ([1.0, np.nan, 1.0], "weight 'counts': expected numbers from 0 on, got nan"),
        ([[1.0], [1.0], [1.0]], "weight 'counts': expected a number for every example, [3], got float64 [3, 1]"),
        (["a", "b", "c"], "weight 'counts': expected a number for every example, [3], got <U1 [3]"),
    ],
)
def test_what_is_no_weight_is_refused(create, counts, message):
    """Before the estimator has seen the batch."""
    model = create(estimator=SGD, weights=WEIGHTS)
    batch = {"images": np.eye(3), "labels": np.arange(3), "counts": counts}

    with pytest.raises(BatchError) as error:
        model.run(batch, train=True)
    assert message == str(error.value)
    assert not hasattr(model._estimator, "coef_")


def test_an_estimator_that_cannot_weigh_says_so_at_once(create):
    """Before any batch, with the key."""
    with pytest.raises(ConfigError) as error:
        create(
            estimator={"class": "sklearn.decomposition.IncrementalPCA"},
            inputs=["images"],
            outputs=["transformed"],
            weights=WEIGHTS,
        )

    (problem,) = error.value.problems
    assert ("weights", "loss") == problem.keys
    assert "cannot weigh examples: its partial_fit takes no sample_weight" in problem.message


@pytest.mark.parametrize("cls", [SGDClassifier, Perceptron])
def test_balanced_classes_count_by_how_often_they_have_been_seen(create, batches, cls):
    """``n / (C * n_c)`` over all batches so far: what scikit-learn computes of the labels seen."""
    described = {"class": f"sklearn.linear_model.{cls.__name__}", "class_weight": "balanced", "random_state": 0}
    model = create(estimator=described)
    made, seen = cls(random_state=0), []
    for batch in batches:
        model.run(batch, train=True)
        seen.extend(batch["labels"])
        classes = np.unique(seen)
        made.class_weight = dict(zip(classes, compute_class_weight("balanced", classes=classes, y=seen), strict=True))
        made.partial_fit(flat(batch), batch["labels"], range(3))

    np.testing.assert_array_equal(made.coef_, model._estimator.coef_)
    assert model._estimator.class_weight == "balanced"


def test_the_counts_of_the_classes_are_part_of_the_state(create, batches):
    """A restored model goes on as if it had never stopped, also in a pipeline and with labels that are texts."""
    steps = [["scale", {"class": "sklearn.preprocessing.StandardScaler"}], ["fit", {**SGD, "class_weight": "balanced"}]]
    names = np.array(["ant", "bee", "cat"])
    config = {"estimator": {"class": "sklearn.pipeline.Pipeline", "steps": steps}, "classes": names.tolist()}
    for batch in batches:
        batch["labels"] = names[batch["labels"]]
    whole, first = create(**config), create(**config)
    for number, batch in enumerate(batches):
        whole.run(batch, train=True)
        if number == 9:
            path = first.save("half")
            first = create(restore_from=path, **config)
        first.run(batch, train=True)

    np.testing.assert_array_equal(whole._estimator[-1].coef_, first._estimator[-1].coef_)


@pytest.mark.parametrize("stranger", [None, 7, "a"])
def test_counts_of_what_is_no_class_are_refused(create, batches, stranger):
    """At the restoring, not by scikit-learn at the next batch."""
    model = create(estimator={**SGD, "class_weight": "balanced"})
    model.run(batches[0], train=True)
    state = model.state_dict()
    state["class_counts"][0][0] = stranger

    with pytest.raises(StateError, match="which are no classes"):
        create(estimator={**SGD, "class_weight": "balanced"}).load_state_dict(state)
