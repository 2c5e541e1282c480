"""Metrics by name: what they are given, what becomes of their values, and what is said."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import emloop as el
from emloop._config.check import new_library
from emloop._settings.hints import Kind
from emloop._settings.naming import SourceResolver
from emloop.api import create_emloop_training, resume_emloop_training
from emloop.errors import BatchError, ConfigError, HookError, MissingVariableError, StateError, VariableTypeError
from emloop.hooks import Metrics

from .conftest import DeviceArray

sklearn_metrics = pytest.importorskip("sklearn.metrics")

SIZES = (4, 7, 1, 2)
"""Of the batches, the last one smaller, and one of a single example."""


class Range:
    """A metric of one's own: the distance from the smallest to the largest value."""

    def __init__(self, scale=1.0):
        self._scale, self._ends = scale, None

    def update(self, values):
        ends = self._ends or (np.inf, -np.inf)
        self._ends = min(ends[0], float(values.min())), max(ends[1], float(values.max()))

    def compute(self):
        return self._scale * (self._ends[1] - self._ends[0])

    def state_dict(self):
        return {"ends": None if self._ends is None else list(self._ends)}

    def load_state_dict(self, state):
        self._ends = None if state["ends"] is None else tuple(state["ends"])


def values_of(seed=0):
    """Labels, scores and the like of the examples of an epoch."""
    rng = np.random.default_rng(seed)
    count = sum(SIZES)
    scores = rng.dirichlet(np.ones(3), size=count)
    labels = np.arange(count) % 3
    return {
        "labels": labels,
        "scores": scores,
        "found": scores.argmax(axis=1),
        "x": rng.normal(size=count),
        "y": rng.normal(size=count) + 3,
        "is_on": labels > 0,
        "tags": rng.integers(0, 2, (count, 4)),
        "chances": rng.random((count, 4)),
        "w": rng.integers(0, 3, count).astype(float),
    }


def cut(values, sizes=SIZES):
    ends = np.cumsum(sizes)
    return [
        {name: value[end - size : end] for name, value in values.items()} for size, end in zip(sizes, ends, strict=True)
    ]


def called(name, **inputs):
    return {"class": f"sklearn.metrics.{name}", "inputs": inputs}


def computed(metric, batches, loop=None, **arguments):
    """What the hook leaves for one metric of one stream."""
    hook = Metrics({"m": metric}, **arguments)
    if loop is not None:
        hook.register_mainloop(loop)
    for batch in batches:
        hook.after_batch("valid", batch)
    data = {"valid": {}}
    hook.after_epoch(epoch_data=data)
    return data["valid"]["m"]


@pytest.mark.parametrize(
    ("name", "inputs", "arguments"),
    [
        ("f1_score", {"y_true": "labels", "y_pred": "found"}, {"average": "macro"}),
        ("balanced_accuracy_score", {"y_true": "labels", "y_pred": "found"}, {}),
        ("roc_auc_score", {"y_true": "labels", "y_score": "scores"}, {"multi_class": "ovo"}),
        ("log_loss", {"y_true": "labels", "y_proba": "scores"}, {}),
        ("r2_score", {"y_true": "x", "y_pred": "y"}, {}),
        ("median_absolute_error", {"y_true": "x", "y_pred": "y"}, {}),
        ("average_precision_score", {"y_true": "tags", "y_score": "chances"}, {"average": "micro"}),
        ("hamming_loss", {"y_true": "tags", "y_pred": "tags"}, {}),
        ("ndcg_score", {"y_true": "tags", "y_score": "chances"}, {"k": 3}),
        ("label_ranking_loss", {"y_true": "tags", "y_score": "chances"}, {}),
        ("brier_score_loss", {"y_true": "is_on", "y_proba": "w"}, {}),
    ],
)
def test_a_function_sees_all_examples_at_once(name, inputs, arguments):
    """Its value is the library's own, however the epoch is cut: no mean of batches."""
    values = values_of()
    values["w"] /= 2
    expected = getattr(sklearn_metrics, name)(**{key: values[of] for key, of in inputs.items()}, **arguments)

    assert computed(called(name, **inputs) | arguments, cut(values)) == float(expected)


def test_every_function_of_scikit_learn_is_known_from_its_source():
    """Its decorators leave its arguments as they are, so that a misspelt one is found before anything is imported."""
    resolver, kind = SourceResolver(new_library()), Kind("metric", functions=True)
    for name in sklearn_metrics.__all__:
        function = getattr(sklearn_metrics, name)
        if inspect.isfunction(function):
            read, live = resolver.accepted(f"sklearn.metrics.{name}", kind), inspect.signature(function).parameters
            named = [key for key, parameter in live.items() if parameter.kind is not parameter.VAR_KEYWORD]
            assert list(read.hints) == named, name


