"""When ``StopAfter`` ends a training."""

from __future__ import annotations

import logging

import pytest

from emloop.errors import ConfigError, StateError
from emloop.hooks import StopAfter
from emloop.types import TrainingTerminated


def last_batch(hook, count, stream="train"):
    """Number of the batch that ended the training, ``None`` if none did."""
    for number in range(1, count + 1):
        try:
            hook.after_batch(stream_name=stream, batch_data=None)
        except TrainingTerminated:
            return number
    return None


def test_the_training_ends_with_the_given_epoch(caplog):
    """The epoch that reaches the number ends it, also 0, and the log says so."""
    caplog.set_level(logging.INFO)
    StopAfter(epochs=2).after_epoch(1, None)
    assert not caplog.records

    with pytest.raises(TrainingTerminated, match=r"^Training terminated after epoch 2$"):
        StopAfter(epochs=2).after_epoch(2, None)
    with pytest.raises(TrainingTerminated, match="epoch 0"):
        StopAfter(epochs=0).after_epoch(epoch_id=0, epoch_data={})

    assert [record.getMessage() for record in caplog.records] == ["EpochStopperHook triggered"] * 2


def test_an_epoch_beyond_the_limit_ends_the_training_too():
    """A limit that was lowered below what is done already still stops."""
    with pytest.raises(TrainingTerminated):
        StopAfter(epochs=2).after_epoch(7)


def test_the_training_ends_with_the_given_batch():
    """Only batches of the training stream count."""
    hook = StopAfter(iterations=5)

    assert last_batch(hook, 10, stream="valid") is None
    assert last_batch(hook, 10) == 5
    assert last_batch(StopAfter(iterations=3, train_stream_name="other"), 10, stream="other") == 3


def test_batches_of_the_zeroth_epoch_do_not_count(loop):
    """Evaluating the training stream is no training."""
    hook = StopAfter(iterations=2)
    hook.register_mainloop(loop)

    loop.is_training = False
    assert last_batch(hook, 100) is None
    loop.is_training = True
    assert last_batch(hook, 100) == 2


def test_iterations_are_counted_over_all_attempts(hand_over):
    """A resumed run stops where an uninterrupted one does."""
    hook = StopAfter(iterations=5)
    assert last_batch(hook, 3) is None

    assert last_batch(hand_over(hook, StopAfter(iterations=5)), 10) == 2


@pytest.mark.parametrize("event", ["batch", "epoch"])
def test_the_training_ends_when_the_time_is_spent(clock, event):
    """Any batch and any epoch's end look at the clock; exactly the given time is not too much."""
    hook = StopAfter(minutes=2, clock=clock)
    hook.before_training()

    def fire():
        if event == "batch":
            hook.after_batch("valid")
        else:
            hook.after_epoch(1)

    clock.pass_by(120)
    fire()
    clock.pass_by(0.5)
    with pytest.raises(TrainingTerminated, match=r"^Training terminated after more than 2 minutes$"):
        fire()


def test_time_between_attempts_is_not_spent(clock, hand_over):
    """The time of all attempts counts, a night in between does not."""
    first = StopAfter(minutes=2, clock=clock)
    first.before_training()
    clock.pass_by(90)
    second = hand_over(first, StopAfter(minutes=2, clock=clock))
    clock.pass_by(36_000)

    second.before_training()
    clock.pass_by(29)
    second.after_epoch(1)
    clock.pass_by(2)
    with pytest.raises(TrainingTerminated):
        second.after_epoch(2)


def test_time_between_trainings_with_one_loop_is_not_spent(clock):
    """A loop that is run twice in one process spends the time of both."""
    hook = StopAfter(minutes=1, clock=clock)
    for _ in range(2):
        hook.before_training()
        clock.pass_by(25)
        hook.after_epoch(1)
        hook.after_training(True)
        clock.pass_by(1000)

    hook.before_training()
    clock.pass_by(11)
    with pytest.raises(TrainingTerminated):
        hook.after_epoch(2)


def test_equal_runs_have_equal_states(clock):
    """Where no time is limited, none is remembered: it differs from run to run."""
    hook = StopAfter(epochs=3, clock=clock)
    hook.before_training()
    clock.pass_by(5)

    assert hook.state_dict() == {"iterations": 0, "seconds": None}


def test_the_first_of_several_limits_ends_the_training(clock):
    """Limits do not wait for each other."""
    hook = StopAfter(epochs=10, iterations=100, minutes=1, clock=clock)
    hook.before_training()
    hook.after_epoch(1)
    clock.pass_by(61)

    with pytest.raises(TrainingTerminated, match="minutes"):
        hook.after_batch("train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "StopAfter: expected at least one of 'epochs', 'iterations', 'minutes'"),
        ({"epochs": -1}, "epochs: expected a whole number, 0 or more, got -1"),
        ({"epochs": 1.5}, "epochs: expected a whole number, 0 or more, got 1.5"),
        ({"epochs": True}, "epochs: expected a whole number, 0 or more, got True"),
        ({"iterations": "5"}, "iterations: expected a whole number, 0 or more, got '5'"),
        ({"minutes": float("nan")}, "minutes: expected a number, 0 or more, got nan"),
    ],
)
def test_what_is_no_limit_is_refused(arguments, message):
    """A hook that could never stop is a mistake."""
    with pytest.raises(ConfigError) as error:
        StopAfter(**arguments)

    assert str(error.value) == message


def test_a_state_of_another_hook_is_refused():
    """A best value is no number of iterations."""
    with pytest.raises(StateError, match="StopAfter: the state does not fit"):
        StopAfter(epochs=1).load_state_dict({"best": 0.5})
