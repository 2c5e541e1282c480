"""What a PyTorch model does without labels, as an ONNX file."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

from emloop._state.tree import equal_trees  # noqa: E402
from emloop.api import create_emloop_training, create_model  # noqa: E402
from emloop.cli._exporting.export import export  # noqa: E402
from emloop.errors import ConfigError, MissingExtraError, SavedModelError, SaveError  # noqa: E402
from emloop.saved_models import class_of_export, find_saved  # noqa: E402
from emloop.testing.contents import copies_in  # noqa: E402
from emloop_onnx import OnnxModel  # noqa: E402

from .nets import (  # noqa: E402
    Classifier,
    Reader,
    convolutional,
    perceptron,
    restored,
    sentences,
    signals,
    trained,
)

KINDS = {
    "perceptron": (perceptron, [signals(6, 1), signals(6, 2)]),
    "convolutional": (convolutional, [signals(6, 1), signals(6, 2)]),
    "transformer": (Reader, [sentences(6, 7), sentences(6, 5)]),
}


def assert_same(model, exported, batches, source):
    """What a model and its export say of some batches is the same, rounding apart."""
    for batch in batches:
        expected, found = model.run(batch, train=False), exported.run({source: batch[source]})
        assert list(found) == model.output_names
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make", "batches"), KINDS.values(), ids=KINDS)
def test_what_is_exported_says_what_the_model_says(tmp_path, make, batches):
    """Exported from the live model, and from what stands in for it where its source is gone.

    Batches may be of any size, and so may axes that varied among the batches at hand, or in the run.
    """
    source, outputs = next(iter(batches[0])), ["logits", "predictions"]
    model = trained(make, batches, tmp_path, outputs=outputs)
    unseen = [signals(n) if source == "points" else sentences(n, length=4 + n) for n in (1, 2, 33)]
    for name, exporting, known in (
        ("live", model, batches),
        ("saved", restored(model.save("best"), batches[0]), batches[:1]),
    ):
        exporting.export("onnx", str(tmp_path / name), known)
        exported = OnnxModel(restore_from=str(tmp_path / name), outputs=outputs)
        assert exported.input_names == [source]
        assert_same(model, exported, [*batches, *unseen], source)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What was exported of a perceptron; nobody changes it."""
    path = tmp_path_factory.mktemp("exported") / "out"
    given = trained(perceptron, [signals()]).export("onnx", str(path), [signals()])
    assert [list(outputs) for outputs in given] == [["logits", "predictions", "sure"]]
    return path


def test_what_is_written_is_a_saved_model_that_only_onnx_runtime_restores(exported):
    """Inputs and outputs by name, dtype and shape, with names for the axes that may be any."""
    manifest = find_saved(exported).manifest
    assert (manifest["backend"], manifest["exported"]) == ("onnx", ["model.onnx"])
    assert class_of_export(exported) == "emloop_onnx.OnnxModel"
    assert manifest["inputs"] == {"points": {"dtype": "float32", "shape": [None, 6, 8]}}
    assert manifest["outputs"] == {
        "logits": {"dtype": "float32", "shape": [None, 2]},
        "predictions": {"dtype": "int64", "shape": [None]},
        "sure": {"dtype": "bool", "shape": [None]},
    }
    graph = onnx.load(exported / "model.onnx").graph
    sizes = [[size.dim_param or size.dim_value for size in v.type.tensor_type.shape.dim] for v in graph.input]
    assert sizes == [["batch", 6, 8]]
    with pytest.raises(
        SavedModelError, match=r"saved by the backend 'onnx', not by 'torch'; emloop_onnx\.OnnxModel can"
    ):
        restored(exported, signals())


def test_the_config_of_the_training_will_do_for_it(exported, caplog):
    """Less what only the original takes and gives, which is told."""
    section = {"class": "gone.Net", "inputs": ["points", "labels"], "outputs": ["loss", "logits"], "optimizer": "Adam"}

    model = create_model({"model": section}, restore_from=str(exported))

    assert (list(model.input_names), list(model.output_names)) == (["points"], ["logits"])
    assert "What was exported takes no 'labels'; it takes 'points'" in caplog.text
    assert "What was exported gives no 'loss'; it gives 'logits', 'predictions', 'sure'" in caplog.text


