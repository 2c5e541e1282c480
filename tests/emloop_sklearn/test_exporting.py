"""An exported estimator says in ONNX Runtime what it says itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import emloop
from emloop.api import create_emloop_training
from emloop.cli.app import main
from emloop.errors import SaveError
from emloop_sklearn._onnx import export

pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")

DATA = """
import numpy as np

import emloop as el


class Data(el.BaseDataset):
    def _configure_dataset(self, dtype="float32", **kwargs):
        self.images = np.random.default_rng(0).integers(0, 9, (96, 2, 3)).astype(dtype)
        self.labels = (self.images.sum(axis=(1, 2)) > 24).astype(np.int64)

    def train_stream(self):
        for start in range(0, 96, 16):
            part = slice(start, start + 16)
            yield {"images": self.images[part], "labels": self.labels[part]}

    test_stream = train_stream
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A directory with a dataset, which can be imported from it."""
    directory = tmp_path_factory.mktemp("project")
    (directory / "exported_data.py").write_text(DATA)
    sys.path.insert(0, str(directory))
    yield directory
    sys.path.remove(str(directory))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize(
    ("estimator", "outputs"),
    [
        pytest.param({"class": "sklearn.naive_bayes.GaussianNB"}, ["predictions", "probabilities"], id="bayes"),
        pytest.param(
            {"class": "sklearn.neural_network.MLPClassifier", "hidden_layer_sizes": [8]},
            ["predictions", "probabilities"],
            id="network",
        ),
        pytest.param({"class": "sklearn.linear_model.SGDClassifier"}, ["predictions"], id="no-probabilities"),
        pytest.param({"class": "sklearn.linear_model.SGDRegressor", "eta0": 1e-4}, ["predictions"], id="regressor"),
        pytest.param({"class": "sklearn.decomposition.IncrementalPCA", "n_components": 2}, ["transformed"], id="pca"),
    ],
)
def test_what_was_exported_predicts_as_the_estimator(project, tmp_path, monkeypatch, dtype, estimator, outputs):
    """Of features of any shape; the command itself has compared the two, too. It is evaluated without overrides."""
    monkeypatch.chdir(tmp_path)
    learns = outputs[0] == "predictions"
    config = {
        "dataset": {"class": "exported_data.Data", "dtype": dtype},
        "model": {
            "class": "emloop_sklearn.BaseModel",
            "name": "exported",
            "estimator": estimator,
            "inputs": ["images", "labels"] if learns else ["images"],
            "outputs": [*outputs, "loss"] if "probabilities" in outputs or "Regressor" in str(estimator) else outputs,
            **({"classes": 2} if "Classifier" in str(estimator) or "NB" in str(estimator) else {}),
        },
        "hooks": ["SaveLatest"],
        "main_loop": {"seed": 5, "epochs_count": 2, "extra_streams": [], "on_unused_sources": "ignore"},
    }
    training = create_emloop_training(config, tmp_path / "log", output_dir_name="run")
    training.main_loop.run_training()

    assert main(["export", "log/run", "--to", "onnx"]) == 0

    images = np.random.default_rng(1).integers(0, 9, (7, 2, 3)).astype(dtype)
    expected = emloop.load("log/run").predict({"images": images})
    predictor = emloop.load("log/run/onnx_latest")
    found = predictor.predict({"images": images})
    assert list(found) == outputs
    for name in outputs:
        assert found[name].shape == expected[name].shape
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert main(["eval", "test", "log/run/onnx_latest"]) == 0


@pytest.mark.parametrize("name", ["lightgbm.LGBMClassifier", "xgboost.XGBClassifier"])
def test_a_booster_is_refused_with_what_to_do_instead(name, tmp_path):
    """Of what no converter of scikit-learn knows, nothing is written."""
    library, _, cls = name.partition(".")
    estimator = getattr(pytest.importorskip(library), cls)(n_estimators=2)
    x = np.random.default_rng(0).normal(size=(60, 4))
    estimator.fit(x, (x[:, 0] > 0).astype(int))

    with pytest.raises(SaveError, match=rf"^{cls} cannot be converted by skl2onnx: .*; ship the saved model"):
        export(estimator, str(tmp_path / "exported"), "features", [x])
    assert not (tmp_path / "exported").exists()
