"""When ``Check`` ends a training well, and when it fails it."""

from __future__ import annotations

import numpy as np
import pytest

from emloop.errors import ConfigError, HookError, MissingVariableError, VariableTypeError
from emloop.hooks import Check
from emloop.types import TrainingTerminated


@pytest.mark.parametrize("value", [0.95, np.float32(0.95), np.array(0.95), {"mean": 0.95, "std": 0.0}, 1], ids=repr)
def test_exceeding_the_value_in_time_ends_the_training(value):
    """Numbers and means count, in any epoch up to the last one."""
    for epoch_id in (0, 10):
        with pytest.raises(TrainingTerminated, match=r"^valid\.accuracy is .*, more than the required 0\.9$"):
            Check("accuracy", 0.9, 10, "valid").after_epoch(epoch_id, {"valid": {"accuracy": value}})


def test_until_the_last_epoch_nothing_happens():
    """A value that is not there yet may still come; exactly the value is not more than it."""
    for value in (0.1, 0.9, float("nan")):
        Check("accuracy", 0.9, 10).after_epoch(9, {"valid": {"accuracy": value}})


@pytest.mark.parametrize("epoch_id", [10, 11])
def test_the_training_fails_after_the_last_epoch(epoch_id):
    """A value that was not exceeded in time is a failure, not an orderly end."""
    with pytest.raises(HookError) as error:
        Check(variable="accuracy", required_min_value=0.9, max_epoch=10).after_epoch(
            epoch_id=epoch_id, epoch_data={"valid": {"accuracy": 0.9}}
        )

    assert isinstance(error.value, ValueError)
    assert str(error.value) == (
        f"valid.accuracy is 0.9 after epoch {epoch_id}; more than 0.9 was required until epoch 10"
    )


@pytest.mark.parametrize(
    ("epoch_data", "kind", "message"),
    [
        (
            {"train": {}},
            MissingVariableError,
            (
                "stream 'valid' is not in the epoch's data, which has 'train'; "
                "the hook that writes it must stand earlier in the list"
            ),
        ),
        (
            {"valid": {"acuracy": 1}},
            MissingVariableError,
            (
                "stream 'valid': variable 'accuracy' is not in the epoch's data, which has 'acuracy'; "
                "the hook that writes it must stand earlier in the list; did you mean 'acuracy'?"
            ),
        ),
        (
            {"valid": {"accuracy": {"std": 1}}},
            VariableTypeError,
            "stream 'valid': variable 'accuracy': expected a number or a mapping with 'mean', got dict: {'std': 1}",
        ),
        (
            {"valid": {"accuracy": "high"}},
            VariableTypeError,
            "stream 'valid': variable 'accuracy': expected a number or a mapping with 'mean', got str: 'high'",
        ),
        (
            {"valid": {"accuracy": [1, 2]}},
            VariableTypeError,
            "stream 'valid': variable 'accuracy': expected a number or a mapping with 'mean', got list: [1, 2]",
        ),
    ],
)
def test_what_cannot_be_compared_is_an_error(epoch_data, kind, message):
    """The error names stream and variable, and what is there instead."""
    with pytest.raises(kind) as error:
        Check("accuracy", 0.9, 10).after_epoch(1, epoch_data)

    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("accuracy", "0.9", 10), "required_min_value: expected a number, got '0.9'"),
        (("accuracy", 0.9, -1), "max_epoch: expected a whole number, 0 or more, got -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """Mistakes are found when the hook is built."""
    with pytest.raises(ConfigError) as error:
        Check(*arguments)

    assert str(error.value) == message
