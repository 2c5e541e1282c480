"""What ``StopOnNaN`` finds, and what it lets pass."""

from __future__ import annotations

import logging
import math
from decimal import Decimal

import numpy as np
import pytest

from emloop.errors import ConfigError, HookError, MissingVariableError
from emloop.hooks import StopOnNaN
from emloop.types import TrainingTerminated

NAN, INF = math.nan, math.inf

WITH_NAN = [
    NAN,
    np.float32(NAN),
    np.array(NAN),
    np.array([1, NAN]),
    np.array([[1, 2], [3, NAN]]),
    np.array([1, NAN], dtype=np.float16),
    np.array(["a", NAN], dtype=object),
    complex(1, NAN),
    [1, NAN],
    (1, [2, (NAN,)]),
    [np.zeros(2), np.array([NAN])],
    {"mean": NAN},
    {"a": {"b": [1, NAN]}},
    [None, NAN],
]
WITHOUT_NAN = [
    1,
    1.5,
    True,
    10**400,
    np.int64(3),
    "nan",
    b"nan",
    np.array(["nan"]),
    np.zeros((2, 2)),
    np.array([True]),
    np.array(["2026-11-22"], dtype="datetime64[D]"),
    [],
    {},
    ["a", 1.0],
    INF,
    np.array([INF]),
]


@pytest.mark.parametrize("value", WITH_NAN)
def test_a_nan_ends_the_training(value):
    """Wherever it hides, the training ends, and the reason names variable and stream."""
    with pytest.raises(TrainingTerminated, match=r"^Variable `loss` of stream `train` is NaN$"):
        StopOnNaN().after_epoch(epoch_data={"train": {"loss": value}})


@pytest.mark.parametrize("value", WITHOUT_NAN, ids=lambda value: repr(value)[:30])
def test_what_is_no_nan_passes(value):
    """Numbers, texts and moments of any shape are looked at without an error, also where nothing may be unknown."""
    StopOnNaN(on_unknown_type="error").after_epoch(1, {"train": {"loss": value}})


@pytest.mark.parametrize("value", [INF, -INF, np.array([[1, INF]]), {"mean": [INF]}, NAN])
def test_infinities_can_count_as_nan(value):
    """With ``stop_on_inf`` they end the training."""
    with pytest.raises(TrainingTerminated, match="is NaN or infinite"):
        StopOnNaN(stop_on_inf=True).after_epoch(epoch_data={"train": {"loss": value}})


def test_batches_are_looked_at_only_on_demand():
    """By default the epoch's data is looked at; either can be chosen."""
    bad_batch, bad_epoch = {"loss": [NAN]}, {"train": {"loss": NAN}}
    StopOnNaN().after_batch("train", bad_batch)
    StopOnNaN(after_batch=True, after_epoch=False).after_epoch(0, bad_epoch)

    with pytest.raises(TrainingTerminated):
        StopOnNaN(after_batch=True, after_epoch=False).after_batch(stream_name="train", batch_data=bad_batch)
    with pytest.raises(TrainingTerminated):
        StopOnNaN(after_batch=True).after_epoch(0, bad_epoch)


def test_only_the_listed_variables_are_looked_at():
    """Others may be what they like; a listed one must be there."""
    hook = StopOnNaN(variables=["loss"], after_batch=True)
    hook.after_batch("train", {"loss": [1.0], "other": [NAN]})
    hook.after_epoch(0, {"train": {"loss": 1.0, "other": NAN}})

    with pytest.raises(MissingVariableError, match="stream 'train': no variable 'loss' in the batch"):
        hook.after_batch("train", {"other": [1]})
    with pytest.raises(MissingVariableError, match="stream 'valid': variable 'loss' is not in the epoch's data"):
        hook.after_epoch(0, {"train": {"loss": 1.0}, "valid": {}})


@pytest.mark.parametrize("value", [None, len, [None], [1, object()], Decimal(1), np.array([None])])
def test_a_value_of_unknown_type_is_dealt_with_as_configured(value, caplog):
    """It is an error, a warning (once), or nothing."""
    epoch_data = {"train": {"var": value}}
    StopOnNaN().after_epoch(0, epoch_data)
    assert not caplog.records

    with pytest.raises(HookError, match="Variable `var` of type") as error:
        StopOnNaN(on_unknown_type="error").after_epoch(0, epoch_data)
    assert isinstance(error.value, ValueError)

    warning = StopOnNaN(on_unknown_type="warn")
    warning.after_epoch(0, epoch_data)
    warning.after_epoch(1, epoch_data)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"Variable `var` of type `{type(value)}` can not be checked for NaNs.")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"after_epoch": False}, "StopOnNaN: expected 'after_batch' or 'after_epoch' or both to be true"),
        (
            {"on_unknown_type": "eror"},
            "on_unknown_type: expected one of 'error', 'warn', 'ignore', got 'eror'; did you mean 'error'?",
        ),
        ({"variables": "loss"}, "variables: expected a list of names, got 'loss'; write [loss]"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """A hook that looks at nothing is a mistake."""
    with pytest.raises(ConfigError) as error:
        StopOnNaN(**arguments)

    assert str(error.value) == message
