"""A batch that several devices share is learned from as one device learns from it."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import emloop_tensorflow
from emloop._state.random import use_seed
from emloop.errors import ConfigError

PROJECT = """
import keras
import numpy as np

import emloop_tensorflow

RNG = np.random.default_rng(1)
# Fewer examples than devices; numbers that cannot be divided.
BATCHES = [
    {
        "points": RNG.normal(size=(count, 6)).astype(np.float32),
        "labels": RNG.integers(0, 3, count),
        "counts": RNG.random(count).astype(np.float32),
    }
    for count in (8, 7, 1, 5, 2)
]
KEYS = {
    "inputs": ["points", "labels"],
    "outputs": ["scores", "loss"],
    "weights": {"loss": "counts"},
    "device": "cpu",
    "accumulate": 2,
    "clip_gradient": {"norm": 0.5},
    "optimizer": {"class": "Adam", "learning_rate": 0.01},
}


class Net(emloop_tensorflow.BaseModel):
    def create_model(self, tells_mean=False):
        self.tells_mean = tells_mean
        dense = keras.layers.Dense(8, "relu", kernel_regularizer="l2", activity_regularizer="l2")
        self.net = keras.Sequential([dense, keras.layers.Dense(3)])

    def predict(self, points, training=False):
        return {"scores": self.net(points, training=training)}

    def call(self, points, labels, training):
        scores = self.net(points, training=training)
        loss = keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)
        return {"scores": scores, "loss": keras.ops.mean(loss) if self.tells_mean else loss}


def train(model):
    outputs = [model.run(batch, train=True) for batch in BATCHES]
    model.end_epoch()
    outputs += [model.run(batch, train=False) for batch in BATCHES]
    return {f"{name}{number}": np.asarray(o[name]) for number, o in enumerate(outputs) for name in ("scores", "loss")}
"""

ON_TWO = """
import sys

import numpy as np
import tensorflow as tf

host = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(host, [tf.config.LogicalDeviceConfiguration()] * 2)

from several_project import KEYS, Net, train

model = Net(None, "two", "one/model_best", **KEYS, n_gpus=2)
np.savez("two.npz", **train(model))
nodes = [n for f in model._parts.graphs["train"].function.graph.as_graph_def().library.function for n in f.node_def]
assert {"/device:CPU:0", "/device:CPU:1"} <= {node.device for node in nodes if node.op == "MatMul"}
model.save("best")
keys = {**KEYS, "weights": None, "tells_mean": True}
np.savez("means.npz", **train(Net(None, None, "one/model_best", **keys, n_gpus=2)))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The model, in a module that both processes import."""
    (tmp_path / "several_project.py").write_text(PROJECT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import several_project  # noqa: PLC0415 - it was just written

    return several_project


@pytest.mark.slow
def test_two_devices_learn_what_one_learns_and_restore_each_others_models(project, processes, tmp_path):
    """From the same state, over batches of any size, to rounding; with weights, several batches a step and clipping."""
    with use_seed(3):
        one = project.Net(None, "one", **project.KEYS)
    project.train(one)
    one.save("best")
    means = project.Net(None, None, "one/model_best", **project.KEYS | {"weights": None, "tells_mean": True})
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = processes.run([sys.executable, "-c", ON_TWO], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected, found = project.train(one), np.load("two.npz")

    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=name)
    found = np.load("means.npz")
    for name, values in project.train(means).items():
        np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=f"{name}, of a loss that is a mean")

    further = project.train(one)
    for again in (
        project.Net(None, "again", "two/model_best", **project.KEYS),
        emloop_tensorflow.BaseModel(None, "again", "two/model_best", **project.KEYS),
    ):
        for name, values in project.train(again).items():
            np.testing.assert_allclose(further[name], values, atol=5e-5, err_msg=name)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"n_gpus": 64}, r"n_gpus: 64 devices are asked for; TensorFlow sees 1 CPUs here"),
        ({"n_gpus": 2, "monitor": "Dense"}, r"monitor: this is for one device, and n_gpus is 2"),
        ({"n_gpus": 0}, r"n_gpus: expected"),
    ],
)
def test_what_cannot_be_shared_is_said_at_once(project, keys, told):
    """Before anything is computed."""
    with pytest.raises(ConfigError, match=told):
        project.Net(None, None, **project.KEYS, **keys)
