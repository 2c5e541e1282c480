"""What is exported for other runtimes, or frozen by others, does what the model does."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import keras  # noqa: E402

import emloop  # noqa: E402
import emloop_tensorflow  # noqa: E402
from emloop.api import create_model  # noqa: E402
from emloop.errors import (  # noqa: E402
    BatchError,
    ConfigError,
    MissingVariableError,
    SavedModelError,
    SaveError,
    UntrustedError,
    UsageError,
)
from emloop.saved_models import class_of_export, find_saved  # noqa: E402
from emloop_tensorflow._exporting import FORMATS, export  # noqa: E402
from emloop_tensorflow.frozen_model import FrozenModel  # noqa: E402
from emloop_tensorflow.litert_model import LiteRTModel  # noqa: E402

BATCHES = [{"images": np.random.default_rng(n).random((n, 6, 6, 1))} for n in (4, 2, 1)]


@pytest.fixture(scope="module")
def net():
    """A convolutional net with whatever behaves otherwise in training."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3),
        ]
    )


@pytest.fixture(scope="module")
def infer(net):
    """What it gives without labels; one output has no value for every example."""

    def infer(given):
        scores = net(given["images"], training=False)
        return {"scores": scores, "predictions": tf.argmax(scores, -1), "mean": tf.reduce_mean(scores)}

    return infer


def exported(to, directory, infer, weights=None):
    return export(to, str(directory), BATCHES, names=["images"], infer=infer, weights=weights or {})


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_exported_says_what_the_model_says(to, infer, tmp_path):
    """For batches of any size; the class that runs it is in the manifest, and the file says the rest."""
    if to == "onnx":
        pytest.importorskip("tf2onnx")
    expected = exported(to, tmp_path / "there", infer, {"scores": "images", "predictions": "mask"})
    shutil.copytree(tmp_path / "there", tmp_path / "elsewhere")
    model = create_model(
        {"model": {"class": class_of_export(tmp_path / "elsewhere")}},
        None,
        None,
        restore_from=str(tmp_path / "elsewhere"),
    )

    order = ["scores", "predictions"] if to == "saved_model" else ["predictions", "scores"]
    assert (model.input_names, model.output_names) == (["images"], order)
    assert dict(model.weights) == {"scores": "images"}
    assert find_saved(tmp_path / "there").manifest["inputs"]["images"] == {"dtype": "float32", "shape": [None, 6, 6, 1]}
    for batch, wanted in zip(BATCHES, expected, strict=True):
        found = model.run(batch, train=False)
        np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-6)
        np.testing.assert_array_equal(found["predictions"], wanted["predictions"])
    with pytest.raises(UsageError, match="cannot be trained; train the model that it was exported from"):
        model.run(BATCHES[0], train=True)
    with pytest.raises(NotImplementedError, match="is not saved; it is a file that can be copied"):
        model.save("best")


@pytest.mark.parametrize(
    ("to", "file"), [("saved_model", "variables/variables.data-00000-of-00001"), ("litert", "model.tflite")]
)
def test_every_file_is_verified_when_it_is_restored(to, file, infer, tmp_path):
    """A changed bit is named, not computed with."""
    exported(to, tmp_path / "there", infer)
    content = bytearray((tmp_path / "there" / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "there" / file).write_bytes(content)

    with pytest.raises(SavedModelError, match=file.rpartition("/")[2]):
        (FrozenModel if to == "saved_model" else LiteRTModel)(restore_from=str(tmp_path / "there"))


@pytest.mark.parametrize(("to", "words"), [("litert", "LiteRT has no operation for BitwiseAnd"),
                                           ("onnx", "ONNX has no operation for Bitcast")])  # fmt: skip
def test_what_a_format_cannot_do_is_said_by_name(to, words, net, tmp_path, caplog):
    """In one line, with the way out where we know it; nothing is left behind."""

    def infer(given):
        return {"predictions": keras.ops.argmax(net(given["images"], training=False), -1)}

    if to == "onnx":
        pytest.importorskip("tf2onnx")
    with pytest.raises(SaveError, match=rf"{words}; keras\.ops\.argmax and argmin need it"):
        exported(to, tmp_path / "there", infer)
    assert caplog.text == ""
    assert not (tmp_path / "there").exists()


@pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is not None, reason="tf2onnx is installed")
def test_without_tf2onnx_one_line_says_what_to_install(infer, tmp_path):
    """Before anything is computed."""
    with pytest.raises(ImportError, match=r"pip install 'emloop\[onnx\]'"):
        exported("onnx", tmp_path / "there", infer)


