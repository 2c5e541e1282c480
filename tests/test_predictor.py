"""A trained model is loaded by one line, and predicts as its evaluation does."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import emloop
from emloop.api import create_emloop_training
from emloop.cli._exporting.export import export
from emloop.errors import (
    BatchError,
    ConfigError,
    MissingVariableError,
    RunDirError,
    SavedModelError,
    UntrustedError,
    UsageError,
    VariableTypeError,
)

DATA = '''
import numpy as np

import emloop as el


class Data(el.BaseDataset):
    """Points in two classes."""

    num_classes = 2

    def _configure_dataset(self, **kwargs):
        self.points = np.random.default_rng(0).normal(size=(96, 3)).astype(np.float32)
        self.labels = (self.points.sum(axis=1) > 0).astype(np.int64)

    def train_stream(self):
        for start in range(0, 96, 16):
            part = slice(start, start + 16)
            series = np.ones((16, 2 + start // 16, 3), np.float32)
            yield {"points": self.points[part], "labels": self.labels[part], "series": series}
'''

TORCH = '''
import torch
from torch import nn
from torch.nn import functional

import emloop_torch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))

    def predict(self, points):
        logits = self.body(points)
        return {"logits": logits, "predictions": logits.argmax(1), "mean": logits.mean()}

    def forward(self, points, labels):
        outputs = self.predict(points)
        return {**outputs, "loss": functional.cross_entropy(outputs["logits"], labels, reduction="none")}


class Model(emloop_torch.BaseModel):
    def create_model(self):
        return Net()

    def create_optimizer(self):
        print("an optimizer is built")
        return super().create_optimizer()


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(3, 4, batch_first=True)

    def predict(self, series):
        steps = self.cell(series)[0]
        noise = torch.rand(len(series), dtype=torch.bfloat16)
        return {"steps": steps, "last": steps[:, -1], "noise": noise, "series": series, "mean": steps.mean()}

    def forward(self, series, labels):
        outputs = self.predict(series)
        return {**outputs, "loss": outputs["last"].square().mean(1)}


class Recurrent(emloop_torch.BaseModel):
    """Takes series of any length."""

    def create_model(self):
        return Steps()


class OfTheDataset(Model):
    """What it is made of is asked of the dataset."""

    def create_model(self):
        assert self.dataset.num_classes == 2
        return Net()
'''

BOOSTING = '''
from sklearn.ensemble import HistGradientBoostingClassifier

import emloop_sklearn


class Boosting(emloop_sklearn.BaseModel):
    """Learns every batch anew."""

    def create_model(self):
        return HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=2, random_state=0)

    def fit_batch(self, estimator, features, labels):
        estimator.fit(features, labels)
'''

OWN = '''
from pathlib import Path

import numpy as np

import emloop as el


class Own(el.AbstractModel):
    """A model by hand, which keeps what it is given and draws at random."""

    input_names = ("points", "labels")
    output_names = ("sums", "noise", "loss")

    def __init__(self, dataset, log_dir, restore_from=None):
        self._log_dir, self._inside = log_dir, 0
        self.restored = restore_from

    def run(self, batch, train):
        self._inside += 1
        assert self._inside == 1, "two threads at once"
        sums = np.asarray(batch["points"]).sum(axis=1)
        noise = np.random.normal(size=len(sums))
        self._inside -= 1
        return {"sums": list(sums), "noise": noise, "loss": sums - batch["labels"]}

    def save(self, name_suffix):
        path = Path(self._log_dir, f"own_{name_suffix}.txt")
        path.write_text("saved")
        return str(path)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A directory with a dataset and models, which can be imported from it."""
    directory = tmp_path_factory.mktemp("project")
    for name, text in {"data": DATA, "torch": TORCH, "boosting": BOOSTING, "own": OWN}.items():
        (directory / f"predictor_{name}.py").write_text(text)
    sys.path.insert(0, str(directory))
    yield directory
    sys.path.remove(str(directory))


