"""An estimator described by a configuration is built as described, or every mistake in it is named."""

from __future__ import annotations

import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline

from emloop.errors import ConfigError
from emloop_sklearn._estimators import build_estimator

SGD = "sklearn.linear_model.SGDClassifier"


def test_an_estimator_is_built_with_its_arguments():
    """Those that are left out have scikit-learn's defaults; those written as null are null."""
    estimator = build_estimator({"class": SGD, "alpha": 0.5, "n_jobs": None}, seed=None)

    assert type(estimator) is SGDClassifier
    assert estimator.get_params() == SGDClassifier(alpha=0.5).get_params()


def test_descriptions_nest():
    """In arguments, in lists, in lists of lists; what has no class stays what it is."""
    estimator = build_estimator(
        {
            "class": "sklearn.pipeline.Pipeline",
            "steps": [
                ["scale", {"class": "sklearn.preprocessing.StandardScaler", "with_mean": False}],
                ["vote", {"class": "sklearn.multiclass.OneVsRestClassifier", "estimator": {"class": SGD}}],
            ],
        },
        seed=8,
    )

    assert isinstance(estimator, Pipeline)
    assert [name for name, _ in estimator.steps] == ["scale", "vote"]
    assert estimator.steps[0][1].with_mean is False
    assert isinstance(estimator.steps[1][1], OneVsRestClassifier)
    assert estimator.steps[1][1].estimator.random_state == 8
    weighted = build_estimator({"class": SGD, "class_weight": {"a": 1, "b": 2.5}}, seed=None)
    assert weighted.class_weight == {"a": 1, "b": 2.5}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        pytest.param("SGDClassifier", "estimator: unknown estimator 'SGDClassifier'", id="text"),
        pytest.param({"loss": "hinge"}, "estimator: there is no 'class'\n  name one: {class: package", id="no-class"),
        pytest.param({"class": "SGDClassifier"}, "write its full name: package.module.Class", id="short-name"),
        pytest.param({"class": "sklearn.lineer.X"}, "estimator: sklearn has no 'lineer'", id="module"),
        pytest.param(
            {"class": "sklearn.linear_model.SGDClasifier"},
            r"sklearn.linear_model has no 'SGDClasifier'\n  did you mean 'SGDClassifier'\?",
            id="misspelt-class",
        ),
        pytest.param({"class": "os.system"}, "os.system is no class", id="no-estimator"),
        pytest.param(
            {"class": "subprocess.Popen"},
            "subprocess.Popen is no estimator: it has no method 'get_params'",
            id="a-class",
        ),
    ],
)
def test_a_class_that_leads_nowhere_is_named(description, message):
    """With the way out."""
    with pytest.raises(ConfigError, match=message):
        build_estimator(description, seed=None)


def test_all_mistakes_are_reported_at_once():
    """Unknown and missing arguments, values that scikit-learn does not accept, and classes, each with its place."""
    with pytest.raises(ConfigError) as caught:
        build_estimator(
            {
                "class": "sklearn.pipeline.Pipeline",
                "steps": [
                    ["a", {"class": "sklearn.preprocessing.StandardScaler", "with_men": False}],
                    ["b", {"class": SGD, "loss": "log"}],
                    ["c", {"class": SGD, "alpha": "small"}],
                    ["d", {"class": "sklearn.multiclass.OneVsRestClassifier"}],
                    ["e", {"class": "sklearn.Nothing"}],
                ],
                "verbos": True,
            },
            seed=None,
        )

    found = sorted(str(problem).splitlines() for problem in caught.value.problems)
    assert found[0] == [
        "estimator.steps[0][1]: unknown argument 'with_men'",
        "  did you mean 'with_mean'?",
        "  StandardScaler takes: copy, with_mean, with_std",
    ]
    assert found[1][0].startswith("estimator.steps[1][1]: SGDClassifier: The 'loss' parameter of SGDClassifier must be")
    assert found[2][0].startswith("estimator.steps[2][1]: SGDClassifier: The 'alpha' parameter of SGDClassifier must")
    assert found[3] == ["estimator.steps[3][1]: OneVsRestClassifier needs the argument 'estimator'"]
    assert found[4][0] == "estimator.steps[4][1]: sklearn has no 'Nothing'"
    assert found[5][0] == "estimator: unknown argument 'verbos'"
    assert len(found) == 6