def test_a_saved_model_of_keras_is_run_by_its_path(net, tmp_path):
    """As ``model.export`` writes it; the names of the file can be called otherwise."""
    net.export(str(tmp_path / "net"), verbose=False)
    (tmp_path / "config.txt").write_text("nothing that counts")
    for path in (tmp_path / "net", tmp_path, tmp_path / "net" / "saved_model.pb"):
        model = FrozenModel(
            path=str(path), rename={"scores": "output_0", "images": FrozenModel(path=str(path)).input_names[0]}
        )

        found = model.run(BATCHES[0])["scores"]
        np.testing.assert_allclose(found, net(BATCHES[0]["images"], training=False), atol=1e-6)


def test_the_signature_is_chosen_by_name(tmp_path):
    """Of several; a wrong one is told those that there are."""
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, name="x")
    module.twice = tf.function(lambda x: {"twice": 2 * x}, input_signature=[spec])
    module.half = tf.function(lambda x: {"half": x / 2}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), signatures={"twice": module.twice, "half": module.half})

    assert FrozenModel(path=str(tmp_path), signature="half").run({"x": [3.0]})["half"].tolist() == [1.5]
    with pytest.raises(ConfigError, match=r"signature: expected one of .*'twice'.*, got 'twise'; did you mean 'twice'"):
        FrozenModel(path=str(tmp_path), signature="twise")
    with pytest.raises(BatchError, match=r"x: expected float32 \[any\], got"):
        FrozenModel(path=str(tmp_path), signature="half").run({"x": [[3.0]]})