def trained(project, name, model, hooks=("SaveLatest",), epochs=2):
    """Train, and return the run directory."""
    config = {
        "dataset": {"class": "predictor_data.Data"},
        "model": {"name": name, **model},
        "hooks": [{"ComputeStats": {"variables": ["loss"], "streams": ["train"]}}, *hooks],
        "main_loop": {"seed": 5, "epochs_count": epochs, "extra_streams": [], "on_unused_sources": "ignore"},
    }
    training = create_emloop_training(config, project / "log", output_dir_name=name)
    training.main_loop.run_training()
    return Path(training.output_dir), training.model


LABELLED = {"inputs": ["points", "labels"], "outputs": ["predictions", "loss"]}


@pytest.fixture(scope="module")
def torch_run(project):
    """A run whose model has batch normalisation and dropout, and the model as it was trained."""
    pytest.importorskip("torch")
    best = {"SaveBest": {"variable": "loss", "stream": "train"}}
    model = {"class": "predictor_torch.Model", "device": "cpu", "optimizer": {"class": "SGD", "learning_rate": 0.1}}
    return trained(project, "torch", {**model, **LABELLED}, ["SaveLatest", best], epochs=3)


@pytest.fixture(scope="module")
def sklearn_run(project):
    """A run of an estimator."""
    pytest.importorskip("skops")
    model = {
        "class": "emloop_sklearn.BaseModel",
        "estimator": {"class": "sklearn.naive_bayes.GaussianNB"},
        "classes": 2,
    }
    return trained(project, "sklearn", {**model, **LABELLED})


@pytest.fixture(scope="module")
def boosting_run(project):
    """A run whose class says how it learns, so that it predicts without its source, and no more."""
    pytest.importorskip("skops")
    return trained(project, "boosting", {"class": "predictor_boosting.Boosting", "classes": 2, **LABELLED})


@pytest.fixture
def points():
    """Points of no training."""
    return np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)


def test_a_network_predicts_without_labels_as_it_is_evaluated(torch_run, points):
    """Batch normalisation by its statistics, no dropout, all that `predict` of the module gives of every example."""
    run, model = torch_run
    predictor = emloop.load(run)

    evaluated = model.run({"points": points, "labels": np.zeros(50, np.int64)}, train=False)
    predicted = predictor.predict({"points": points})

    assert list(predicted) == ["logits", "predictions"]
    np.testing.assert_array_equal(predicted["predictions"], evaluated["predictions"])
    assert {name: type(values) for name, values in predicted.items()} == dict.fromkeys(predicted, np.ndarray)


def test_an_estimator_says_all_that_it_can_of_the_features(sklearn_run, points):
    """Also what the training did not ask for."""
    run, model = sklearn_run
    predictor = emloop.load(run)

    predicted = predictor.predict({"points": points})

    assert list(predictor.inputs) == ["points"]
    evaluated = model.run({"points": points, "labels": np.zeros(50, np.int64)}, train=False)
    np.testing.assert_array_equal(predicted["predictions"], evaluated["predictions"])
    np.testing.assert_array_equal(predicted["probabilities"].argmax(axis=1), predicted["predictions"])


def test_loading_builds_no_optimizer(torch_run, capsys):
    """Not even where a class builds its own."""
    run, _ = torch_run

    emloop.load(run)

    assert "an optimizer is built" not in capsys.readouterr().out


def test_any_number_of_examples_may_come_at_once(torch_run, points):
    """They are cut into batches, and what comes of it is put together in order."""
    predictor = emloop.load(torch_run[0])
    whole = predictor.predict({"points": points})["logits"]

    for size in (1, 7, 49, 50, 1000):
        cut = predictor.predict({"points": points}, batch_size=size)["logits"]
        np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-6)
    many = predictor.predict({"points": np.tile(points, (60, 1))})["logits"]
    np.testing.assert_allclose(many, np.tile(whole, (60, 1)), rtol=1e-5, atol=1e-6)
    one = predictor.predict({"points": points[:1]})["logits"]
    none = predictor.predict({"points": points[:0]})["logits"]
    assert (one.shape, none.shape, none.dtype) == ((1, 2), (0, 2), np.float32)
    with pytest.raises(UsageError, match="batch_size: expected a number of examples, at least 1, got 0"):
        predictor.predict({"points": points}, batch_size=0)