def test_every_file_is_verified_when_it_is_restored(exported, tmp_path):
    """One bit is enough; the error names the file."""
    for file in sorted(exported.iterdir()):
        copied = shutil.copytree(exported, tmp_path / file.name)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        (copied / file.name).write_bytes(content)
        with pytest.raises(SavedModelError, match=file.name):
            OnnxModel(restore_from=str(copied))


def test_nothing_of_data_or_source_is_in_the_file(exported):
    """Neither examples nor lines, names of files or classes; names of parameters are."""
    batch = signals()

    assert copies_in(exported, [*batch["points"], batch["labels"]]) == []
    content = (exported / "model.onnx").read_bytes()
    for told in (b"nets.py", b"Classifier", b"self.body", b"predict(", str(Path.cwd()).encode(), b"torch.nn"):
        assert told not in content
    assert b"body.1.weight" in content


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    """It goes on training as if nothing had happened."""
    batches = [signals(6, seed) for seed in range(4)]
    quiet, exporting = trained(convolutional, batches[:2]), trained(convolutional, batches[:2])
    drawn = torch.get_rng_state()
    exporting.export("onnx", str(tmp_path / "out"), batches[:1])
    assert torch.equal(torch.get_rng_state(), drawn)
    for batch in batches[2:]:
        expected, found = quiet.run(batch, train=True), exporting.run(batch, train=True)
        np.testing.assert_array_equal(found["loss"], expected["loss"])

    assert equal_trees(quiet.state_dict(), exporting.state_dict())


class Repeating(Classifier):
    """Gives the same numbers under several names, and its input back."""

    def predict(self, points):
        scores = self.body(points)
        return {"scores": scores, "again": scores, "echo": points, "total": scores.sum()}


def test_outputs_may_be_one_and_the_same(tmp_path):
    """Each has its own name in the file; what has no value for every example is left out."""
    batch = signals()

    class Made(Repeating):
        def forward(self, points, labels):
            return {"loss": self.predict(points)["scores"].square().mean(1)}

    model = trained(lambda: Made(perceptron().body), [batch])
    model.export("onnx", str(tmp_path / "out"), [batch])
    outputs = OnnxModel(restore_from=str(tmp_path / "out")).run(batch)

    assert list(outputs) == ["scores", "again", "echo"]
    np.testing.assert_array_equal(outputs["again"], outputs["scores"])
    np.testing.assert_array_equal(outputs["echo"], batch["points"])


def test_a_model_without_outputs_is_refused(tmp_path):
    """A number for the whole batch is none."""

    class Summing(Classifier):
        def predict(self, points):
            return {"total": self.body(points).sum()}

        def forward(self, points, labels):
            return {"loss": self.body(points).square().mean(1)}

    model = trained(lambda: Summing(perceptron().body), [signals()])

    with pytest.raises(SaveError, match="predict gives no output with a value for every example"):
        model.export("onnx", str(tmp_path / "out"), [signals()])


def test_forward_will_do_where_it_needs_no_labels(tmp_path):
    """``inference_inputs`` says so; a loss that it gives all the same is an output like any other."""

    class Squeezing(nn.Module):
        def __init__(self):
            super().__init__()
            self.way = nn.Sequential(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 8))

        def forward(self, points):
            found = self.way(points)
            return {"found": found, "loss": (found - points).square().mean((1, 2))}

    batch = {"points": signals()["points"]}
    model = trained(Squeezing, [batch], tmp_path, outputs=["found", "loss"], inference_inputs=["points"])
    model.export("onnx", str(tmp_path / "out"), [batch])

    assert_same(model, OnnxModel(restore_from=str(tmp_path / "out")), [batch], "points")


