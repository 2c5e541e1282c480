"""When a variable counts as being on a plateau, and what ``StopOnPlateau`` makes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop.errors import ConfigError, MissingVariableError
from emloop.hooks import OnPlateau, StopOnPlateau
from emloop.types import TrainingTerminated


def plateau_after(hook, values, stream="valid", variable="loss", first=0):
    """Number of the epoch that ended the training, ``None`` if none did."""
    for epoch_id, value in enumerate(values, first):
        hook.after_batch(stream, {variable: np.full(2, value)})
        try:
            hook.after_epoch(epoch_id, {stream: {}})
        except TrainingTerminated:
            return epoch_id
    return None


@pytest.mark.parametrize(
    ("objective", "values", "expected"),
    [
        pytest.param("min", [5, 4, 3, 3.5, 4, 5], 5, id="rises"),
        pytest.param("min", [5, 4, 3, 2, 1, 0], None, id="falls"),
        pytest.param("min", [5, 5, 5, 5, 5, 5], None, id="stays"),
        pytest.param("min", [1, 9, 9], 2, id="at-the-earliest-after-one-epoch-more-than-the-short-term"),
        pytest.param("max", [5, 4, 3, 2, 1, 0], 2, id="max-falls"),
        pytest.param("max", [1, 2, 3, 4, 5], None, id="max-rises"),
        pytest.param("min", [1, math.nan, 9, 9, 9, 9], 1, id="nan"),
        pytest.param("max", [math.nan], 0, id="nan-at-once"),
        pytest.param("min", [1, math.inf, 9, 9], None, id="infinite"),
        pytest.param("min", [1, math.inf, -math.inf, 0], None, id="infinities"),
    ],
)
def test_the_training_stops_when_the_last_epochs_are_worse_than_the_epochs_before(objective, values, expected):
    """A plateau is where the short average is worse than the long one."""
    hook = StopOnPlateau(long_term=6, short_term=2, objective=objective)

    assert plateau_after(hook, values) == expected


class Plateaus(OnPlateau):
    """Remembers the epochs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.epochs = []

    def _on_plateau_action(self, epoch_id, epoch_data):
        self.epochs.append(epoch_id)


def test_a_nan_does_not_spoil_later_averages():
    """It is a plateau itself; afterwards, numbers are compared with numbers."""
    hook = Plateaus(long_term=4, short_term=2)

    plateau_after(hook, [5, math.nan, 4, 3, 2, 6, 9])

    assert hook.epochs == [1, 5, 6]  # (2 + 6) / 2 > (4 + 3 + 2 + 6) / 4, and 7.5 > 5


def test_only_the_long_term_is_remembered():
    """Epochs before the long term have no influence."""
    assert plateau_after(StopOnPlateau(long_term=3, short_term=1), [0, 9, 8, 7, 6]) == 1
    assert plateau_after(StopOnPlateau(long_term=3, short_term=1), [9, 9, 8, 7, 7.9]) == 4


def test_a_tolerance_may_be_given():
    """With ``min_delta`` the last epochs must be worse by more than that."""
    hook = StopOnPlateau(long_term=2, short_term=1, min_delta=0.5)

    assert plateau_after(hook, [1, 1.5, 2.5, 3.75]) == 3


def test_the_reason_names_variable_and_stream():
    """Who reads the log knows why the training stopped."""
    hook = StopOnPlateau(2, 1, "test", "accuracy", "max")
    assert plateau_after(hook, [2.0], "test", "accuracy") is None
    hook.after_batch("test", {"accuracy": [1.0]})
    with pytest.raises(TrainingTerminated, match=r"^test\.accuracy is on a plateau after epoch 1$"):
        hook.after_epoch(1, {"test": {}})


def test_the_mean_is_left_in_the_data_of_every_stream():
    """Hooks behind can use what was computed anyway, and find other aggregations still there."""
    hook = StopOnPlateau(variable="loss")
    hook.after_batch("train", {"loss": [1.0, 3.0]})
    hook.after_batch("valid", {"loss": [4.0]})
    epoch_data = {"train": {}, "valid": {"loss": {"std": 0.0}}}

    hook.after_epoch(epoch_id=0, epoch_data=epoch_data)

    assert epoch_data == {"train": {"loss": {"mean": 2.0}}, "valid": {"loss": {"std": 0.0, "mean": 4.0}}}


def test_a_stream_that_is_not_there_is_named():
    """The default stream ``valid`` may be missing; the error says what there is."""
    with pytest.raises(MissingVariableError, match="stream 'valid' is not in the epoch's data, which has 'vali'"):
        StopOnPlateau().after_epoch(0, {"vali": {}})


@given(st.lists(st.floats(-10, 10), max_size=12), st.integers(0, 12))
def test_a_resumed_run_stops_where_an_uninterrupted_one_does(hand_over, values, cut):
    """The means of the last epochs survive."""
    whole, resumed = StopOnPlateau(5, 2), StopOnPlateau(5, 2)
    expected = plateau_after(whole, values)

    found = plateau_after(resumed, values[:cut])
    if found is None:
        found = plateau_after(hand_over(resumed, StopOnPlateau(5, 2)), values[cut:], first=cut)

    assert found == expected


def test_other_actions_are_a_method():
    """A class that extends ``OnPlateau`` says what to do; without it there is nothing to build."""

    class Note(OnPlateau):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.noted = []

        def _on_plateau_action(self, epoch_id, epoch_data):
            self.noted.append((epoch_id, epoch_data["valid"]["loss"]["mean"]))

    hook = Note(long_term=2, short_term=1, model=None)
    assert plateau_after(hook, [1, 2, 3]) is None
    assert hook.noted == [(1, 2.0), (2, 3.0)]
    with pytest.raises(TypeError, match="_on_plateau_action"):
        OnPlateau()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"long_term": 3, "short_term": 4}, "long_term: expected at least short_term, which is 4, got 3"),
        ({"short_term": 0}, "short_term: expected a whole number, 1 or more, got 0"),
        ({"objective": "maxx"}, "objective: expected one of 'min', 'max', got 'maxx'; did you mean 'max'?"),
        ({"min_delta": -1}, "min_delta: expected a number, 0 or more, got -1"),
    ],
)
def test_what_could_never_be_a_plateau_is_refused(arguments, message):
    """Bad arguments are named with what is accepted."""
    with pytest.raises(ConfigError) as error:
        StopOnPlateau(**arguments)

    assert str(error.value) == message


def test_the_objectives_are_listed_on_the_class():
    """Programs can ask which words are accepted."""
    assert {"min", "max"} == StopOnPlateau.OBJECTIVES