def test_lists_and_other_dtypes_will_do_where_nothing_is_lost(torch_run):
    """Whole numbers become floats, and floats are rounded as in the training."""
    predictor = emloop.load(torch_run[0])
    expected = predictor.predict({"points": np.array([[1, 2, 3], [4, 5, 6]], np.float32)})

    for given in ([[1, 2, 3], [4, 5, 6]], np.array([[1, 2, 3], [4, 5, 6]]), np.array([[1.0, 2, 3], [4, 5, 6]])):
        np.testing.assert_array_equal(predictor.predict({"points": given})["logits"], expected["logits"])


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        pytest.param(
            {"point": [[1.0, 2, 3]]},
            MissingVariableError,
            "the input 'points' is missing; did you mean 'point'?; the model takes points: float32 [any, 3]; "
            "there is 'point'",
            id="misnamed",
        ),
        pytest.param(
            {},
            MissingVariableError,
            "the input 'points' is missing; the model takes points: float32 [any, 3]; there is nothing",
            id="nothing",
        ),
        pytest.param(
            {"points": [1.0, 2, 3]},
            BatchError,
            "points: expected float32 [any, 3], got float32 [3]; a single example needs a first axis as well: "
            "array[None]",
            id="one-example",
        ),
        pytest.param(
            {"points": np.zeros((5, 4))},
            BatchError,
            "points: expected float32 [any, 3], got float32 [5, 4]: RuntimeError: mat1 and mat2 shapes cannot be "
            "multiplied (5x4 and 3x8)",
            id="another-size",
        ),
        pytest.param(
            {"points": [["a", "b", "c"]]}, BatchError, "points: expected float32 [any, 3], got <U1 [1, 3]", id="texts"
        ),
        pytest.param(
            {"points": np.full((1, 3), 2**24 + 1)},
            BatchError,
            "points: expected float32 [any, 3], got int64 with numbers that float32 cannot hold",
            id="too-large",
        ),
        pytest.param(
            {"points": [[1.0, 2], [3.0]]},
            BatchError,
            "points: the examples of a batch must have one shape: setting an array element with a sequence. The "
            "requested array has an inhomogeneous shape after 1 dimensions. The detected shape was (2,) + "
            "inhomogeneous part.",
            id="ragged",
        ),
    ],
)
def test_an_input_that_does_not_fit_is_told_what_is_expected(torch_run, inputs, error, message):
    """By name, dtype and shape."""
    predictor = emloop.load(torch_run[0])

    with pytest.raises(error) as raised:
        predictor.predict(inputs)

    assert str(raised.value) == message


def test_inputs_have_names(torch_run):
    """An array alone is told which."""
    with pytest.raises(VariableTypeError, match=r"expected a mapping of inputs, \{'points': …\}, got ndarray"):
        emloop.load(torch_run[0]).predict(np.zeros((1, 3)))


