"""How much each feature counts, by the names that the estimator's features have."""

from __future__ import annotations

import re
import signal

import numpy as np
import pytest

from emloop.errors import ConfigError
from emloop_sklearn._fitting import last_step

SCALER = {"class": "sklearn.preprocessing.StandardScaler"}
LOGISTIC = {"class": "sklearn.linear_model.LogisticRegression"}
COLUMNS = {"inputs": [], "features": ["age", "city", "job"], "labels": "bought", "classes": ["no", "yes"]}
PIPELINE = {
    "class": "sklearn.pipeline.Pipeline",
    "steps": [
        [
            "columns",
            {
                "class": "sklearn.compose.ColumnTransformer",
                "transformers": [
                    ["text", {"class": "sklearn.preprocessing.OneHotEncoder"}, ["city"]],
                    ["numbers", SCALER, ["job", "age"]],
                ],
            },
        ],
        ["fit", LOGISTIC],
    ],
}


@pytest.fixture
def people():
    """Two batches of a table with text."""
    rng = np.random.default_rng(1)
    batches = []
    for _ in range(2):
        columns = {"age": rng.normal(size=40), "city": rng.choice(["Oslo", "Rome"], 40), "job": rng.integers(0, 5, 40)}
        bought = np.where(columns["age"] + (columns["city"] == "Rome") > 0.5, "yes", "no")
        batches.append({**columns, "bought": bought})
    return batches


def trained(model, batches, epochs=1):
    for _ in range(epochs):
        for batch in batches:
            model.run(batch, train=True)
        model.end_epoch()
    return model


@pytest.mark.parametrize("name", ["lightgbm.LGBMClassifier", "xgboost.XGBClassifier"])
def test_a_booster_says_what_counts_in_all_of_its_rounds(create, people, name, tmp_path):
    """By the names of its columns, in every epoch anew, and the same when it is restored."""
    pytest.importorskip(name.partition(".")[0])
    estimator = {"class": name, "n_jobs": 1, "min_child_weight": 1e-3}
    estimator |= {"enable_categorical": True} if name.startswith("xgboost") else {"min_child_samples": 2}
    model = create(estimator=estimator, rounds_per_epoch=2, **COLUMNS)
    assert model.importances() == {}
    trained(model, people, epochs=3)
    found = model.importances()

    assert list(found) == ["age", "city", "job"]
    assert list(found.values()) == model._estimator.feature_importances_.tolist()
    assert found["age"] > 0
    assert create(restore_from=model.save("kept"), **COLUMNS).importances() == found


def test_a_forest_numbers_the_features_of_an_array(create, batches):
    """As they lie in it, flattened; unless the dataset names them."""
    estimator = {"class": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 3, "random_state": 0}
    model = trained(create(estimator=estimator), batches)
    own = model._estimator.feature_importances_.tolist()

    assert model.importances() == dict(zip([f"images[{number}]" for number in range(8)], own, strict=True))
    assert sum(own) == pytest.approx(1)

    class Named:
        def feature_names(self):
            return list("abcdefgh")

    model.dataset = Named()
    assert model.importances() == dict(zip("abcdefgh", own, strict=True))


def test_coefficients_of_two_classes_keep_their_signs(create, people):
    """In a pipeline, the names are those that the steps before the last one give."""
    found = trained(create(estimator=PIPELINE, **COLUMNS), people)
    names = ["text__city_Oslo", "text__city_Rome", "numbers__job", "numbers__age"]

    assert found.importances() == dict(zip(names, last_step(found._estimator).coef_[0].tolist(), strict=True))
    assert found.importances()["text__city_Oslo"] < 0


def test_coefficients_of_several_classes_are_added_by_their_size(create, batches, sgd):
    """For an estimator that learns from every batch as well, after each of them."""
    model = create(estimator={"class": "sklearn.pipeline.Pipeline", "steps": [["scale", SCALER], ["fit", sgd]]})
    model.run(batches[0], train=True)
    sizes = np.abs(last_step(model._estimator).coef_).sum(axis=0)

    assert list(model.importances()) == [f"images[{number}]" for number in range(8)]
    assert list(model.importances().values()) == sizes.tolist()


def test_features_that_no_step_names_are_numbered(create, batches):
    """By the step that made them."""
    silent = {"class": "sklearn.preprocessing.FunctionTransformer"}
    steps = [["same", silent], ["fit", LOGISTIC]]
    model = trained(create(estimator={"class": "sklearn.pipeline.Pipeline", "steps": steps}), batches)

    assert list(model.importances()) == [f"same[{number}]" for number in range(8)]


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("sklearn.ensemble.HistGradientBoostingClassifier", "classes_, .*n_iter_"),
        ("sklearn.neighbors.KNeighborsClassifier", "classes_, .*n_samples_fit_"),
        ("sklearn.neural_network.MLPClassifier", "classes_, .*coefs_"),
    ],
)
def test_an_estimator_without_any_says_so_before_it_has_learned(create, name, has):
    """One line, and what it has instead."""
    with pytest.raises(ConfigError) as caught:
        create(estimator={"class": name}).importances()

    said = str(caught.value)
    assert f"{name.rpartition('.')[2]} has no importances of features, neither feature_importances_ nor coef_" in said
    assert re.search(f"it has: {has}", said)


def test_one_that_only_then_turns_out_to_have_none_says_so_then(create, batches):
    """A support vector machine has coefficients if its kernel is linear."""
    model = create(estimator={"class": "sklearn.svm.SVC"})
    assert model.importances() == {}
    trained(model, batches)

    with pytest.raises(ConfigError, match=r"SVC has no importances of features, .*\n.*it has: .*support_"):
        model.importances()


CONFIG = """
dataset: {class: Arrays, path: {train: data.npz}, batch_size: 16, shuffle: false}
model:
  class: emloop_sklearn.BaseModel
  name: forest
  estimator: {class: sklearn.ensemble.RandomForestClassifier}
  rounds_per_epoch: 2
  inputs: [x, y]
  outputs: [predictions]
  classes: 2
hooks:
  - PlotImportances: {top: 3, n_epochs: 1}
  - kill.Kill
main_loop: {seed: 1, epochs_count: 3, commit: {every: 1ep}}
"""
KILL = """
import os
import signal
import emloop as el

class Kill(el.AbstractHook):
    stateless = True

    def after_epoch(self, epoch_id, epoch_data):
        if os.path.exists("kill") and epoch_id == 2:
            os.remove("kill")
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_pictures_and_tables_are_the_same_after_a_kill(tmp_path, emloop_in):
    """The run that was killed in its second epoch ends with the files of one that was not, byte for byte."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4))
    np.savez(tmp_path / "data.npz", x=x, y=(x[:, 2] > 0).astype(int))
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "kill.py").write_text(KILL)
    emloop = emloop_in(tmp_path)
    emloop("train", "config.yaml", "--output_dir", "untouched")
    (tmp_path / "kill").touch()
    emloop("train", "config.yaml", "--output_dir", "killed", expect=-signal.SIGKILL)
    emloop("resume", "killed")

    runs = [tmp_path / "log" / name for name in ("untouched", "killed")]
    ours, theirs = ({path.name: path.read_bytes() for path in run.glob("importances*")} for run in runs)
    names = ["importances", *(f"importances_epoch_{epoch}" for epoch in (1, 2, 3))]
    assert sorted(ours) == sorted(f"{name}.{kind}" for name in names for kind in ("csv", "png"))
    assert ours == theirs
    assert ours["importances.csv"].splitlines()[1].startswith(b"x[2],")
