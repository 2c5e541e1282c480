"""When ``EarlyStopping`` ends a training."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop.errors import ConfigError, MissingVariableError, StateError
from emloop.hooks import EarlyStopping
from emloop.types import TrainingTerminated


def stopped_after(hook, values, first=0):
    """Number of the epoch that ended the training, ``None`` if none did."""
    for epoch_id, value in enumerate(values, first):
        try:
            hook.after_epoch(epoch_id=epoch_id, epoch_data={"valid": {"loss": {"mean": value}}})
        except TrainingTerminated:
            return epoch_id
    return None


@pytest.mark.parametrize(
    ("arguments", "values", "expected"),
    [
        pytest.param({"patience": 2}, [5, 4, 3, 3, 3], 4, id="an-equal-value-is-no-better"),
        pytest.param({"patience": 2}, [5, 6, 4, 6, 3, 6, 6], 6, id="in-a-row"),
        pytest.param({"patience": 1}, [5, 4, 3, 2], None, id="falls"),
        pytest.param({"patience": 1}, [5, 5], 1, id="one"),
        pytest.param({"patience": 2, "condition": "max"}, [1, 2, 1, 1.5], 3, id="max"),
        pytest.param({"patience": 2, "min_delta": 1}, [5, 4, 4], 2, id="exactly-min-delta-does-not-count"),
        pytest.param({"patience": 2, "min_delta": 1}, [5, 4.5, 3.9, 3, 3], 4, id="measured-from-the-best"),
        pytest.param({"patience": 2}, [math.nan, 1, math.nan, math.nan], 3, id="nan-is-never-better"),
        pytest.param({"patience": 2}, [math.nan, math.nan], 1, id="nothing-but-nan"),
        pytest.param({"patience": 2}, [math.inf, math.inf, 1, math.inf, -math.inf, 0, 0], 6, id="infinities"),
    ],
)
def test_the_training_ends_after_so_many_epochs_without_a_better_value(arguments, values, expected):
    """The best so far is what counts, not the value before."""
    assert stopped_after(EarlyStopping(**arguments), values) == expected


@pytest.mark.parametrize(
    ("patience", "said"),
    [
        (1, "valid.loss has not been better than 0.25 for one epoch"),
        (3, "valid.loss has not been better than 0.25 for 3 epochs"),
    ],
)
def test_the_log_says_what_was_waited_for(patience, said):
    """The best value, and for how long there was none better."""
    hook = EarlyStopping(patience=patience)
    for _ in range(patience):
        hook.after_epoch({"valid": {"loss": 0.25}})
    with pytest.raises(TrainingTerminated) as ended:
        hook.after_epoch({"valid": {"loss": 0.25}})

    assert str(ended.value) == said


@given(
    values=st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan]), max_size=12),
    cut=st.integers(0, 12),
    patience=st.integers(1, 4),
)
def test_an_interrupted_training_ends_in_the_same_epoch(values, cut, patience):
    """Wherever the state is saved and taken up by another hook."""
    untouched = stopped_after(EarlyStopping(patience=patience), values)
    first, second = EarlyStopping(patience=patience), EarlyStopping(patience=patience)

    ended = stopped_after(first, values[:cut])
    second.load_state_dict(first.state_dict())

    assert untouched == (stopped_after(second, values[cut:], cut) if ended is None else ended)


def test_a_training_that_has_ended_goes_on_only_with_more_patience():
    """A resume with the same config trains no further; a raised limit is obeyed."""
    first = EarlyStopping(patience=1)
    assert stopped_after(first, [1, 2]) == 1

    same, raised = EarlyStopping(patience=1), EarlyStopping(patience=2)
    same.load_state_dict(first.state_dict())
    raised.load_state_dict(first.state_dict())

    with pytest.raises(TrainingTerminated):
        same.before_training()
    raised.before_training()
    assert stopped_after(raised, [2], first=2) == 2


def test_bad_arguments_and_states_are_refused():
    """Each by name."""
    with pytest.raises(ConfigError, match="patience"):
        EarlyStopping(patience=0)
    with pytest.raises(ConfigError, match="min_delta"):
        EarlyStopping(min_delta=-1)
    with pytest.raises(ConfigError, match="condition: expected one of 'min', 'max', got 'minimum'"):
        EarlyStopping(condition="minimum")
    with pytest.raises(StateError):
        EarlyStopping().load_state_dict({"best": 1.0})
    with pytest.raises(MissingVariableError, match="stream 'valid': variable 'loss' is not in the epoch's data"):
        EarlyStopping().after_epoch({"valid": {}})