def test_several_values_have_the_names_of_classes():
    """Where there is one for each of them; else they are numbered. Matrices become mappings of mappings."""
    values = values_of()
    recall = called("recall_score", y_true="labels", y_pred="found") | {"average": None}
    matrix = called("confusion_matrix", y_true="labels", y_pred="found")
    names = ["cat", "dog", "cow"]
    counts = sklearn_metrics.confusion_matrix(values["labels"], values["found"])

    assert list(computed(recall, cut(values), classes_names=names)) == names
    assert list(computed(recall, cut(values))) == ["0", "1", "2"]
    assert computed(matrix, cut(values), classes_names=names)["dog"] == dict(
        zip(names, counts[1].tolist(), strict=True)
    )
    assert list(computed(called("roc_curve", y_true="is_on", y_score="x"), cut(values))) == ["0", "1", "2"]


def test_what_is_too_large_for_files_is_left_for_the_hooks_behind(caplog):
    """More than a thousand numbers stay an array, and that is said once."""
    values = {"y": np.arange(40), "x": np.arange(40)}
    matrix = called("confusion_matrix", y_true="y", y_pred="x")

    assert computed(matrix, [values]).shape == (40, 40)
    assert [record.message for record in caplog.records] == [
        "stream 'valid': m: it is of more numbers than files take, so it is for the hooks behind only"
    ]


def test_objects_of_one_s_own_are_updated_batch_by_batch():
    """A class with `update`, `compute`, `state_dict` and `load_state_dict` needs no library."""
    values = values_of()
    metric = {"class": f"{__name__}.Range", "scale": 2.0, "inputs": {"values": "x"}}

    assert computed(metric, cut(values)) == 2 * np.ptp(values["x"])


def test_arrays_on_a_device_are_fetched_in_order(loop):
    """Whether they wait, or are there; buffers that a model reuses are copied before."""
    metric = {"class": f"{__name__}.Range", "inputs": {"values": "x"}}
    buffer = np.array([5.0, 1.0])
    hook = Metrics({"m": metric, "f": called("max_error", y_true="x", y_pred="x")})
    hook.after_batch("valid", {"x": DeviceArray([2.0, 3.0])})
    hook.after_batch("valid", {"x": buffer})
    buffer[:] = 99
    hook.after_batch("valid", {"x": DeviceArray([-1.0])})
    data = {"valid": {}}
    hook.after_epoch(epoch_data=data)

    assert data["valid"] == {"m": 6.0, "f": 0.0}


def test_examples_count_by_their_weight(loop):
    """As `sample_weight` where the metric takes one; those of weight 0 are left out of every metric."""
    values = values_of()
    loop.weights = {"found": "w"}
    inputs = {"y_true": "labels", "y_pred": "found"}
    expected = sklearn_metrics.accuracy_score(values["labels"], values["found"], sample_weight=values["w"])

    assert computed(called("accuracy_score", **inputs), cut(values), loop) == pytest.approx(expected, rel=1e-15)


def test_a_metric_without_weights_is_named(loop, caplog):
    """What weighs 0 is left out all the same; that other weights count the same is said once."""
    values = values_of()
    loop.weights = {"x": "w"}
    counts = values["w"] > 0
    metric = called("max_error", y_true="y", y_pred="x")

    assert computed(metric, cut(values), loop) == np.abs(values["x"] - values["y"])[counts].max()
    assert [record.message for record in caplog.records] == [
        "stream 'valid': m: max_error takes no sample_weight, so that all examples of a weight above 0 count the same"
    ]


def test_positions_of_a_sequence_are_examples(loop):
    """Where weights have an axis more, as a mask of labels has."""
    labels, found = np.array([[0, 1, 1], [1, 0, 0]]), np.array([[0, 1, 0], [0, 0, 0]])
    mask = np.array([[True, True, False], [True, False, False]])
    loop.weights = {"found": "mask"}
    batch = {"labels": labels, "found": found, "mask": mask}

    assert computed(called("accuracy_score", y_true="labels", y_pred="found"), [batch], loop) == 2 / 3


def undefined(metric, batches, caplog, loop=None):
    value = computed(metric, batches, loop)
    return value, [record.message.removeprefix("stream 'valid': m: ") for record in caplog.records]


OF_CLASSES = {"y_true": "labels", "y_pred": "found"}


