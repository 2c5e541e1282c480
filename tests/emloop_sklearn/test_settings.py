"""The constructor obeys what the section ``model`` declares."""

from __future__ import annotations

from functools import partial

import pytest

import emloop_sklearn

from ..misspelt import unrefused
from .conftest import Linear

ESTIMATORS = [
    "sklearn.linear_model.SGDClassifier",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing.StandardScaler",
    "sklearn.naive_bayes.MultinomialNB",
]


@pytest.mark.parametrize("cls", [emloop_sklearn.BaseModel, Linear])
def test_every_misspelt_key_is_refused_by_name(cls, create):
    """Of the section, and of estimators."""
    count, missed = unrefused(cls, partial(create, cls), ESTIMATORS)

    assert missed == []
    assert count >= 30