def test_a_model_that_needs_labels_says_how_to_do_without(tmp_path):
    """Nothing is written."""

    class Labelled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = perceptron()

        def forward(self, points, labels):
            return self.net(points, labels)

    model = trained(Labelled, [signals()], tmp_path)
    for exporting in (model, restored(model.save("best"), signals())):
        with pytest.raises(ConfigError) as refused:
            exporting.export("onnx", str(tmp_path / "out"), [signals()])
        assert "what the model does without labels is not known" in str(refused.value)
        assert "give the module a method `predict`" in str(refused.value)
        assert "model.inference_inputs=[…]" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_followed_is_said_with_the_cause(tmp_path):
    """Such as a decision by the numbers of a batch."""

    class Deciding(Classifier):
        def predict(self, points):
            return super().predict(points if points.sum() > 0 else -points)

    model = trained(lambda: Deciding(perceptron().body), [signals()])

    with pytest.raises(SaveError, match=r"the model cannot be exported to ONNX: .*data-dependent"):
        model.export("onnx", str(tmp_path / "out"), [signals()])
    assert not (tmp_path / "out").exists()


COUNTING = """
import numpy as np
from torch import nn

import emloop as el
import emloop_torch


class Points(el.BaseDataset):
    def _configure_dataset(self):
        self._batch = {"points": np.ones((4, 3), np.float32)}

    def train_stream(self):
        return [self._batch]


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.calls = nn.Linear(3, 2), 0

    def predict(self, points):
        self.calls += 1
        return {"scores": self.net(points) * self.calls}

    def forward(self, points):
        return {"loss": self.net(points).square().mean(1)}


class Model(emloop_torch.BaseModel):
    def create_model(self):
        return Counting()
"""


def test_what_was_exported_wrongly_is_not_kept(tmp_path, monkeypatch):
    """What Python counts from batch to batch is a constant in the file; the comparison notices."""
    (tmp_path / "counting_nets.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {"inputs": ["points"], "outputs": ["loss"], "saved_model": {"source_free": "off"}}
    config = {
        "dataset": {"class": "counting_nets.Points"},
        "model": {"class": "counting_nets.Model", "device": "cpu", **names},
        "hooks": ["SaveLatest"],
        "main_loop": {"epochs_count": 1, "seed": 1},
    }
    create_emloop_training(config, "log", None, "run").main_loop.run_training()
    before = sorted(Path("log").rglob("*"))

    with pytest.raises(SaveError, match=r"differs from the original, .*: the output 'scores' is off by"):
        export("run", "onnx", None, [], "log")
    assert sorted(Path("log").rglob("*")) == before


def test_what_does_not_fit_into_one_file_is_refused_at_once(tmp_path):
    """Three gigabytes of weights, which take no memory here."""

    class Huge(Classifier):
        def __init__(self):
            super().__init__(perceptron().body)
            self.register_buffer("table", torch.zeros(1).expand(3 << 28), persistent=False)

    model = trained(perceptron, [signals()])
    model.module = Huge()

    with pytest.raises(SaveError, match=r"the model has 3\.0 GiB of weights; an ONNX file holds 2 GiB"):
        model.export("onnx", str(tmp_path / "out"), [signals()])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
def test_a_model_on_a_device_is_exported_as_on_the_host(tmp_path):
    """Live, and where its source is gone."""
    batch = signals()
    model = trained(convolutional, [batch], tmp_path, outputs=["logits"], device="cuda")
    for name, exporting in (("live", model), ("saved", restored(model.save("best"), batch, device="cuda"))):
        (expected,) = exporting.export("onnx", str(tmp_path / name), [batch])
        found = OnnxModel(restore_from=str(tmp_path / name)).run(batch)
        np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
        assert next(model.module.parameters()).is_cuda


def test_an_unknown_format_is_refused_with_those_that_there_are(tmp_path):
    """Like any other word that is misspelt."""
    with pytest.raises(ConfigError, match=r"to: expected one of 'onnx', got 'onxx'; did you mean 'onnx'\?"):
        trained(perceptron, [signals()]).export("onxx", str(tmp_path / "out"), [signals()])


def test_without_onnx_one_line_says_what_to_install(tmp_path, monkeypatch):
    """Before anything is computed."""
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # which is how Python notes what cannot be imported

    with pytest.raises(MissingExtraError) as missing:
        trained(perceptron, [signals()]).export("onnx", str(tmp_path / "out"), [signals()])
    assert str(missing.value) == "exporting to ONNX needs a package that is not installed: pip install 'emloop[onnx]'"