def test_random_numbers_of_the_caller_go_on_as_if_nothing_were(torch_run, points):
    """Neither loading nor predicting draws from the global generators, and a prediction repeats itself."""
    torch = pytest.importorskip("torch")

    def draws(work):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        found = work()
        return found, (random.random(), np.random.random(), float(torch.rand(())))

    _, untouched = draws(lambda: None)
    predictor, after_load = draws(lambda: emloop.load(torch_run[0]))
    _, after_predict = draws(lambda: predictor.predict({"points": points}))

    assert (after_load, after_predict) == (untouched, untouched)
    first, second = (predictor.predict({"points": points})["logits"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_predictor_tells_what_it_is(torch_run):
    """Inputs and outputs, where the model is from, how much works without source, and how good it is."""
    run, _ = torch_run
    predictor = emloop.load(run)

    assert (predictor.path, predictor.run, predictor.rung) == (run / "model_best", run, "exported")
    assert {name: str(described) for name, described in predictor.inputs.items()} == {"points": "float32 [any, 3]"}
    assert repr(predictor) == (
        f"<Predictor of {run / 'model_best'}: predictor_torch.Model, exported\n"
        "  takes points: float32 [any, 3]\n"
        "  gives logits: float32 [any, 2]\n"
        "  gives predictions: int64 [any]>"
    )
    assert predictor.config["main_loop"]["epochs_count"] == 3
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = min(lines, key=lambda line: line["train"]["loss"]["mean"])
    assert predictor.metrics == best
    assert emloop.load(run / "model_latest").metrics == lines[-1]


def test_a_model_whose_source_wants_the_dataset_is_restored_without_it(project, points, caplog):
    """The saved program takes its place."""
    pytest.importorskip("torch")
    model = {"class": "predictor_torch.OfTheDataset", "device": "cpu", "saved_model": {"shadow": 0}}
    run, _ = trained(project, "asks", {**model, **LABELLED}, epochs=1)

    predictor = emloop.load(run)

    assert predictor.predict({"points": points})["logits"].shape == (50, 2)
    assert "is restored without its source, by which it cannot be: AttributeError: 'NoneType'" in caplog.text


@pytest.mark.parametrize("source", ["with-source", "without-source"])
def test_series_of_any_length_may_come(project, source, tmp_path):
    """As the training has seen; an output may be the input itself, random, or of a dtype that NumPy lacks."""
    pytest.importorskip("torch")
    model = {"class": "predictor_torch.Recurrent", "device": "cpu", "inputs": ["series", "labels"], "outputs": ["loss"]}
    run, _ = trained(project, f"series-{source}", model, epochs=1)
    where = run / "model_latest"
    if source == "without-source":
        where = shutil.copytree(where, tmp_path / "shipped")
    predictor = emloop.load(where)
    series = np.random.default_rng(1).normal(size=(5, 11, 3)).astype(np.float32)

    first, again = predictor.predict({"series": series}), predictor.predict({"series": series})

    shapes = {"steps": (5, 11, 4), "last": (5, 4), "noise": (5,), "series": (5, 11, 3)}
    assert {name: values.shape for name, values in first.items()} == shapes
    np.testing.assert_array_equal(first["noise"], again["noise"])
    assert not np.shares_memory(first["series"], series)
    described = {name: str(one) for name, one in ({**predictor.outputs, **predictor.inputs}).items()}
    assert described == {
        "series": "float32 [any, any, 3]",
        "steps": "float32 [any, any, 4]",
        "last": "float32 [any, 4]",
        "noise": "float32 [any]",
    }


def test_a_model_by_hand_runs_from_one_thread_at_a_time(project, points):
    """It needs all its inputs, draws as it likes, and the caller's random numbers stay."""
    run, _ = trained(project, "own", {"class": "predictor_own.Own"}, hooks=())
    predictor = emloop.load(run)
    batch = {"points": points, "labels": np.zeros(50)}
    np.random.seed(3)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: predictor.predict(batch, batch_size=20)["sums"], range(20)))
    after = np.random.random()
    np.random.seed(3)

    assert after == np.random.random()
    for sums in found:
        np.testing.assert_array_equal(sums, points.sum(axis=1))
    with pytest.raises(MissingVariableError, match="what it does without labels is not known"):
        predictor.predict({"points": points})