@pytest.mark.parametrize("metric", [called("r2_score", y_true="x", y_pred="y"), {"class": f"{__name__}.Range"}])
@pytest.mark.parametrize(
    ("x", "said"),
    [
        pytest.param([], "no example counts, so it is NaN", id="nothing"),
        pytest.param([[0.0, np.nan, 1.0], [2.0, 3.0]], "'x' holds NaN, so it is NaN", id="nan"),
    ],
)
def test_what_cannot_be_known_is_nan(metric, x, said, caplog):
    """Without examples, and of a NaN, whatever the library would make of it; it is said."""
    metric = metric if "inputs" in metric else metric | {"inputs": {"values": "x"}}
    batches = [{"x": np.array(part), "y": np.arange(len(part))} for part in x]

    value, messages = undefined(metric, batches, caplog)

    assert np.isnan(value)
    assert messages == [said]


def test_all_of_weight_0_is_as_nothing(loop, caplog):
    """There is no example that counts."""
    loop.weights = {"found": "w"}
    batch = {"labels": np.array([0, 1]), "found": np.array([0, 1]), "w": np.zeros(2)}

    value, messages = undefined(called("accuracy_score", **OF_CLASSES), [batch], caplog, loop)

    assert np.isnan(value)
    assert messages == ["no example counts, so it is NaN"]


@pytest.mark.parametrize(
    ("metric", "expected", "word"),
    [
        pytest.param(called("precision_score", **OF_CLASSES), 0.0, "Precision is ill-defined", id="never-predicted"),
        pytest.param(called("precision_score", **OF_CLASSES) | {"zero_division": 1.0}, 1.0, None, id="as-asked-for"),
        pytest.param(called("roc_auc_score", y_true="ones", y_score="x"), np.nan, "Only one class", id="one-class"),
        pytest.param(called("r2_score", y_true="one", y_pred="one"), np.nan, "less than two samples", id="one-example"),
    ],
)
def test_what_else_is_undefined_is_as_the_library_has_it_and_is_said(metric, expected, word, caplog):
    """Absent classes and divisions by zero, by the library's own arguments; its warnings are logged once."""
    one = {"one": np.array([1.0])}
    batch = {"labels": np.array([1, 0]), "found": np.array([0, 0]), "ones": np.array([1, 1]), "x": np.array([0.1, 0.2])}
    metric_inputs = set(metric["inputs"].values())
    batches = [one] if metric_inputs == {"one"} else [batch]

    value, messages = undefined(metric, batches, caplog)

    assert value == pytest.approx(expected, nan_ok=True)
    assert [word in message for message in messages] == [True] * (word is not None)


@pytest.mark.parametrize(
    ("metric", "batch", "error", "word"),
    [
        (called("f1_score", **OF_CLASSES), {"labels": [[0, 1]], "found": [1]}, HookError, "f1_score: Classification"),
        (called("f1_score", **OF_CLASSES), {"labels": [0, 1], "found": [1]}, BatchError, "2 for 'y_true', 1 for"),
        (called("f1_score", **OF_CLASSES), {"labels": [0, 1], "found": [[1], [0, 1]]}, VariableTypeError, "array"),
        (called("f1_score", **OF_CLASSES), {"labels": [0, 1]}, MissingVariableError, "no variable 'found'"),
        ({"class": f"{__name__}.Range", "inputs": {"values": "x"}}, {"x": ["a"]}, HookError, "Range: "),
        ({"class": f"{__name__}.Range", "inputs": {"values": "x"}}, {"x": 3.0}, VariableTypeError, "m: expected a seq"),
    ],
)
def test_what_a_metric_refuses_is_one_line(metric, batch, error, word):
    """With the stream, and what the library says."""
    with pytest.raises(error, match="stream 'valid'") as caught:
        computed(metric, [batch])
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (called("f1_score", y_true="a"), "metrics.m.inputs: f1_score: missing a required argument: 'y_pred'"),
        (called("f1_score", **OF_CLASSES) | {"y_true": 3}, "metrics.m.y_true: is an input as well"),
        (called("f1_scores", **OF_CLASSES), "did you mean 'f1_score'?"),
        ({"class": "sklearn.metrics.f1_score"}, "each metric needs the argument 'inputs'"),
        ({"class": "collections.OrderedDict", "inputs": {"other": "a"}}, "OrderedDict has no compute, no state_dict"),
        ({"class": f"{__name__}.Range", "inputs": {"value": "a"}}, "it takes: values"),
    ],
)
def test_a_metric_that_cannot_be_made_is_told_when_it_is_built(metric, words):
    """Before the first batch, with the place in the configuration."""
    with pytest.raises(ConfigError) as caught:
        Metrics({"m": metric})
    assert words in str(caught.value)