def frozen_graph(path, shift=1.0):
    """A graph as emloop 0.2 froze it: it has a placeholder that says whether it is trained."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="images")
        training = tf.compat.v1.placeholder(tf.bool, [], name="el_is_training")
        moved = tf.add(x, tf.where(training, 100.0, shift), name="moved")
        tf.reduce_sum(moved, 1, name="scores")
    path.write_bytes(graph.as_graph_def().SerializeToString())


def test_a_graph_that_was_frozen_by_emloop_0_2_is_run_in_evaluation(tmp_path):
    """Its outputs are the last operations, and whatever the config names."""
    frozen_graph(tmp_path / "model.pb")
    rows = np.float32([[1, 2], [3, 4]])

    assert FrozenModel(restore_from=str(tmp_path)).run({"images": rows})["scores"].tolist() == [5, 9]
    model = FrozenModel(path=str(tmp_path / "model.pb"), inputs=["images"], outputs=["moved", "scores"])
    assert model.run({"images": rows})["moved"].tolist() == [[2, 3], [4, 5]]


def test_a_strangers_graph_is_not_opened(tmp_path):
    """It may hold operations that read and write files; those of LiteRT have none."""
    frozen_graph(tmp_path / "model.pb")

    with emloop.untrusted(), pytest.raises(UntrustedError, match="may read and write files"):
        FrozenModel(restore_from=str(tmp_path / "model.pb"))


def test_what_is_no_graph_or_more_than_one_is_refused_by_name(tmp_path):
    """With what was found."""
    for name in ("a.pb", "b.pb"):
        frozen_graph(tmp_path / name)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "saved_model.pb").write_bytes(b"\xff\xff")
    (tmp_path / "c.pb").write_bytes(b"\xff")
    for keys, told in (
        (
            {"restore_from": str(tmp_path)},
            "expected one SavedModel or frozen graph (.pb), found several: cut, a.pb, b.pb",
        ),
        ({"path": str(tmp_path / "cut")}, "cannot be read by TensorFlow"),
        ({"path": str(tmp_path / "c.pb")}, "c.pb is no frozen graph"),
        ({"path": str(tmp_path / "gone")}, "there is no file"),
    ):
        with pytest.raises(SavedModelError) as caught:
            FrozenModel(**keys)
        assert told in str(caught.value)
    with pytest.raises(ConfigError, match="name a SavedModel or frozen graph, or restore the model from what"):
        FrozenModel()
    with pytest.raises(ConfigError, match=r"outputs: the file gives no 'score'\n  did you mean 'scores'\?"):
        FrozenModel(path=str(tmp_path / "a.pb"), outputs=["score"])


def test_a_file_of_litert_from_elsewhere_needs_no_signature(net, tmp_path):
    """Names are then those of its tensors; a damaged one is refused."""
    (tmp_path / "net.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(net).convert())
    model = LiteRTModel(path=str(tmp_path / "net.tflite"), threads=1)

    (scores,) = model.run(dict(zip(model.input_names, [BATCHES[0]["images"]], strict=True))).values()
    np.testing.assert_allclose(scores, net(BATCHES[0]["images"], training=False), atol=1e-6)
    (tmp_path / "cut.tflite").write_bytes(b"no flatbuffer")
    with pytest.raises(SavedModelError, match=r"cut\.tflite cannot be run by LiteRT"):
        LiteRTModel(restore_from=str(tmp_path / "cut.tflite"))


class Regression(emloop_tensorflow.BaseModel):
    """A line, which nobody can be told without the truth."""

    def create_model(self):
        self.layer = keras.layers.Dense(1)

    def call(self, x, y, training):
        guess = self.layer(x)[:, 0]
        return {"guess": guess, "loss": (guess - y) ** 2}


ROWS = {"x": np.ones((4, 3), np.float32), "y": np.arange(4.0)}


@pytest.mark.parametrize("to", ["saved_model", "litert"])
def test_a_model_is_exported_with_or_without_its_source(to, tmp_path):
    """What it tells without labels, as ``emloop predict`` gives it, for batches of sizes that it has not seen."""
    section = {"net": [{"class": "Dense", "units": 2}], "inputs": ["x", "y"], "outputs": ["predictions", "loss"]}
    model = emloop_tensorflow.Supervised(None, str(tmp_path), loss="MeanSquaredError", **section)
    model.run({"x": ROWS["x"], "y": np.zeros((4, 2))}, train=True)
    restored = emloop_tensorflow.BaseModel(None, None, model.save("best"), inputs=["x", "y"], outputs=["loss"])

    assert to in model.exports_to
    for number, exporting in enumerate((model, restored)):
        place = str(tmp_path / f"exported{number}")
        exporting.export(to, place, [ROWS, {"x": ROWS["x"][:1]}])
        found = create_model({"model": {"class": class_of_export(place)}}, None, None, restore_from=place).predict(ROWS)
        expected = model.predict(ROWS)
        assert set(found) == set(expected) == {"scores", "predictions"}
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)


def test_a_model_that_needs_labels_says_how_to_do_without(tmp_path):
    """Before anything is written."""
    model = Regression(None, None, inputs=["x", "y"], outputs=["loss"])

    with pytest.raises(ConfigError, match=r"not known, so it cannot be exported\n  define `predict\("):
        model.export("litert", str(tmp_path / "there"), [ROWS])
    with pytest.raises(MissingVariableError, match="the batch has no 'x'; it has"):
        Regression(None, None, inputs=["x", "y"], outputs=["loss"], inference_inputs=["x", "y"]).export(
            "litert", str(tmp_path / "there"), [{"y": ROWS["y"]}]
        )
    assert not (tmp_path / "there").exists()
