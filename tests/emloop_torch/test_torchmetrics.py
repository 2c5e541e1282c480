"""Metrics of torchmetrics by name: their values are the library's own, and their state is in every commit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.hooks.test_metrics import called, computed, cut, ends_as_if_untouched, values_of

from emloop.errors import ConfigError, HookError
from emloop.hooks import Metrics
from emloop_torch._tensors.transfers import LazyArray

torchmetrics = pytest.importorskip("torchmetrics")

CLASSES = {"task": "multiclass", "num_classes": 3}
FOUND = {"preds": "found", "target": "labels"}
SCORES = {"preds": "scores", "target": "labels"}
TAGS = {"preds": "chances", "target": "tags"}
NUMBERS = {"preds": "x", "target": "y"}
RANKS = {"preds": "x", "target": "is_on", "indexes": "groups"}


def of(name, inputs, **arguments):
    return {"class": f"torchmetrics.{name}", "inputs": inputs, **arguments}


CASES = [
    of("F1Score", SCORES, **CLASSES, average="macro"),
    of("Accuracy", FOUND, **CLASSES, average="micro"),
    of("AUROC", SCORES, **CLASSES),
    of("CohenKappa", FOUND, **CLASSES),
    of("classification.MulticlassRecall", FOUND, num_classes=3, average=None),
    of("ConfusionMatrix", FOUND, **CLASSES),
    of("CalibrationError", SCORES, **CLASSES),
    of("F1Score", TAGS, task="multilabel", num_labels=4),
    of("HammingDistance", TAGS, task="multilabel", num_labels=4),
    of("classification.MultilabelRankingLoss", TAGS, num_labels=4),
    of("MeanSquaredError", NUMBERS),
    of("R2Score", NUMBERS),
    of("SpearmanCorrCoef", NUMBERS),
    of("PearsonCorrCoef", NUMBERS),
    of("retrieval.RetrievalMAP", RANKS),
    of("retrieval.RetrievalNormalizedDCG", RANKS, top_k=2),
    of("functional.mean_absolute_error", NUMBERS),
    of("functional.accuracy", FOUND, **CLASSES),
    of("MinMaxMetric", NUMBERS, base_metric={"class": "torchmetrics.MeanSquaredError"}),
    of("ClasswiseWrapper", FOUND, metric={"class": "torchmetrics.classification.MulticlassF1Score", "num_classes": 3,
                                         "average": None}),
    of("RunningMean", {"value": "x"}, window=2),
    of("MeanMetric", {"value": "x", "weight": "w"}),
    of("text.CharErrorRate", {"preds": "texts", "target": "words"}),
]  # fmt: skip


def examples():
    values = values_of()
    count = len(values["x"])
    words = np.array([f"word {number}" for number in range(count)])
    return values | {"groups": np.arange(count) // 5, "words": words, "texts": np.roll(words, 1)}


def own_value(metric, batches):
    """What the library says when it is used by hand."""
    found = torchmetrics
    for part in metric["class"].split(".")[1:]:
        found = getattr(found, part)
    given = {name: value for name, value in metric.items() if name not in ("class", "inputs")}
    for name, value in given.items():
        if isinstance(value, dict):
            rest = {key: item for key, item in value.items() if key != "class"}
            cls = value["class"].rpartition(".")[2]
            given[name] = getattr(torchmetrics, cls, getattr(torchmetrics.classification, cls, None))(**rest)

    def tensors(batch):
        arrays = {name: batch[variable] for name, variable in metric["inputs"].items()}
        return {n: a.tolist() if a.dtype.kind == "U" else torch.from_numpy(a.copy()) for n, a in arrays.items()}

    if not isinstance(found, type):
        whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        return found(**tensors(whole), **given)
    object_ = found(**given)
    for batch in batches:
        object_.update(**tensors(batch))
    return object_.compute()


def flat(value):
    if isinstance(value, dict):
        return [number for item in value.values() for number in flat(item)]
    return np.ravel(np.asarray(value)).tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("metric", CASES, ids=lambda metric: metric["class"])
def test_a_value_is_the_library_s_own(metric):
    """To the bit, over batches of any size; also when one hook goes on, in their midst, with the state of another."""
    batches = cut(examples())
    expected = flat(own_value(metric, batches))

    for middle in range(len(batches) + 1):
        hook, rest = Metrics({"m": metric}), Metrics({"m": metric})
        for batch in batches[:middle]:
            hook.after_batch("valid", batch)
        rest.load_state_dict(hook.state_dict())
        for batch in batches[middle:]:
            rest.after_batch("valid", batch)
        data = {"valid": {}}
        rest.after_epoch(epoch_data=data)
        assert flat(data["valid"]["m"]) == expected, middle


def test_streams_share_no_part_of_a_metric():
    """A wrapped metric is made anew for each of them, and for every epoch."""
    inner = {"class": "torchmetrics.classification.MulticlassAccuracy", "num_classes": 3, "average": None}
    hook = Metrics({"m": of("ClasswiseWrapper", FOUND, metric=inner)})
    found = []
    for _ in range(2):
        for stream, number in (("train", 1), ("valid", 2)):
            hook.after_batch(stream, {"labels": np.array([0, 1, 2]), "found": np.full(3, number)})
        data = {"train": {}, "valid": {}}
        hook.after_epoch(epoch_data=data)
        found.append([list(of_stream["m"].values()) for of_stream in data.values()])

    assert found == [[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]] * 2


def test_it_agrees_with_scikit_learn_over_all_examples():
    """No mean of batches."""
    f1 = of("F1Score", FOUND, **CLASSES, average="macro")
    other = called("f1_score", y_true="labels", y_pred="found") | {"average": "macro"}
    batches = cut(examples())

    assert computed(f1, batches) == pytest.approx(computed(other, batches), rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float16", "bool"])
def test_numbers_of_any_type_are_taken(dtype):
    """Among them those that few operators of PyTorch know."""
    labels = np.array([0, 1, 1, 0]).astype(dtype)
    metric = of("MeanAbsoluteError", {"preds": "a", "target": "b"})
    metric = metric if dtype != "bool" else of("Accuracy", {"preds": "a", "target": "b"}, task="binary")

    assert computed(metric, [{"a": labels, "b": labels}]) == float(dtype == "bool")


def test_outputs_on_their_way_from_a_device_are_waited_for_late():
    """Only when so many have come, or somebody looks."""

    class Never:
        def query(self):
            return False

        def synchronize(self):
            waited.append(1)

    waited = []
    hook = Metrics({"m": of("MeanSquaredError", NUMBERS)})
    for number in range(3):
        hook.after_batch("valid", {"x": LazyArray(torch.full((2,), 1.0 + number), Never()), "y": np.zeros(2)})
    assert waited == []
    data = {"valid": {}}
    hook.after_epoch(epoch_data=data)

    assert data["valid"]["m"] == pytest.approx((1 + 4 + 9) / 3)
    assert len(waited) == 3


def test_absent_classes_are_named(caplog):
    """The library takes them for zero divisions and says nothing; here it is said once, as what they then count."""
    metric = of("classification.MulticlassPrecision", FOUND, num_classes=4, average=None)
    batch = {"found": np.array([0, 1, 1]), "labels": np.array([0, 1, 2])}

    assert list(computed(metric, [batch]).values()) == [1.0, 0.5, 0.0, 0.0]
    assert [record.message for record in caplog.records] == [
        f"stream 'valid': m: no {what}; what would be divided by zero is the metric's zero_division, 0 by default"
        for what in ("example of class 3", "prediction of class 2, 3")
    ]


def test_one_class_only_is_said(caplog):
    """As the library has it."""
    assert computed(of("AUROC", NUMBERS, task="binary"), [{"x": np.array([0.1, 0.7]), "y": np.array([1, 1])}]) == 0.0
    assert "No negative samples" in caplog.text


def test_a_metric_that_is_told_about_nan_gets_it():
    """By `nan_strategy`."""
    x = np.array([1.0, np.nan, 3.0])

    assert computed(of("MeanMetric", {"value": "x"}, nan_strategy="ignore"), [{"x": x}]) == 2.0
    assert np.isnan(computed(of("MeanSquaredError", {"preds": "x", "target": "x"}), [{"x": x}]))


@pytest.mark.parametrize("name", ["F1Score", "functional.f1_score"])
@pytest.mark.parametrize(
    ("preds", "target", "word"),
    [
        pytest.param([[0.1, 0.2, 0.7]], [[0, 0, 1]], "index of a class", id="scores-and-one-hot"),
        pytest.param([[0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]], "one-hot", id="one-hot"),
        pytest.param([0.3, 0.9], [0, 1], "index of a class", id="scores-of-one-class"),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(name, preds, target, word):
    """One-hot targets of metrics that want indices: they would count as sequences, without a word."""
    with pytest.raises(HookError, match=word):
        computed(of(name, NUMBERS, **CLASSES), [{"x": np.array(preds), "y": np.array(target)}])


@pytest.mark.parametrize(
    ("metric", "word"),
    [
        (of("F1Score", FOUND, task="multiclass"), "`num_classes` is expected to be `int`"),
        (of("F1Score", {"preds": "a", "targets": "b"}, **CLASSES), "missing a required argument: 'target'"),
        (of("F1Score", FOUND, task="multi"), "expected one of 'binary', 'multiclass', 'multilabel', got 'multi'"),
    ],
)
def test_a_metric_that_cannot_be_made_is_told_when_it_is_built(metric, word):
    """In one line, before the first batch."""
    with pytest.raises(ConfigError) as caught:
        Metrics({"m": metric})
    assert word in str(caught.value)


@pytest.mark.slow
def test_a_run_killed_within_an_epoch_ends_with_the_same_bits(tmp_path, monkeypatch):
    """Or within an evaluation inside it, whatever a metric keeps."""
    binary = {"preds": "p", "target": "y"}
    metrics = {
        "auc": of("AUROC", binary, task="binary"),
        "f1": of("F1Score", binary, task="binary"),
        "error": of("MeanSquaredError", {"preds": "p", "target": "found"}),
    }
    last = ends_as_if_untouched(metrics, tmp_path, monkeypatch)

    assert 0.5 < last["valid"]["auc"] <= 1
