"""The configuration of a training, for a model that gives less."""

from __future__ import annotations

import pytest

from emloop._config.check import new_library
from emloop._config.hook_order import without_variables

STATISTICS = {"ComputeStats": {"variables": ["loss", {"accuracy": ["mean", "std"]}], "name": "stats"}}


METRICS = {
    "f1": {"class": "sklearn.metrics.f1_score", "inputs": {"y_true": "labels", "y_pred": "loss"}},
    "error": {"class": "sklearn.metrics.max_error", "inputs": {"y_true": "loss", "y_pred": "loss"}},
}


@pytest.mark.parametrize(
    ("hook", "gone", "left", "told"),
    [
        (STATISTICS, ["score"], STATISTICS, []),
        (
            STATISTICS,
            ["accuracy"],
            {"ComputeStats": {"variables": ["loss"], "name": "stats"}},
            ["ComputeStats does without 'accuracy'"],
        ),
        (
            STATISTICS,
            ["loss"],
            {"ComputeStats": {"variables": [{"accuracy": ["mean", "std"]}], "name": "stats"}},
            ["ComputeStats does without 'loss'"],
        ),
        (
            STATISTICS,
            ["loss", "accuracy"],
            None,
            ["ComputeStats is left out, since it reads 'loss', 'accuracy'"],
        ),
        (
            {"SaveBest": {"variable": "loss"}},
            ["loss"],
            None,
            ["SaveBest is left out, since it reads 'loss'"],
        ),
        pytest.param(
            "SaveConfusionMatrix",
            ["predictions"],
            None,
            ["SaveConfusionMatrix is left out, since it reads 'predictions'"],
            id="by default",
        ),
        pytest.param(
            {"Metrics": {"metrics": METRICS}},
            ["labels"],
            {"Metrics": {"metrics": {"error": METRICS["error"]}}},
            ["Metrics does without 'labels'"],
            id="a metric with one of its inputs",
        ),
        ("LogVariables", ["loss"], "LogVariables", []),
        ("somewhere.Else", ["loss"], "somewhere.Else", []),
    ],
)
def test_hooks_do_without_what_nobody_gives(hook, gone, left, told):
    """They keep the rest of what they were to read, or step aside."""
    config = {"hooks": [hook, "LogProfile"]}

    assert without_variables(config, gone, new_library()) == told
    assert config == {"hooks": [*([] if left is None else [left]), "LogProfile"]}
    assert STATISTICS["ComputeStats"]["variables"] == ["loss", {"accuracy": ["mean", "std"]}]
