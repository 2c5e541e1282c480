"""Trees are restored where their numbers lead nowhere but into their own tables."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import emloop_sklearn
from emloop.errors import StateError, UntrustedError
from emloop_sklearn._archives.archive import dump, load, untrusted_types

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)

TREE = "sklearn.tree._tree.Tree"
PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(random_state=0),
        DecisionTreeRegressor(max_leaf_nodes=7, random_state=0),
        RandomForestClassifier(3, random_state=0),
        ExtraTreesClassifier(3, random_state=0),
        BaggingRegressor(n_estimators=3, max_features=2, random_state=0),
        AdaBoostClassifier(n_estimators=3, random_state=0),
        IsolationForest(n_estimators=3, random_state=0),
        GradientBoostingClassifier(n_estimators=3, random_state=0),
        GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
        GradientBoostingRegressor(n_estimators=3, random_state=0),
        HistGradientBoostingClassifier(max_iter=3, random_state=0),
        HistGradientBoostingRegressor(max_iter=3, random_state=0),
        make_pipeline(PolynomialFeatures(2), DecisionTreeClassifier(random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_scikit_learn_has_grown_is_restored(estimator):
    """It predicts as before, to the bit."""
    estimator.fit(X, Y)

    np.testing.assert_array_equal(load(dump(estimator)).predict(X), estimator.predict(X))


def forged(estimator, cls, change=None, **attributes):
    """The estimator's archive with the table of nodes of its first tree, or with attributes, changed."""
    archive = dump(estimator)
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    schema = json.loads(contents["schema.json"])
    tree = next(node for node in walk(schema) if node.get("__class__") == cls)
    described = tree["content"]["content"]
    if change is not None:
        nodes = np.load(io.BytesIO(contents[described["nodes"]["file"]]))
        change(nodes)
        buffer = io.BytesIO()
        np.save(buffer, nodes)
        contents["forged.npy"] = buffer.getvalue()
        described["nodes"]["file"] = "forged.npy"
    for name, value in attributes.items():
        for node in walk(schema):
            if isinstance(node.get("content"), dict) and name in node["content"]:
                if value is None:
                    del node["content"][name]
                else:
                    node["content"][name]["content"] = value
    contents["schema.json"] = json.dumps(schema).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return buffer.getvalue()


def walk(value):
    if isinstance(value, dict):
        yield value
        value = value.values()
    if not isinstance(value, (str, int, float, type(None))):
        for child in value:
            yield from walk(child)


def put(name, value, index=0):
    def change(nodes):
        nodes[name][index] = value

    return change


@pytest.mark.parametrize(
    "forgery",
    [
        pytest.param({"change": put("left_child", 10**6)}, id="child-outside"),
        pytest.param({"change": put("left_child", -5)}, id="child-before-the-table"),
        pytest.param({"change": put("right_child", 0)}, id="circle"),
        pytest.param({"change": put("right_child", 1)}, id="child-of-two"),
        pytest.param({"change": put("feature", 4)}, id="feature-outside"),
        pytest.param({"change": put("feature", -3)}, id="feature-before-the-data"),
        pytest.param({"max_depth": "0"}, id="deeper-than-it-says"),
        pytest.param({"node_count": "100000"}, id="more-nodes-than-there-are"),
        pytest.param({"n_features_in_": "1"}, id="data-with-fewer-features"),
        pytest.param({"n_features_in_": None}, id="data-with-any-features"),
    ],
)
@pytest.mark.parametrize("estimator", [DecisionTreeClassifier(), RandomForestClassifier(2)])
def test_a_forged_tree_is_not_trusted(estimator, forgery):
    """scikit-learn would read, or write, memory that is not its own."""
    archive = forged(estimator.fit(X, Y), "Tree", **forgery)

    assert untrusted_types(archive) == [TREE]
    with pytest.raises(UntrustedError, match=TREE):
        load(archive)


@pytest.mark.parametrize(
    "forgery",
    [
        pytest.param({"change": put("left", 10**6)}, id="child-outside"),
        pytest.param({"change": put("right", 0)}, id="circle"),
        pytest.param({"change": put("feature_idx", 4)}, id="feature-outside"),
        pytest.param({"change": put("is_categorical", 1)}, id="further-tables"),
        pytest.param({"_n_features": "1"}, id="data-with-fewer-features"),
    ],
)
def test_a_forged_predictor_is_not_trusted(forgery):
    """As a tree."""
    boosting = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2).fit(X, Y)

    assert untrusted_types(forged(boosting, "TreePredictor", **forgery)) == [PREDICTOR]


@pytest.mark.parametrize(
    "forgery",
    [
        pytest.param({"n_outputs_": "2"}, id="guess-of-two-outputs"),
        pytest.param({"_strategy": '"stratified"'}, id="guess-of-another-kind"),
        pytest.param({"n_features_in_": "1"}, id="data-with-fewer-features"),
        pytest.param({"change": put("left_child", 10**6)}, id="child-outside"),
    ],
)
def test_a_forged_boosting_is_not_trusted(forgery):
    """It would write where its first guess has no column."""
    boosting = GradientBoostingClassifier(n_estimators=2).fit(X, np.arange(len(X)) % 3)

    assert untrusted_types(forged(boosting, "Tree", **forgery)) == [TREE]


class Boosted(emloop_sklearn.BaseModel):
    """Fits whatever it is told to anew to every batch."""

    made = None

    def create_model(self):
        return type(self).made()

    def fit_batch(self, estimator, features, labels):
        estimator.fit(features, labels)


@pytest.fixture
def boosted(create, tmp_path):
    """A model of an estimator that has seen all data as one batch."""

    def make(estimator, **config):
        cls = type("Boosted", (Boosted,), {"made": staticmethod(estimator)})
        model = create(cls, outputs=["predictions"], inputs=["x", "y"], classes=2, **config)
        model.run({"x": X, "y": Y}, train=True)
        return cls, model

    return make


def test_a_boosting_that_was_saved_is_restored(create, boosted):
    """What its own advice, to override fit_batch, leads to."""
    cls, model = boosted(lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0))
    restored = create(cls, outputs=["predictions"], inputs=["x", "y"], classes=2, restore_from=model.save("best"))

    np.testing.assert_array_equal(
        restored.run({"x": X, "y": Y}, train=False)["predictions"],
        model.run({"x": X, "y": Y}, train=False)["predictions"],
    )


def test_what_could_not_be_restored_is_not_saved(create, boosted):
    """The first save says so, and how it would be; a commit does, too."""
    _, model = boosted(lambda: GradientBoostingClassifier(n_estimators=3, init=GaussianNB()))
    for store in (lambda: model.save("best"), model.state_dict):
        with pytest.raises(
            StateError,
            match=r"GradientBoostingClassifier could be saved but not restored, since sklearn.tree._tree.Tree is not "
            r"trusted by default; if you trust what it holds: trusted_types: \[sklearn.tree._tree.Tree\]",
        ):
            store()

    cls, trusting = boosted(lambda: GradientBoostingClassifier(n_estimators=3, init=GaussianNB()), trusted_types=[TREE])
    path = trusting.save("best")
    settings = {"outputs": ["predictions"], "inputs": ["x", "y"], "classes": 2, "trusted_types": [TREE]}
    assert create(cls, restore_from=path, **settings).run({"x": X, "y": Y}, train=False)