def test_what_is_no_model_says_what_is_there(project, tmp_path):
    """A misspelt name, a directory without a model, a torn one."""
    with pytest.raises(RunDirError, match="'torhc' is neither a run directory nor the beginning of a run's name"):
        emloop.load("torhc", output_root=project / "log")
    with pytest.raises(SavedModelError, match="no saved model and no checkpoint; there is nothing"):
        emloop.load(tmp_path)


def test_a_run_is_found_by_the_beginning_of_its_name(sklearn_run, project):
    """As the commands find it."""
    assert emloop.load("skl", output_root=project / "log").run == sklearn_run[0]


def test_a_damaged_model_is_not_loaded(sklearn_run, tmp_path):
    """Every byte is verified."""
    shipped = tmp_path / "shipped"
    shutil.copytree(sklearn_run[0] / "model_latest", shipped)
    (state,) = shipped.glob("model-*.safetensors")
    state.write_bytes(state.read_bytes()[:-1] + b"?")

    with pytest.raises(SavedModelError, match="cannot be restored"):
        emloop.load(shipped)


def test_loading_writes_nothing(sklearn_run, points, tmp_path):
    """The run may lie where nobody can write, and another process may be working on it."""
    copy = tmp_path / "copy"
    shutil.copytree(sklearn_run[0], copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}

    emloop.load(copy).predict({"points": points})

    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_a_strangers_model_is_data(torch_run, points):
    """Its class is not imported; its program runs."""
    predictor = emloop.load(torch_run[0], untrusted=True)

    assert type(predictor.model).__module__ == "emloop_torch.base_model"
    assert predictor.predict({"points": points})["logits"].shape == (50, 2)
    with pytest.raises(UntrustedError):
        emloop.load(torch_run[0], untrusted=True, trust_source=True)


def test_an_override_changes_the_config(torch_run):
    """As on the command line; a misspelt one is an error."""
    predictor = emloop.load(torch_run[0], overrides=["model.precision=bf16"])

    assert predictor.config["model"]["precision"] == "bf16"
    with pytest.raises(ConfigError, match="did you mean 'precision'"):
        emloop.load(torch_run[0], overrides=["model.precison=bf16"])


ANYWHERE = """
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import emloop

points = np.load(sys.argv[2])
predictor = emloop.load(sys.argv[1])
assert not [name for name in sys.modules if name.startswith("predictor_")]
with ThreadPoolExecutor(4) as threads:
    found = list(threads.map(lambda _: predictor.predict({"points": points}), range(12)))
assert all(np.array_equal(one[name], other[name]) for one in found for other in found[:1] for name in one)
np.savez(sys.argv[3], **found[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "shipped"),
    [
        *(("torch", "run"), ("torch", "saved-model"), ("torch", "onnx")),
        *(("sklearn", "run"), ("sklearn", "onnx")),
        *(("boosting", "run"), ("boosting", "saved-model")),
    ],
)
def test_a_model_loads_anywhere_and_predicts_as_in_its_training(kind, shipped, request, points, tmp_path):
    """One line in a fresh process, in an empty directory, without config, dataset or source, from four threads."""
    run, model = request.getfixturevalue(f"{kind}_run")
    where, empty = run, tmp_path / "empty"
    empty.mkdir()
    if shipped == "saved-model":
        where = shutil.copytree(run / "model_latest", tmp_path / "model_shipped")
    if shipped == "onnx":
        pytest.importorskip("onnxscript" if kind == "torch" else "skl2onnx")
        where = tmp_path / "onnx"
        assert export(str(run), "onnx", None, (), "log", str(where)) == 0
    np.save(tmp_path / "points.npy", points)

    command = [sys.executable, "-c", textwrap.dedent(ANYWHERE), where, tmp_path / "points.npy", tmp_path / "found.npz"]
    done = subprocess.run(list(map(str, command)), cwd=empty, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    assert list(empty.iterdir()) == []
    with np.load(tmp_path / "found.npz") as file:
        found = dict(file)
    here = model.predict({"points": points})
    assert sorted(found) == sorted(here)
    for name, values in here.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)
