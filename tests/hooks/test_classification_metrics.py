"""Comparing predicted with true classes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop.errors import ConfigError, HookError, MissingExtraError, MissingVariableError
from emloop.hooks.classification_metrics import ClassificationMetrics


def metrics_of(labels, predictions, average=None, **arguments):
    """What the hook finds out about one stream, given in batches of two examples."""
    hook = ClassificationMetrics("predictions", "labels", average, **arguments)
    for start in range(0, len(labels), 2):
        batch = {"labels": labels[start : start + 2], "predictions": predictions[start : start + 2]}
        hook.after_batch(stream_name="valid", batch_data=batch)
    epoch_data = {"valid": {}}
    hook.after_epoch(epoch_data)
    return epoch_data["valid"]


def test_binary_classification_is_described_by_five_numbers():
    """Precision, recall, F-score and specificity are those of class 1; names get the prefix."""
    found = metrics_of([1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0, 0], "binary", var_prefix="my_")

    assert found == pytest.approx(
        {"my_precision": 2 / 3, "my_recall": 2 / 3, "my_f1": 2 / 3, "my_accuracy": 3 / 4, "my_specificity": 4 / 5}
    )


def test_every_class_has_its_own_figures_by_default():
    """Without an average there is a figure per class, under its name."""
    found = metrics_of(["a", "a", "b", "c"], ["a", "b", "b", "b"])

    assert found["precision"] == pytest.approx({"a": 1, "b": 1 / 3, "c": 0})
    assert found["recall"] == pytest.approx({"a": 1 / 2, "b": 1, "c": 0})
    assert found["f1"] == pytest.approx({"a": 2 / 3, "b": 1 / 2, "c": 0})
    assert found["accuracy"] == 0.5
    assert "specificity" not in found


@pytest.mark.parametrize(
    ("labels", "dataset", "arguments", "f1"),
    [
        pytest.param([0, 0, 0, 2], {"num_classes": 3}, {}, {"0": 0.8, "1": np.nan, "2": 2 / 3}, id="number"),
        pytest.param(
            [0, 0, 0, 2],
            {"classes_names": ["cat", "dog", "cow"]},
            {},
            {"cat": 0.8, "dog": np.nan, "cow": 2 / 3},
            id="names",
        ),
        pytest.param([0, 0, 0, 2], {}, {"classes_names": "xyz"}, {"x": 0.8, "y": np.nan, "z": 2 / 3}, id="argument"),
        pytest.param([0, 0, 0, 2], {"num_classes": 1}, {}, {"0": 0.8, "2": 2 / 3}, id="more-than-were-told"),
        pytest.param([0, 0, 0, 2], {}, {}, {"0": 0.8, "2": 2 / 3}, id="nobody-knows"),
        pytest.param(
            ["a", "a", "a", "c"],
            {"classes_names": lambda: ["a", "b", "c"]},
            {},
            {"a": 0.8, "b": np.nan, "c": 2 / 3},
            id="text",
        ),
    ],
)
def test_a_class_that_does_not_occur_takes_no_other_ones_place(labels, dataset, arguments, f1):
    """Figures stand under the names of their classes, whichever of them a stream has."""
    predictions = [labels[0], labels[0], labels[3], labels[3]]

    found = metrics_of(labels, predictions, dataset=SimpleNamespace(**dataset), **arguments)

    assert found["f1"] == pytest.approx(f1, nan_ok=True)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=8),
    st.sampled_from(["binary", "micro", "macro", "weighted"]),
)
def test_whatever_occurs_is_described_without_a_warning(pairs, average):
    """One class only, none predicted, one example: all are numbers from 0 to 1 (warnings are errors here)."""
    labels, predictions = map(np.array, zip(*pairs, strict=True))
    found = metrics_of(labels, predictions, average)

    assert all(0 <= value <= 1 for value in found.values())
    assert found["accuracy"] == pytest.approx(np.mean(labels == predictions))
    if average == "binary":
        negatives = labels == 0
        assert found["specificity"] == pytest.approx(np.mean(predictions[negatives] == 0) if negatives.any() else 0)


@pytest.mark.parametrize(("the_class", "specificity", "precision"), [(0, 1.0, 0.0), (1, 0.0, 1.0)])
def test_binary_data_may_have_a_single_class(the_class, specificity, precision):
    """What cannot be computed for lack of examples is 0."""
    found = metrics_of([the_class] * 3, [the_class] * 3, "binary")

    assert (found["specificity"], found["precision"], found["accuracy"]) == (specificity, precision, 1.0)


def test_as_many_classes_as_examples_are_no_reason_to_warn():
    """scikit-learn would say that this looks like a regression; a small stream may look like that."""
    assert metrics_of(list(range(30)), list(range(30)), "macro")["accuracy"] == 1


def test_a_stream_without_examples_has_nan():
    """The epoch's table keeps its columns, and nothing fails."""
    hook = ClassificationMetrics("predictions", "labels", "binary")
    hook.after_batch("train", {"labels": [1], "predictions": [1]})
    epoch_data = {"train": {}, "valid": {}}
    hook.after_epoch(epoch_data=epoch_data, epoch_id=3)

    assert list(epoch_data["train"]) == list(epoch_data["valid"])
    assert all(np.isnan(value) for value in epoch_data["valid"].values())


