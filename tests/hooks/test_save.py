"""When models are saved, and what happens where that fails."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop.errors import ConfigError, HookError, MissingVariableError, SaveError, VariableTypeError
from emloop.hooks import SaveBest, SaveEvery, SaveLatest
from emloop.saved_models import find_saved, saved_model_path, write_saved_model


def loss(value, stream="valid"):
    return {stream: {"loss": {"mean": value}}}


def saving_epochs(hook, model, values):
    """Positions of the values after which the model was saved."""
    epochs = []
    for epoch_id, value in enumerate(values):
        before = len(model.saved)
        hook.after_epoch(epoch_id=epoch_id, epoch_data=loss(value))
        if len(model.saved) > before:
            epochs.append(epoch_id)
    return epochs


def test_save_every_saves_every_nth_epoch_under_its_number(model, caplog):
    """The zeroth epoch counts; the log says where the model is."""
    caplog.set_level(logging.INFO)
    hook = SaveEvery(model=model, n_epochs=2)
    for epoch_id in range(5):
        hook.after_epoch(epoch_id=epoch_id)

    assert model.saved == ["0", "2", "4"]
    assert [record.getMessage() for record in caplog.records] == [
        "Model saved to: /run/model_0",
        "Model saved to: /run/model_2",
        "Model saved to: /run/model_4",
    ]


def test_save_latest_saves_every_epoch_under_one_name(model):
    """There is always one latest model."""
    hook = SaveLatest(model)
    hook.after_epoch()
    hook.after_epoch(epoch_id=1, epoch_data={})

    assert model.saved == ["latest", "latest"]


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        pytest.param("min", [3, 2, 2, 2.5, 1], [0, 1, 4], id="min"),
        pytest.param("max", [3, 2, 3, 4, 5], [0, 3, 4], id="max"),
        pytest.param("min", [math.nan, 3, math.nan, 2], [1, 3], id="nan-is-never-best"),
        pytest.param("max", [-math.inf, 1, math.inf, math.inf], [0, 1, 2], id="infinities"),
        pytest.param("min", [np.float32(2), np.array(1.0), 1], [0, 1], id="kinds-of-numbers"),
    ],
)
def test_save_best_saves_what_is_better_than_all_before(model, condition, values, expected):
    """The first number is the best so far, an equal one is not better, NaN is not even the best of nothing."""
    assert saving_epochs(SaveBest(model=model, condition=condition), model, values) == expected
    assert set(model.saved) == {"best"}


def test_the_best_model_can_have_another_name_variable_and_stream(model):
    """All of what is compared and how it is called is an argument."""
    hook = SaveBest(model, "good", "accuracy", "max", "test", aggregation="max")

    hook.after_epoch({"test": {"accuracy": {"mean": 0, "max": 3}}})
    hook.after_epoch({"test": {"accuracy": {"mean": 9, "max": 2}}})

    assert model.saved == ["good"]


@pytest.mark.parametrize("aggregation", [None, "", "mean"])
def test_a_plain_number_can_be_compared(model, aggregation):
    """Without an aggregation, the value itself counts; with the default one, it is as good as its mean."""
    SaveBest(model, aggregation=aggregation).after_epoch({"valid": {"loss": 1.0}})

    assert model.saved == ["best"]


@pytest.mark.parametrize(
    ("aggregation", "epoch_data", "kind", "message"),
    [
        ("mean", {"train": {}}, MissingVariableError, "stream 'valid' is not in the epoch's data, which has 'train'"),
        ("mean", {"valid": {}}, MissingVariableError, "stream 'valid': variable 'loss' is not in the epoch's data"),
        (
            "max",
            {"valid": {"loss": 1.0}},
            VariableTypeError,
            "stream 'valid': variable 'loss': expected a mapping with 'max', got float: 1.0",
        ),
        (
            "median",
            loss(1),
            MissingVariableError,
            "stream 'valid': variable 'loss': aggregation 'median' is not in the epoch's data, which has 'mean'",
        ),
        ("mean", loss([1]), HookError, "stream 'valid': variable 'loss': expected a number, got list: [1]"),
        ("mean", loss("low"), HookError, "stream 'valid': variable 'loss': expected a number, got str: 'low'"),
        (None, loss(1), HookError, "stream 'valid': variable 'loss': expected a number, got dict: {'mean': 1}"),
    ],
)
def test_what_cannot_be_compared_is_an_error(model, aggregation, epoch_data, kind, message):
    """The error says what was looked for and what is there."""
    with pytest.raises(kind) as error:
        SaveBest(model, aggregation=aggregation)._get_value(epoch_data)

    assert str(error.value).startswith(message)
    assert issubclass(kind, KeyError | TypeError | ValueError)


def test_the_value_that_is_compared_can_be_asked_for(model):
    """It is a number of Python, whatever was left in the epoch's data."""
    value = SaveBest(model)._get_value(loss(np.float32(0.5)))

    assert (value, type(value)) == (0.5, float)


