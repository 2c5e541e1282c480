"""Estimators that learn from all batches of an epoch together: in one go, or round by round."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from emloop._state.tree import equal_trees
from emloop.errors import BatchError, ConfigError, StateError
from emloop.saved_models import Described, find_saved, fitted
from emloop_sklearn._archives.archive import dump, load, untrusted_types
from emloop_sklearn._boosting.libraries import read, written

lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")

RNG = np.random.default_rng(0)
N = 240
AGE = np.where(RNG.random(N) < 0.1, np.nan, RNG.normal(size=N))
CITY = RNG.choice(["Oslo", "Rome", "Köln"], N)
JOB = RNG.integers(0, 5, N)
BOUGHT = np.where(np.nan_to_num(AGE) + (CITY == "Rome") + JOB / 4 + RNG.normal(size=N) > 1, "yes", "no")
COLUMNS = {"age": AGE, "city": CITY, "job": JOB}
PLAIN = {"outputs": ["predictions", "probabilities", "loss", "accuracy"], "classes": ["no", "yes"]}
TABLE = PLAIN | {"inputs": [], "features": ["age", "city", "job"], "labels": "bought"}

HGB = {"class": "sklearn.ensemble.HistGradientBoostingClassifier", "max_features": 0.7, "random_state": 3}
LGBM = {"class": "lightgbm.LGBMClassifier", "subsample": 0.7, "subsample_freq": 1, "n_jobs": 1, "random_state": 3}
XGB = {
    "class": "xgboost.XGBClassifier",
    "subsample": 0.7,
    "enable_categorical": True,
    "n_jobs": 1,
    "random_state": 3,
}
EXACT = {"updater": "coord_descent", "feature_selector": "cyclic"}
FOREST = {"class": "sklearn.ensemble.ExtraTreesClassifier", "max_depth": 3, "random_state": 3}
BOOSTING = {"class": "sklearn.ensemble.GradientBoostingClassifier", "subsample": 0.7, "random_state": 3}


def piped(estimator):
    encoder = {"class": "sklearn.preprocessing.OneHotEncoder", "handle_unknown": "ignore"}
    columns = [["text", encoder, ["city"]], ["numbers", {"class": "sklearn.impute.SimpleImputer"}, ["age", "job"]]]
    before = {"class": "sklearn.compose.ColumnTransformer", "transformers": columns}
    return {"class": "sklearn.pipeline.Pipeline", "steps": [["before", before], ["fit", estimator]]}


ESTIMATORS = {
    "hist-boosting": HGB,
    "lightgbm": LGBM,
    "xgboost": XGB,
    "pipeline-hist-boosting": piped(HGB),
    "pipeline-lightgbm": piped(LGBM),
    "pipeline-xgboost": piped(XGB),
    "pipeline-xgboost-linear": piped({"class": XGB["class"], "booster": "gblinear", "n_jobs": 1, **EXACT}),
    "pipeline-forest": piped(FOREST),
    "pipeline-boosting": piped(BOOSTING),
}


def cut(columns, size=70):
    return [{name: values[at : at + size] for name, values in columns.items()} for at in range(0, N, size)]


def an_epoch(model, columns=COLUMNS | {"bought": BOUGHT}):
    outputs = [model.run(batch, train=True) for batch in cut(columns)]
    model.end_epoch()
    return outputs


def with_few_trees(estimator):
    """The estimator with six rounds in one go."""
    if "steps" in estimator:
        (_, before), (name, last) = estimator["steps"]
        return {**estimator, "steps": [["before", before], [name, with_few_trees(last)]]}
    return {**estimator, "max_iter" if "Hist" in estimator["class"] else "n_estimators": 6}


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("rounds", [2, None], ids=["in-rounds", "in-one-go"])
def test_training_goes_on_from_every_epoch_as_if_nothing_had_happened(create, estimator, rounds):
    """Its state after each epoch is enough for the rest, to the bit; so is its saved model for predicting."""
    config = {"estimator": estimator if rounds else with_few_trees(estimator), "rounds_per_epoch": rounds, **TABLE}
    untouched, states = create(**config), []
    for _ in range(3):
        states.append(untouched.state_dict())
        an_epoch(untouched)
    for done, state in enumerate(states):
        resumed = create(**config)
        resumed.load_state_dict(state)
        for _ in range(done, 3):
            an_epoch(resumed)
        assert equal_trees(resumed.state_dict(), untouched.state_dict())

    expected = untouched.run(COLUMNS | {"bought": BOUGHT}, train=False)
    restored = create(**config, restore_from=untouched.save("best"))
    assert equal_trees(restored.predict(COLUMNS), {name: expected[name] for name in ("predictions", "probabilities")})
    assert expected["accuracy"].mean() > 0.6


def test_a_booster_of_an_epoch_is_that_of_its_library(create):
    """The first rounds are those of a plain fit of the same table."""
    table = pd.DataFrame(COLUMNS | {"city": pd.Categorical(CITY)})
    model = create(estimator={**LGBM, "subsample": 1.0}, rounds_per_epoch=4, **TABLE)
    an_epoch(model)
    plain = lightgbm.LGBMClassifier(
        n_estimators=4, subsample_freq=1, n_jobs=1, random_state=3, deterministic=True, force_col_wise=True, verbose=-1
    )
    expected = plain.fit(table, BOUGHT).predict_proba(table)
    np.testing.assert_array_equal(model.predict(COLUMNS)["probabilities"], expected)

    histograms = create(estimator={**HGB, "max_features": 1.0}, rounds_per_epoch=3, **TABLE)
    for _ in range(2):
        an_epoch(histograms)
    once = HistGradientBoostingClassifier(max_iter=6, random_state=3).fit(table, BOUGHT)
    np.testing.assert_array_equal(histograms.predict(COLUMNS)["probabilities"], once.predict_proba(table))


def test_what_a_batch_is_is_answered_before_it_is_learned_from(create):
    """In the first epoch it guesses; afterwards it says what the last epoch has taught it, evaluations included."""
    model = create(estimator=LGBM, rounds_per_epoch=5, **TABLE)
    first = an_epoch(model)
    np.testing.assert_allclose(np.concatenate([batch["loss"] for batch in first]), np.log(2))
    evaluated = model.run(COLUMNS | {"bought": BOUGHT}, train=False)["loss"]
    second = an_epoch(model)
    np.testing.assert_array_equal(np.concatenate([batch["loss"] for batch in second]), evaluated)


def test_weights_are_those_of_the_library(create):
    """The weight of the loss is the sample weight of the last step."""
    weight = RNG.random(N)
    model = create(estimator=piped(FOREST), weights={"loss": "weight"}, **TABLE)
    an_epoch(model, COLUMNS | {"bought": BOUGHT, "weight": weight})
    pipeline = create(estimator=piped(FOREST), **TABLE)._estimator
    features = pipeline[0].fit_transform(pd.DataFrame(COLUMNS))
    expected = ExtraTreesClassifier(max_depth=3, random_state=3).fit(features, BOUGHT, weight).predict_proba(features)
    np.testing.assert_array_equal(model.predict(COLUMNS)["probabilities"], expected)


@pytest.mark.parametrize("estimator", [HGB, LGBM, XGB], ids=["hist-boosting", "lightgbm", "xgboost"])
def test_what_was_not_seen_counts_as_missing(create, estimator):
    """A category of later batches is none of the training; a class without an example has probability 0."""
    model = create(estimator=estimator, rounds_per_epoch=3, **(TABLE | {"classes": ["maybe", "no", "yes"]}))
    an_epoch(model)
    odd, missing = (model.predict(COLUMNS | {"city": [city] * N}) for city in ("Atlantis", None))

    np.testing.assert_array_equal(odd["probabilities"], missing["probabilities"])
    np.testing.assert_array_equal(odd["probabilities"][:, 0], 0)
    assert set(odd["predictions"]) <= {"no", "yes"}


def test_numbers_may_be_categories(create):
    """Only those that are named, then."""
    model = create(estimator=LGBM, rounds_per_epoch=2, **(TABLE | {"features": ["age", "job"], "categories": ["job"]}))
    an_epoch(model)
    assert model._estimator.booster_.pandas_categorical == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param(
            {"age": ["old"] * N}, r"column 'age': expected numbers, as it was trained with, got 'old'", id="kind"
        ),
        pytest.param(
            {"city": ["Oslo", 3] * (N // 2)}, r"column 'city' mixes text and other things: 'Oslo' and 3", id="mixed"
        ),
        pytest.param({"age": np.ones((N, 2))}, r"column 'age': expected one value for every example, got", id="matrix"),
        pytest.param({"age": np.full(N, np.datetime64("now"))}, r"column 'age': expected numbers or text", id="dates"),
    ],
)
def test_a_column_that_does_not_fit_is_named(create, columns, message):
    """With what it holds."""
    model = create(estimator=LGBM, rounds_per_epoch=1, **TABLE)
    an_epoch(model)
    with pytest.raises(BatchError, match=message):
        model.predict(COLUMNS | columns)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        pytest.param(
            np.full(N, "no"), "LGBMClassifier needs examples of two classes at least, there is only no", id="one"
        ),
        pytest.param(np.full(N, "maybe"), "labels: maybe is none of the 2 classes no, yes", id="unknown"),
    ],
)
def test_labels_that_teach_nothing_are_named(create, labels, message):
    """Before the library says it in its own words, or learns nonsense."""
    model = create(estimator=LGBM, rounds_per_epoch=1, **(TABLE | {"outputs": ["predictions"]}))
    with pytest.raises(BatchError, match=message):
        an_epoch(model, COLUMNS | {"bought": labels})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {"estimator": {**LGBM, "n_estimators": 500}}, "n_estimators=500 of LGBMClassifier has no effect", id="count"
        ),
        pytest.param(
            {"estimator": {**HGB, "early_stopping": True}}, "early_stopping of .* would stop within", id="stop"
        ),
        pytest.param(
            {"estimator": {"class": "sklearn.neighbors.KNeighborsClassifier"}},
            "KNeighborsClassifier does not learn in rounds",
            id="no-rounds",
        ),
        pytest.param({"labels": "age"}, "labels: 'age' is among the features", id="labels"),
        pytest.param(
            {"categories": ["town"]}, "categories: 'town' is none of the features age, city, job", id="category"
        ),
        pytest.param(
            {"inputs": ["x", "y"]}, "inputs: expected either inputs, or features and labels, got both", id="both"
        ),
    ],
)
def test_what_cannot_be_is_said_at_once(create, config, message):
    """Before the first batch."""
    with pytest.raises(ConfigError, match=message):
        create(**({"estimator": LGBM, "rounds_per_epoch": 2} | TABLE | config))


def test_a_second_epoch_of_what_learns_in_one_go_changes_nothing(create, caplog):
    """And is said to, once."""
    model = create(estimator=piped(FOREST), **TABLE)
    an_epoch(model)
    before = model.state_dict()["estimator"]
    an_epoch(model)
    an_epoch(model)

    assert model.state_dict()["estimator"] == before
    told = "ExtraTreesClassifier has learned all in its first epoch; more change nothing: main_loop.epochs_count=1"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [told]


def test_a_state_is_not_taken_while_batches_are_gathered(create):
    """It would lack them."""
    model = create(estimator=LGBM, rounds_per_epoch=1, **TABLE)
    assert model.can_stop_here
    model.run(cut(COLUMNS | {"bought": BOUGHT})[0], train=True)
    assert not model.can_stop_here
    with pytest.raises(StateError, match="learns at the end of the epoch"):
        model.state_dict()


def test_a_learning_rate_may_change_from_epoch_to_epoch(create):
    """Trees keep that with which they have grown."""
    model = create(estimator={**LGBM, "learning_rate": 0.5}, rounds_per_epoch=2, **TABLE)
    assert model.get_variable("learning_rate") == 0.5
    an_epoch(model)
    before = model.predict(COLUMNS)["probabilities"]
    model.set_variable("learning_rate", 1e-12)
    an_epoch(model)
    np.testing.assert_allclose(model.predict(COLUMNS)["probabilities"], before, atol=1e-9)


FITTED = {
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=2, n_jobs=1, enable_categorical=True),
}


@pytest.fixture(params=FITTED)
def boosted(request):
    """A fitted booster of each library, with numbers and categories, as it is written."""
    table = pd.DataFrame(COLUMNS | {"city": pd.Categorical(CITY)})
    return written(FITTED[request.param]().fit(table, (BOUGHT == "yes").astype(int)))


FORGERIES = {
    "lightgbm": [
        ("left_child=", "left_child=7"),
        ("split_feature=", "split_feature=9"),
        ("num_class=1", "num_class=9"),
        ("objective=binary", "objective=multiclass num_class:99"),
        ("tree_sizes=", "tree_sizes=9"),
        ("cat_boundaries=0 ", "cat_boundaries=0 9"),
        ("num_leaves=", "num_leaves=9"),
        ("max_feature_idx=2", "max_feature_idx=1"),
    ],
    "xgboost": [
        ('"left_children":[1,', '"left_children":[999,'),
        ('"left_children":[1,', '"left_children":[0,'),
        ('"split_indices":[', '"split_indices":[7,'),
        ('"num_feature":"3"', '"num_feature":"1"'),
        ('"num_class":"0"', '"num_class":"-5"'),
        ('"categories_segments":[', '"categories_segments":[99,'),
        ('"sorted_idx":[', '"sorted_idx":[99,'),
        ('"num_trees":"2"', '"num_trees":"200"'),
    ],
}


def test_a_forged_booster_is_refused(boosted):
    """The libraries would read memory that is not theirs."""
    library = json.loads(boosted)["class"].partition(".")[0]
    assert written(read(boosted)) == boosted
    for forgery in FORGERIES[library]:
        before, after = (json.dumps(text)[1:-1].encode() for text in forgery)
        assert before in boosted, before
        with pytest.raises(StateError, match="the booster cannot be read"):
            read(boosted.replace(before, after, 1))


def test_a_forged_linear_booster_is_refused():
    """It has no trees, but a weight for every feature and class."""
    fitted = xgboost.XGBClassifier(booster="gblinear", n_estimators=2, n_jobs=1)
    whole = written(fitted.fit(np.nan_to_num(AGE)[:, None], (BOUGHT == "yes").astype(int)))
    assert written(read(whole)) == whole
    size, more = (json.dumps(f'"num_feature":"{number}"')[1:-1].encode() for number in (1, 9))
    assert size in whole
    with pytest.raises(StateError, match="its weights of features cannot be those of a booster"):
        read(whole.replace(size, more, 1))


def test_only_the_libraries_own_classes_are_made(boosted):
    """Whatever a file says."""
    with pytest.raises(StateError, match=r"os\.system. is no known class"):
        read(boosted.replace(json.loads(boosted)["class"].encode(), b"os.system"))


def test_equal_trees_have_equal_bytes():
    """Their tables hold what was in memory before, in gaps and in leaves."""
    features, archives = np.nan_to_num(AGE)[:, None], set()
    for size in range(4):
        noise = [RNG.random(100 + size) for _ in range(50)]
        del noise
        archives.add(dump(ExtraTreesClassifier(2, max_depth=4, random_state=0).fit(features, BOUGHT)))
    assert len(archives) == 1


def test_categories_of_histograms_are_restored_without_trust():
    """As what they index is there."""
    table = pd.DataFrame(COLUMNS | {"city": pd.Categorical(CITY)})
    fitted = HistGradientBoostingClassifier(max_iter=2).fit(table, BOUGHT)
    archive = dump(fitted)
    assert untrusted_types(archive) == []
    np.testing.assert_array_equal(load(archive).predict_proba(table), fitted.predict_proba(table))


def test_a_loaded_model_takes_missing_numbers_as_none(create, tmp_path):
    """Where the training had numbers; NaN is the same."""
    model = create(estimator=LGBM, rounds_per_epoch=2, **TABLE)
    an_epoch(model)
    described = {
        name: Described.parse(entry) for name, entry in find_saved(model.save("best")).manifest["inputs"].items()
    }
    assert {name: str(described[name].dtype) for name in COLUMNS} == {
        "age": "float64",
        "city": "object",
        "job": "int64",
    }
    np.testing.assert_array_equal(fitted([1.5, None], "age", described["age"]), [1.5, np.nan])
    with pytest.raises(BatchError, match=r"age: expected float64 \[any\], got object \[2\]"):
        fitted(np.array([1.5, "2"], object), "age", described["age"])