def test_only_the_streams_asked_for_are_compared():
    """Other streams need not have the variables, and get no figures."""
    hook = ClassificationMetrics("predictions", "labels", "macro", streams=["valid"])
    hook.after_batch("train", {"loss": [1]})
    hook.after_batch("valid", {"labels": [1], "predictions": [1]})
    epoch_data = {"train": {}, "valid": {}}
    hook.after_epoch(epoch_data)

    assert epoch_data["train"] == {}
    assert epoch_data["valid"]["f1"] == 1


def test_every_epoch_is_for_itself():
    """Nothing of an epoch is left in the next one's figures."""
    hook = ClassificationMetrics("predictions", "labels", "macro")
    for predictions, accuracy in (([0, 0], 0.5), ([0, 1], 1.0)):
        epoch_data = {"valid": {}}
        hook.after_batch("valid", {"labels": [0, 1], "predictions": predictions})
        hook.after_epoch(epoch_data)

        assert epoch_data["valid"]["accuracy"] == accuracy


def test_a_run_cut_within_an_epoch_finds_the_same(hand_over):
    """The state has the unfinished epoch's classes."""
    first, second = ({"labels": [0, 1], "predictions": [0, 0]}, {"labels": [1], "predictions": [1]})
    hook = ClassificationMetrics("predictions", "labels", "binary")
    hook.after_batch("valid", first)
    resumed = hand_over(hook, ClassificationMetrics("predictions", "labels", "binary"))
    found = []
    for one in (hook, resumed):
        epoch_data = {"valid": {}}
        one.after_batch("valid", second)
        one.after_epoch(epoch_data)
        found.append(epoch_data)

    assert found[0] == found[1]


def test_a_name_that_is_taken_is_not_overwritten():
    """Two hooks that would write one name are told apart by their prefix."""
    hook = ClassificationMetrics("predictions", "labels", "macro")
    hook.after_batch("valid", {"labels": [1], "predictions": [1]})

    with pytest.raises(HookError, match="stream 'valid': there is a variable 'f1' in the epoch's data already; choose"):
        hook.after_epoch({"valid": {"f1": 1}})


@pytest.mark.parametrize(
    ("labels", "predictions", "average", "reason"),
    [
        ([0, 2], [0, 0], "binary", "f1_average 'binary' is for the classes 0 and 1, found 2"),
        (["no", "yes"], ["no", "no"], "binary", "f1_average 'binary' is for the classes 0 and 1, found no"),
        ([0, 1], [0.25, 0.5], "macro", "Classification metrics can't handle a mix of binary and continuous targets"),
        ([0, 1], ["a", "b"], None, "Mix of label input types"),
        ([0, [1]], [0, 1], None, "inhomogeneous shape"),
    ],
)
def test_what_are_no_classes_is_refused(labels, predictions, average, reason):
    """The error names stream and variables, and says why."""
    with pytest.raises(HookError, match=f"stream 'valid': 'predictions' cannot be compared with 'labels': .*{reason}"):
        metrics_of(labels, predictions, average)


def test_mistakes_of_the_configuration_are_told_at_once():
    """An unknown average or argument does not wait for the first epoch's end."""
    with pytest.raises(
        ConfigError, match=r"f1_average: expected one of 'binary', .*, got 'makro'; did you mean 'macro'"
    ):
        ClassificationMetrics("predictions", "labels", "makro")
    with pytest.raises(TypeError, match="unexpected keyword argument 'prefix'"):
        ClassificationMetrics("predictions", "labels", prefix="x")


@pytest.mark.parametrize("missing", ["labels", "predictions"])
def test_a_missing_variable_is_named(missing):
    """Both variables must be in every batch of the streams that are compared."""
    batch = {name: [1] for name in ("labels", "predictions") if name != missing}

    with pytest.raises(MissingVariableError, match=f"stream 'valid': no variable '{missing}' in the batch"):
        ClassificationMetrics("predictions", "labels").after_batch("valid", batch)


def test_a_missing_package_is_told_at_construction(monkeypatch):
    """Nobody trains for an epoch before learning what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)

    with pytest.raises(MissingExtraError, match=r"ClassificationMetrics needs .* pip install 'emloop\[metrics\]'"):
        ClassificationMetrics("predictions", "labels")
