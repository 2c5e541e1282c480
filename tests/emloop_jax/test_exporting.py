"""What is exported for other runtimes does what the model does."""

from __future__ import annotations

import numpy as np
import pytest

from emloop.api import create_model
from emloop.errors import ConfigError, SaveError
from emloop.saved_models import class_of_export, find_saved

jax = pytest.importorskip("jax")
jnp = jax.numpy
nn = pytest.importorskip("flax.linen")

import emloop_jax  # noqa: E402 - without JAX there is nothing to import

NAMES = {"inputs": ["x", "mask", "y"], "outputs": ["loss"]}


def batch(size, length=5):
    """Sequences of any length, with a mask."""
    x = np.random.default_rng(size).normal(size=(size, length, 2))
    return {"x": x, "mask": np.ones((size, length)), "y": np.arange(size)}


class Net(nn.Module):
    """Whatever behaves otherwise in training."""

    @nn.compact
    def __call__(self, x, mask, train):
        hidden = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x)))
        hidden = nn.Dropout(0.5, deterministic=not train)(hidden) * mask[..., None]
        return nn.Dense(3)(hidden.sum(1) / mask.sum(1, keepdims=True))


class Sequences(emloop_jax.BaseModel):
    """Outputs with labels and without; one of them has no value for every example."""

    def create_model(self):
        return Net()

    def outputs(self, results, batch):
        loss = (results.sum(1) - batch["y"]) ** 2
        return {"loss": loss, "scores": results, "guess": results.argmax(1), "mean": results.mean()}


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def model(request, tmp_path_factory):
    """One that has been trained a little."""
    directory = tmp_path_factory.mktemp("run")
    made = Sequences(None, str(directory), **NAMES, precision=request.param)
    made.run(batch(4), train=True)
    return made


@pytest.mark.parametrize(
    ("to", "package"), [("saved_model", "tensorflow"), pytest.param("onnx", "jax2onnx", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_exported_says_what_the_model_says(to, package, model, tmp_path):
    """For any size that its batches and its training have shown; in full precision."""
    pytest.importorskip(package)
    batches = [batch(4), batch(2), batch(1), batch(2, 7)]
    expected = model.export(to, str(tmp_path / "there"), batches)
    exported = create_model(
        {"model": {"class": class_of_export(tmp_path / "there")}}, None, None, restore_from=str(tmp_path / "there")
    )
    manifest = find_saved(tmp_path / "there").manifest

    assert manifest["inputs"]["x"] == {"dtype": "float32", "shape": [None, None, 2]}
    assert manifest["outputs"]["scores"] == {"dtype": "float32", "shape": [None, 3]}
    for each, wanted in zip(batches, expected, strict=True):
        found = exported.run({"x": each["x"], "mask": each["mask"]}, train=False)
        assert {*found} == {"scores", "guess"}
        np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-5)
        assert np.array_equal(found["guess"], wanted["guess"])


def test_without_its_source_a_model_is_exported_by_its_program(model, tmp_path):
    """As a SavedModel; jax2onnx takes no programs, which is said before anything is to be installed."""
    restored = emloop_jax.BaseModel(None, None, model.save("one"), **NAMES)

    with pytest.raises(SaveError, match=r"source is needed for ONNX.*--to saved_model"):
        restored.export("onnx", str(tmp_path / "onnx"), [batch(4)])
    pytest.importorskip("tensorflow")
    expected = restored.export("saved_model", str(tmp_path / "there"), [batch(4), batch(1)])
    exported = create_model(
        {"model": {"class": class_of_export(tmp_path / "there")}}, None, None, restore_from=str(tmp_path / "there")
    )
    np.testing.assert_allclose(exported.run(batch(4), train=False)["scores"], expected[0]["scores"], atol=1e-5)


def test_what_is_not_known_is_not_exported(tmp_path):
    """Before its first batch, nobody knows what a model gives."""
    with pytest.raises(ConfigError, match="has to see a batch first"):
        Sequences(None, None, **NAMES).export("saved_model", str(tmp_path / "there"), [batch(4)])
