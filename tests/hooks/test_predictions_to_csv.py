"""Writing single values per example."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from emloop.errors import ConfigError, VariableTypeError
from emloop.hooks.predictions_to_csv import PredictionsToCsv


def test_every_example_is_a_row(tmp_path):
    """Columns are the id and the variables, in this order; the file has a name of its own by default."""
    hook = PredictionsToCsv(variables=["labels", "score"], id_variable="ids", output_dir=tmp_path)
    hook.after_batch("test", {"ids": ["a", "b"], "labels": np.array([1, 0]), "score": [0.5, 0.25], "more": 1})
    hook.after_batch("test", {"ids": ["c"], "labels": ["unknown"], "score": np.array([0.1], dtype=np.float32)})
    hook.after_epoch(epoch_id=0, epoch_data={})

    assert (tmp_path / "predictions.csv").read_text().splitlines() == [
        "ids,labels,score",
        "a,1,0.5",
        "b,0,0.25",
        "c,unknown,0.1",
    ]


@pytest.mark.parametrize("escape", [False, True])
def test_texts_are_written_as_they_are_unless_a_spreadsheet_shall_be_spared(tmp_path, escape):
    """Tokens may begin with any sign; only on request a formula gets an apostrophe."""
    tokens = ["=", "+1", "-x", "@home", "'", "-1e3"]
    hook = PredictionsToCsv(["tokens"], "ids", output_dir=tmp_path, **({"escape_formulas": True} if escape else {}))
    hook.after_batch("test", {"ids": range(6), "tokens": tokens})
    hook.after_epoch(0)

    rows = list(csv.reader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [token for _, token in rows[1:]] == (["'=", "+1", "'-x", "'@home", "'", "-1e3"] if escape else tokens)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3)), r"variable 'labels': expected one value per example, got an array of shape \(2, 3\)"),
        ([[1], [2, 3]], "variable 'labels': expected one value per example, got a sequence for some"),
    ],
)
def test_vectors_are_refused(values, message):
    """One value per example is one cell; other hooks write vectors and sequences."""
    with pytest.raises(VariableTypeError, match=message):
        PredictionsToCsv(["labels"], "ids").after_batch("test", {"ids": ["a", "b"], "labels": values})


@pytest.mark.parametrize(
    ("variables", "message"),
    [([], "variables: expected at least one name"), ("labels", "variables: expected a list of names, got 'labels'")],
)
def test_variables_must_be_listed(variables, message):
    """No variable, or one that is not in a list, is a mistake of the configuration."""
    with pytest.raises(ConfigError, match=message):
        PredictionsToCsv(variables, "ids")
