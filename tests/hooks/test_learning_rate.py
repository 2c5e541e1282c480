"""Hooks that steer a number of the model."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from emloop.errors import ConfigError, MissingVariableError
from emloop.hooks import DecayLR, DecayLROnPlateau, InitLR, LogLR


class Steerable:
    """A model with a learning rate and a temperature."""

    def __init__(self):
        self.numbers = {"learning_rate": 0.1, "temperature": 2.0}

    def get_variable(self, name):
        if name not in self.numbers:
            raise MissingVariableError(f"there is no variable {name!r}")
        return self.numbers[name]

    def set_variable(self, name, value):
        self.get_variable(name)
        self.numbers[name] = value


@pytest.fixture
def model():
    """A model that can be steered."""
    return Steerable()


def test_a_rate_is_set_once_in_a_run(model):
    """Before its first epoch; a resumed run keeps what has become of it."""
    hook = InitLR(model, 0.5)
    hook.before_training()
    assert model.numbers["learning_rate"] == 0.5
    model.numbers["learning_rate"] = 0.25
    resumed = InitLR(model, 0.5)
    resumed.load_state_dict(hook.state_dict())
    resumed.before_training()
    assert model.numbers["learning_rate"] == 0.25


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"decay_value": 0.5}, [0.1, 0.05, 0.025, 0.0125]),
        ({"decay_value": 0.5, "n_epochs": 2}, [0.1, 0.1, 0.05, 0.05]),
        ({"decay_value": -0.02, "decay_type": "add"}, [0.1, 0.08, 0.06, 0.04]),
    ],
    ids=["every-epoch", "every-second-epoch", "add"],
)
def test_a_rate_decays_after_epochs_of_training(model, arguments, expected):
    """Not after the zeroth one."""
    hook, found = DecayLR(model, **arguments), []
    for epoch in range(4):
        hook.after_epoch(epoch_id=epoch, epoch_data={})
        found.append(model.numbers["learning_rate"])

    assert found == pytest.approx(expected)


def epochs(hook, model, losses, first=0):
    """The rate after each of some epochs."""
    found = []
    for epoch, loss in enumerate(losses, first):
        hook.after_batch("valid", {"loss": np.full(2, loss)})
        hook.after_epoch(epoch_id=epoch, epoch_data={"valid": {}})
        found.append(model.numbers["learning_rate"])
    return found


def test_a_rate_decays_on_a_plateau_and_then_not_for_a_while(model):
    """For ``long_term`` epochs; then again, if it is still there."""
    hook = DecayLROnPlateau(model, long_term=3, short_term=1, decay_value=0.5)

    assert epochs(hook, model, range(8)) == [0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025]


def test_a_resumed_run_stays_quiet_as_long_as_it_would_have(model):
    """The plateau before counts."""
    hook = DecayLROnPlateau(model, long_term=3, short_term=1, decay_value=0.5)
    epochs(hook, model, range(3))
    resumed = DecayLROnPlateau(model, long_term=3, short_term=1, decay_value=0.5)
    resumed.load_state_dict(hook.state_dict())

    assert epochs(resumed, model, range(3, 8), first=3) == [0.05, 0.05, 0.025, 0.025, 0.025]


def test_the_rate_is_logged_and_so_are_changes(model, caplog):
    """Whatever the number is called."""
    caplog.set_level(logging.INFO)
    LogLR(model, "temperature").after_epoch(1, {})
    InitLR(model, 0.01).before_training()

    assert [record.getMessage() for record in caplog.records] == ["\ttemperature: 2", "\tlearning_rate: 0.1 → 0.01"]


def test_a_model_that_cannot_be_steered_is_named():
    """When the hook is made."""
    for make in (DecayLR, DecayLROnPlateau, lambda model: InitLR(model, 1.0)):
        with pytest.raises(ConfigError, match=r"LR\w*: object has no number that a hook could change"):
            make(object())
    with pytest.raises(ConfigError, match="LogLR: object has no number that a hook could read"):
        LogLR(object())


def test_a_rate_that_cannot_be_changed_can_be_logged(caplog):
    """Reading is enough for it."""

    class Fixed:
        def get_variable(self, name):
            return 0.5

    caplog.set_level(logging.INFO)
    LogLR(Fixed()).after_epoch(1, {})

    assert [record.getMessage() for record in caplog.records] == ["\tlearning_rate: 0.5"]


def test_an_unknown_number_is_an_error_of_the_model(model):
    """It says what there is; a misspelt way to decay is told by the hook."""
    with pytest.raises(MissingVariableError, match="'rate'"):
        InitLR(model, 1.0, "rate").before_training()
    with pytest.raises(ConfigError, match="decay_type: expected one of 'multiply', 'add', got 'times'"):
        DecayLR(model, decay_type="times")