class Counting:
    """A model whose whole state is a number."""

    def __init__(self, directory):
        self.directory = directory
        self.number = 0

    def save(self, name_suffix):
        return write_saved_model(
            saved_model_path(self.directory, name_suffix),
            backend="tests",
            restore_fallback=None,
            inputs={},
            outputs={},
            tree=self.state_dict(),
            rung="weights",
        )

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = state["number"]

    def saved(self):
        return {path.name: find_saved(path).tree()["number"] for path in self.directory.glob("model_*")}

    def train(self, hook, values, first=0):
        for self.number, value in enumerate(values, first):
            hook.after_epoch(loss(value), epoch_id=self.number)


@pytest.mark.parametrize(
    ("condition", "values", "kept"),
    [
        pytest.param("min", [5, 3, 4, 6, 3.5], [1, 4], id="min"),
        pytest.param("max", [5, 3, 4, 6, 3.5], [0, 3], id="max"),
        pytest.param("min", [2, 2, 2, math.nan], [0, 1], id="of-equal-ones-the-earlier"),
        pytest.param("min", [2], [0], id="fewer"),
    ],
)
def test_several_of_the_best_can_be_kept(tmp_path, condition, values, kept):
    """Each is there under its epoch, and the best of all under its usual name; others are removed."""
    model = Counting(tmp_path)
    model.train(SaveBest(model, condition=condition, keep=2, output_dir=str(tmp_path)), values)

    best = values.index({"min": min, "max": max}[condition](values))
    assert model.saved() == {"model_best": best, **{f"model_best_{epoch}": epoch for epoch in kept}}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(0, 9), st.integers(0, 2))
def test_a_killed_training_keeps_what_an_untouched_one_does(tmp_path_factory, hand_over, values, cut, repeated):
    """Also where the last epochs before the kill are repeated, and have removed models already."""
    cut = min(cut, len(values))
    untouched, killed = (Counting(tmp_path_factory.mktemp("run")) for _ in range(2))
    untouched.train(SaveBest(untouched, keep=2, output_dir=str(untouched.directory)), values)

    hook = SaveBest(killed, keep=2, output_dir=str(killed.directory))
    committed = max(0, cut - repeated)
    killed.train(hook, values[:committed])
    resumed = hand_over(hook, SaveBest(killed, keep=2, output_dir=str(killed.directory)))
    killed.train(hook, values[committed:cut], committed)
    killed.train(resumed, values[committed:], committed)

    assert killed.saved() == untouched.saved()


def test_the_best_weights_can_be_restored_in_the_end(tmp_path):
    """Only where the training has ended, not where it failed or was stopped."""
    model = Counting(tmp_path)
    hook = SaveBest(model, restore=True, output_dir=str(tmp_path))
    model.train(hook, [3, 1, 2])
    hook.after_training(success=False)
    assert model.number == 2

    hook.after_training(success=True)

    assert model.number == 1


def test_a_model_that_saves_itself_elsewhere_is_named(model, tmp_path):
    """Nothing could be removed there, and nothing be restored into a model without a state."""
    with pytest.raises(HookError, match=r"keep: expected the saved model at .*model_best_0, where it could be removed"):
        SaveBest(model, keep=2, output_dir=str(tmp_path)).after_epoch(loss(1))

    hook = SaveBest(model, restore=True, output_dir=str(tmp_path))
    hook.after_epoch(loss(1))
    with pytest.raises(HookError, match="restore: Model has no load_state_dict"):
        hook.after_training(success=True)


