"""What ``LogVariables`` writes, letter by letter."""

from __future__ import annotations

import logging
from collections import OrderedDict

import numpy as np
import pytest

from emloop.errors import ConfigError, MissingVariableError, VariableTypeError
from emloop.hooks import LogVariables

EPOCH_DATA = OrderedDict(
    train=OrderedDict(
        accuracy=1,
        precision=np.ones(10),
        loss=OrderedDict(mean=1.5),
        error=OrderedDict(mean=2.0, std=np.float32(0.25)),
        comment="fine",
    ),
    test=OrderedDict(accuracy=2, precision=np.zeros(2), loss={"mean": float("nan")}, error={}, comment="=1"),
)


@pytest.fixture
def logged(caplog):
    """What a hook has logged for an epoch."""
    caplog.set_level(logging.INFO)

    def logged(hook, epoch_data=EPOCH_DATA):
        caplog.clear()
        hook.after_epoch(1, epoch_data)
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    return logged


def test_all_numbers_and_texts_are_logged_stream_by_stream(logged):
    """Every kind of value has its format; what is none of them is left out."""
    assert logged(LogVariables()) == [
        ("INFO", "\ttrain accuracy: 1.000000"),
        ("INFO", "\ttrain loss mean: 1.500000"),
        ("INFO", "\ttrain error:"),
        ("INFO", "\t\tmean: 2.000000"),
        ("INFO", "\t\tstd: 0.250000"),
        ("INFO", "\ttrain comment: fine"),
        ("INFO", "\ttest accuracy: 2.000000"),
        ("INFO", "\ttest loss mean: nan"),
        ("INFO", "\ttest error:"),
        ("INFO", "\ttest comment: =1"),
    ]


def test_listed_variables_are_logged_in_the_given_order(logged):
    """Only they are."""
    assert logged(LogVariables(["loss", "accuracy"])) == [
        ("INFO", "\ttrain loss mean: 1.500000"),
        ("INFO", "\ttrain accuracy: 1.000000"),
        ("INFO", "\ttest loss mean: nan"),
        ("INFO", "\ttest accuracy: 2.000000"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "1.000000"),
        (np.bool_(False), "0.000000"),
        (np.float16(0.5), "0.500000"),
        (np.array(3), "3.000000"),
        (10**20, "100000000000000000000.000000"),
        (1 + 2j, "(1+2j)"),
        (b"raw", "b'raw'"),
        ("50 %s %", "50 %s %"),
        (np.str_("text"), "text"),
    ],
)
def test_any_scalar_has_a_text(logged, value, text):
    """No value loses its line to an error within the log."""
    assert logged(LogVariables(), {"train": {"x": value}}) == [("INFO", f"\ttrain x: {text}")]


def test_other_types_are_dealt_with_as_configured(logged):
    """They are logged as they print, warned about, or refused."""
    hooks = {action: LogVariables(["precision"], on_unknown_type=action) for action in ("str", "warn", "error")}

    assert logged(hooks["str"]) == [
        ("INFO", "\ttrain precision: [1. 1. 1. 1. 1. 1. 1. 1. 1. 1.]"),
        ("INFO", "\ttest precision: [0. 0.]"),
    ]
    warning = ("WARNING", "Variable type `ndarray` can not be logged. Variable name: `precision`.")
    assert logged(hooks["warn"]) == [warning, warning]
    with pytest.raises(VariableTypeError, match="Variable type `ndarray` can not be logged") as error:
        logged(hooks["error"])
    assert isinstance(error.value, TypeError)


def test_other_types_within_a_mapping_are_dealt_with_in_the_same_way(logged):
    """Per-class values, for instance, do not hide the scalars beside them."""
    epoch_data = {"train": {"f1": {"mean": 0.5, "classes": np.ones(2)}}}

    assert logged(LogVariables(), epoch_data) == [("INFO", "\ttrain f1:"), ("INFO", "\t\tmean: 0.500000")]
    assert logged(LogVariables(on_unknown_type="warn"), epoch_data)[-1] == (
        "WARNING",
        "Variable type `ndarray` can not be logged. Variable name: `f1`.",
    )


def test_a_listed_variable_must_be_in_every_stream(logged):
    """The error names the stream that lacks it."""
    with pytest.raises(
        MissingVariableError, match="stream 'valid': variable 'loss' is not in the epoch's data"
    ) as error:
        logged(LogVariables(["loss"]), {"train": {"loss": 1}, "valid": {"los": 1}})

    assert isinstance(error.value, KeyError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"on_unknown_type": "raise"},
            "on_unknown_type: expected one of 'error', 'warn', 'str', 'ignore', got 'raise'",
        ),
        ({"variables": "loss"}, "variables: expected a list of names, got 'loss'; write [loss]"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """Mistakes are found when the hook is built."""
    with pytest.raises(ConfigError) as error:
        LogVariables(**arguments)

    assert str(error.value) == message