def test_streams_have_metrics_of_their_own():
    """Each is computed from its own examples, and forgets them with the epoch."""
    hook = Metrics({"m": {"class": f"{__name__}.Range", "inputs": {"values": "x"}}}, streams=["train", "valid"])
    for stream, x in (("train", [0.0, 1.0]), ("valid", [0.0, 5.0]), ("test", [0.0, 9.0])):
        hook.after_batch(stream, {"x": np.array(x)})
    first, second = ({"train": {}, "valid": {}, "test": {}} for _ in range(2))
    hook.after_epoch(epoch_data=first)
    hook.after_batch("train", {"x": np.array([3.0, 3.5])})
    hook.after_epoch(epoch_data=second)

    assert first == {"train": {"m": 1.0}, "valid": {"m": 5.0}, "test": {}}
    assert second["train"] == {"m": 0.5}


def test_a_state_of_other_metrics_is_refused():
    """With what does not fit."""
    hook, other = (Metrics({name: {"class": f"{__name__}.Range", "inputs": {"values": "x"}}}) for name in "mn")
    hook.after_batch("valid", {"x": np.arange(3.0)})

    with pytest.raises(StateError, match="n"):
        other.load_state_dict(hook.state_dict())


class Data(el.BaseDataset):
    """Points on both sides of a plane; the last batch is small."""

    def _configure_dataset(self, **kwargs): ...

    def train_stream(self):
        return self._read(0)

    def valid_stream(self):
        return self._read(1)

    def _read(self, seed):
        x = np.random.default_rng(seed).normal(size=(22, 3))
        columns = {"x": x, "y": (x.sum(axis=1) > 0).astype(int), "w": np.arange(22) % 3}
        return el.datasets.IndexStream(columns, 5, rng=self.rng("train"))


class Model(el.AbstractModel):
    """Logistic regression, of which some examples count double and others not at all."""

    input_names = ("x", "y", "w")
    output_names = ("p", "found")
    weights = {"p": "w"}  # noqa: RUF012

    def __init__(self, dataset, log_dir, restore_from=None):
        self._w = np.zeros(3)

    def run(self, batch, train, stream=None):
        p = 1 / (1 + np.exp(-batch["x"] @ self._w))
        if train:
            self._w -= batch["x"].T @ (p - batch["y"]) / len(p)
        return {"p": p, "found": (p > 0.5).astype(int)}

    def state_dict(self):
        return {"w": self._w}

    def load_state_dict(self, state):
        self._w = state["w"]

    def save(self, name_suffix):
        return name_suffix


METRICS = {
    "auc": called("roc_auc_score", y_true="y", y_score="p"),
    "worst": called("max_error", y_true="y", y_pred="found"),
    "range": {"class": f"{__name__}.Range", "inputs": {"values": "p"}},
}


def config(metrics, **main_loop):
    settings = {"seed": 3, "extra_streams": ["valid"], "epochs_count": 2, "evaluate_every": "3ba", **main_loop}
    watching = [{"SaveBest": {"variable": "auc", "condition": "max"}}, "WriteCSV", "LogVariables"]
    return {
        "dataset": {"class": f"{__name__}.Data"},
        "model": {"class": f"{__name__}.Model", "name": "m"},
        "hooks": [{"Metrics": {"metrics": metrics}}, *watching],
        "main_loop": settings,
    }


def ends_as_if_untouched(metrics, root, monkeypatch):
    """Train with a commit after every batch, and resume from some of them; return the last line of metrics."""
    monkeypatch.setattr("emloop.main_loop.commit_policy._PACE", 0)  # looks at the clock after every batch
    settings = config(metrics, commit={"every": "0.0001s", "keep": 1000})
    training = create_emloop_training(settings, str(root), output_dir_name="each")
    training.main_loop.run_training()
    run = Path(training.output_dir)
    files = {name: (run / name).read_bytes() for name in ("metrics.jsonl", "training.csv")}
    commits = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert len(commits) >= 10
    for number in range(1, len(commits) - 1, 4):
        copy = root / f"copy-{number}"
        shutil.copytree(run, copy)
        for later in commits[number + 1 :]:
            shutil.rmtree(copy / "checkpoints" / later)
        rest = settings | {"main_loop": settings["main_loop"] | {"commit": {"every": "1ep"}}}
        resume_emloop_training(rest, copy).main_loop.run_training()
        assert {name: (copy / name).read_bytes() for name in files} == files, commits[number]
    return json.loads(files["metrics.jsonl"].splitlines()[-1])


@pytest.mark.slow
def test_a_run_killed_within_an_epoch_ends_with_the_same_bits(tmp_path, monkeypatch):
    """Or within an evaluation inside it, with weights: the hook goes on with what it had seen."""
    last = ends_as_if_untouched(METRICS, tmp_path, monkeypatch)

    assert last["train"].keys() == last["valid"].keys() == METRICS.keys()
    assert 0.5 < last["valid"]["auc"] <= 1