HOOKS = [
    pytest.param(SaveEvery, {"on_failure": None}, id="every"),
    pytest.param(SaveLatest, {}, id="latest"),
    pytest.param(SaveBest, {}, id="best"),
]


@pytest.mark.parametrize(("cls", "arguments"), HOOKS)
def test_a_model_that_cannot_be_saved_fails_the_training_by_default(model, cls, arguments):
    """The error is an OSError, raised from the model's own."""
    model.fails = True
    with pytest.raises(SaveError, match=r"the model could not be saved as '.*': OSError: disk full") as error:
        cls(model, **arguments).after_epoch(epoch_id=0, epoch_data=loss(1.0))

    assert isinstance(error.value, IOError)
    assert str(error.value.__cause__) == "disk full"


@pytest.mark.parametrize(("cls", "arguments"), HOOKS)
@pytest.mark.parametrize("argument", ["on_failure", "on_save_failure"])
def test_a_failure_can_be_tolerated(model, caplog, cls, arguments, argument):
    """``warn`` says so, ``ignore`` does not; both names of the argument are understood by every hook."""
    model.fails = True
    cls(model, **{argument: "ignore"}).after_epoch(epoch_id=0, epoch_data=loss(1.0))
    assert not caplog.records

    cls(model, **{argument: "warn"}).after_epoch(epoch_id=0, epoch_data=loss(1.0))
    assert [(record.levelno, record.getMessage().split(" as ")[0]) for record in caplog.records] == [
        (logging.WARNING, "the model could not be saved")
    ]


def test_an_interrupt_is_no_failure_to_save():
    """Who wants to stop the program does, whatever the policy."""

    class Interrupted:
        def save(self, name_suffix):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SaveLatest(Interrupted(), on_save_failure="ignore").after_epoch()


def test_a_best_model_that_could_not_be_saved_is_not_the_best(model):
    """The next value that is better than that of the last saved model is tried again."""
    hook = SaveBest(model, on_save_failure="ignore")
    hook.after_epoch(loss(5))
    model.fails = True
    hook.after_epoch(loss(1))
    model.fails = False

    hook.after_epoch(loss(3))

    assert model.saved == ["best", "best"]


@given(st.lists(st.integers(0, 9) | st.just(math.nan), max_size=10), st.integers(0, 10))
def test_a_resumed_run_saves_what_an_uninterrupted_one_does(hand_over, values, cut):
    """The best value survives: the first epoch after a resume is not the best by default."""
    saved = []

    class Remember:
        def save(self, name_suffix):
            saved.append(name_suffix)

    hook = SaveBest(Remember())
    expected = len([hook.after_epoch(loss(value)) for value in values] and saved)
    saved.clear()

    hook = SaveBest(Remember())
    for position, value in enumerate(values):
        if position == cut:
            hook = hand_over(hook, SaveBest(Remember()))
        hook.after_epoch(loss(value))

    assert len(saved) == expected


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (SaveEvery, {"n_epochs": 0}, "n_epochs: expected a whole number, 1 or more, got 0"),
        (
            SaveEvery,
            {"on_failure": "eror"},
            "on_save_failure: expected one of 'error', 'warn', 'ignore', got 'eror'; did you mean 'error'?",
        ),
        (
            SaveLatest,
            {"on_save_failure": "pass"},
            "on_save_failure: expected one of 'error', 'warn', 'ignore', got 'pass'",
        ),
        (
            SaveBest,
            {"on_save_failure": "warn", "on_failure": "ignore"},
            "on_save_failure and on_failure are two names of one argument; leave on_failure out",
        ),
        (SaveBest, {"keep": 2}, "output_dir: expected the run directory, which keep and restore need"),
        (SaveBest, {"condition": "less"}, "condition: expected one of 'min', 'max', got 'less'"),
    ],
)
def test_bad_arguments_are_refused(model, cls, arguments, message):
    """Mistakes are found when the hook is built."""
    with pytest.raises(ConfigError) as error:
        cls(model, **arguments)

    assert str(error.value) == message
