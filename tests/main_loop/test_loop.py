"""The order of events, the numbering of epochs, and what reaches model and hooks."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from emloop import AbstractHook
from emloop.datasets import StreamWrapper
from emloop.errors import ConfigError, HookError, MissingStreamError
from emloop.hooks import StopAfter
from emloop.types import TrainingTerminated

from .conftest import CountingModel, Diary, ListDataset, batches


def test_events_come_in_the_documented_order(make_loop):
    """before_training, the zeroth epoch, then training and evaluation of each epoch, then after_training."""
    diary = Diary()

    make_loop([diary], extra_streams=["valid"], epochs_count=1).run_training()

    assert [
        ("diary", "before_training"),
        ("diary", "after_batch", "train", {"x": [1], "y": [2]}),
        ("diary", "after_batch", "train", {"x": [2], "y": [4]}),
        ("diary", "after_batch", "valid", {"x": [3], "y": [6]}),
        ("diary", "after_epoch", 0, ["train", "valid"]),
        ("diary", "after_epoch_profile", 0, ["train", "valid"]),
        ("diary", "after_batch", "train", {"x": [1], "y": [2]}),
        ("diary", "after_batch", "train", {"x": [2], "y": [4]}),
        ("diary", "after_batch", "valid", {"x": [3], "y": [6]}),
        ("diary", "after_epoch", 1, ["train", "valid"]),
        ("diary", "after_epoch_profile", 1, ["train", "valid"]),
        ("diary", "after_training", True),
    ] == diary.events


def test_only_the_training_stream_trains(make_loop):
    """The zeroth epoch and the extra streams are run with train=False."""
    model = CountingModel()

    make_loop(model=model, extra_streams=["valid"], epochs_count=1).run_training()

    zeroth = [([1], False), ([2], False), ([3], False)]
    assert [*zeroth, ([1], True), ([2], True), ([3], False)] == model.runs


def test_every_event_reaches_all_hooks_before_the_next_event(make_loop):
    """Hooks are called in the order of the list, event by event."""
    shared: list[Any] = []

    make_loop([Diary("a", shared), Diary("b", shared)], epochs_count=1, skip_zeroth_epoch=True).run_training()

    assert ["a", "b"] * (len(shared) // 2) == [name for name, *_ in shared]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_epochs_count_ends_the_training_after_that_many_epochs(make_loop, count):
    """0 means: only the zeroth epoch; the loop counts what it has trained."""
    loop = make_loop(epochs_count=count)

    loop.run_training()

    assert count == loop.training_epochs_done


def test_a_lowered_epochs_count_that_is_passed_already_ends_the_training_at_once(make_loop):
    """A second run of a loop that has reached its limit trains nothing more."""
    loop = make_loop(epochs_count=2)
    loop.run_training()
    loop.epochs_count = 1

    loop.run_training()

    assert loop.training_epochs_done == 2


def test_the_zeroth_epoch_changes_no_training_batch(make_loop):
    """With epochs of a fixed size, training starts with the first batch whether or not epoch 0 is evaluated."""
    trained = []
    for skip in (False, True):
        model = CountingModel()
        dataset = ListDataset(train=batches(1, 2, 3))
        loop = make_loop(dataset=dataset, model=model, fixed_epoch_size=2, epochs_count=2, skip_zeroth_epoch=skip)
        loop.run_training()
        trained.append([x for x, train in model.runs if train])

    assert [[[1], [2], [3], [1]]] * 2 == trained


def test_all_streams_are_looked_up_before_the_first_batch(make_loop):
    """A missing extra stream ends the training before it has cost an epoch; the message lists the streams."""
    model = CountingModel()

    class Dataset(ListDataset):
        def train_stream(self) -> Any:
            return batches(1)

        def valid_stream(self) -> Any:
            return batches(1)

    loop = make_loop(model=model, dataset=Dataset(), extra_streams=["vaild"], epochs_count=1)

    with pytest.raises(MissingStreamError, match="no stream 'vaild'") as caught:
        loop.run_training()
    assert "did you mean 'valid'?\n  its streams: train, valid" in str(caught.value)
    assert isinstance(caught.value, AttributeError)
    assert [] == model.runs


def test_a_hook_that_terminates_in_after_batch_does_not_hide_the_batch_from_the_others(make_loop):
    """The hooks behind it see the batch, too; the training ends in success."""
    shared: list[Any] = []
    hooks = [Diary("a", shared, after_batch=TrainingTerminated("enough")), Diary("b", shared)]

    make_loop(hooks, epochs_count=1).run_training()

    assert [
        ("a", "before_training"),
        ("b", "before_training"),
        ("a", "after_batch", "train", {"x": [1], "y": [2]}),
        ("b", "after_batch", "train", {"x": [1], "y": [2]}),
        ("a", "after_training", True),
        ("b", "after_training", True),
    ] == shared


def test_a_hook_that_terminates_in_after_epoch_lets_the_others_see_the_epoch(make_loop, caplog):
    """Remaining hooks and the profile still run, and the last reason counts."""
    caplog.set_level(logging.INFO)
    shared: list[Any] = []
    hooks = [
        Diary("a", shared, after_epoch=TrainingTerminated("one")),
        Diary("b", shared, after_epoch=TrainingTerminated("two")),
    ]

    make_loop(hooks).run_training()

    events = [(name, event) for name, event, *_ in shared if event != "after_batch"]
    assert ("b", "after_epoch") in events
    assert events.index(("b", "after_epoch_profile")) > events.index(("b", "after_epoch"))
    assert "Training terminated: two" in caplog.messages


def test_termination_before_the_first_batch_is_an_orderly_end(make_loop):
    """A hook whose limit is reached already ends the training in before_training, without an error."""
    model = CountingModel()

    make_loop([Diary(before_training=TrainingTerminated("reached"))], model=model).run_training()

    assert [] == model.runs


@pytest.mark.parametrize("event", ["before_training", "after_batch", "after_epoch", "after_epoch_profile"])
def test_an_error_in_a_hook_keeps_its_type_and_says_which_hook_and_event(make_loop, event):
    """The traceback is the user's; a note names hook and event; every started hook sees after_training(False)."""
    shared: list[Any] = []
    hooks = [Diary("a", shared), Diary("b", shared, **{event: ZeroDivisionError("oops")})]

    with pytest.raises(ZeroDivisionError, match="oops") as caught:
        make_loop(hooks).run_training()

    assert f"raised by hook Diary-2 in {event}" in caught.value.__notes__[0]
    assert [("a", "after_training", False), ("b", "after_training", False)] == shared[-2:]


def test_an_error_in_after_training_does_not_keep_the_other_hooks_from_theirs(make_loop):
    """All hooks get after_training; the first error comes out afterwards."""
    shared: list[Any] = []
    hooks = [Diary("a", shared, after_training=OSError("disk")), Diary("b", shared)]

    with pytest.raises(OSError, match="disk"):
        make_loop(hooks, epochs_count=0).run_training()

    assert ("b", "after_training", True) == shared[-1]


def test_hooks_that_were_never_started_are_not_ended(make_loop):
    """If the first hook fails in before_training, the second sees neither event."""
    shared: list[Any] = []
    hooks = [Diary("a", shared, before_training=ValueError("no")), Diary("b", shared)]

    with pytest.raises(ValueError, match="no"):
        make_loop(hooks).run_training()

    assert [("a", "before_training"), ("a", "after_training", False)] == shared


def test_evaluation_runs_all_its_streams_as_one_epoch(make_loop):
    """All events of an epoch fire once, whatever the number of streams; nothing is trained."""
    diary, model = Diary(), CountingModel()

    make_loop([diary], model=model, extra_streams=["valid"]).run_evaluation("valid", "train")

    names = [event for _, event, *_ in diary.events]
    assert names.count("before_training") == names.count("after_training") == 1
    assert [(0, ["valid", "train"])] == [tuple(rest) for _, event, *rest in diary.events if event == "after_epoch"]
    assert all(not train for _, train in model.runs)


def test_evaluations_always_start_at_the_beginning_of_a_stream(make_loop):
    """An evaluation that was broken off leaves no trace in the next."""
    model = CountingModel()
    stop = Diary(after_batch=TrainingTerminated("first batch is enough"))
    loop = make_loop([stop], model=model)

    loop.run_evaluation("train")
    loop.run_evaluation("train")

    assert [([1], False), ([1], False)] == model.runs


def test_the_loop_is_a_context_manager_that_gives_itself(make_loop):
    """``with loop as x`` binds the loop and brackets epochs driven from Python."""
    diary = Diary()
    loop = make_loop([diary])

    with loop as entered:
        entered.epoch(["train"], valid_streams=["valid"])
        entered.epoch(["train"])

    assert entered is loop
    assert loop.training_epochs_done == 2
    assert ("diary", "before_training") == diary.events[0]
    assert ("diary", "after_training", True) == diary.events[-1]


def test_an_epoch_takes_names_iterables_and_wrappers(make_loop):
    """What has no name gets one, the same in after_batch and epoch_data."""
    diary = Diary()

    make_loop([diary]).epoch([batches(7)], ["valid", StreamWrapper(lambda: batches(8)), batches(9)])

    expected = ["unnamed_train_0", "valid", "unnamed_eval_0", "unnamed_eval_1"]
    assert expected == [stream for _, event, stream, *_ in diary.events if event == "after_batch"]
    assert ("diary", "after_epoch", 1, expected) in diary.events


@pytest.mark.parametrize(("train", "evaluate"), [(["train", "train"], []), (["train"], ["train"])])
def test_an_epoch_refuses_a_stream_that_is_given_twice(make_loop, train, evaluate):
    """Two streams of one name would share their entry in epoch_data."""
    with pytest.raises(ConfigError, match="train"):
        make_loop().epoch(train, evaluate)


def test_an_epoch_of_evaluation_only_does_not_count(make_loop):
    """Only training advances the number of epochs."""
    loop = make_loop()

    loop.epoch([], ["valid"])

    assert loop.training_epochs_done == 0


def test_a_model_whose_run_takes_two_arguments_is_enough(make_loop):
    """``stream`` is passed only to models that accept it."""

    class TwoArguments(CountingModel):
        def run(self, batch: Any, train: bool) -> Any:  # type: ignore[override]
            return super().run(batch, train)

    model = TwoArguments()

    make_loop(model=model, epochs_count=1, skip_zeroth_epoch=True).run_training()

    assert [([1], True), ([2], True)] == model.runs


def test_the_stream_reaches_a_model_that_wants_it(make_loop):
    """The wrapper is passed, so that the model can allow buffering."""
    seen = []

    class Curious(CountingModel):
        def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
            seen.append(stream.name)
            return super().run(batch, train)

    make_loop(model=Curious(), epochs_count=1, skip_zeroth_epoch=True, extra_streams=["valid"]).run_training()

    assert ["train", "train", "valid"] == seen


class Ahead(CountingModel):
    """A model that prepares batches in advance, and writes down how it goes on."""

    def __init__(self, events):
        super().__init__()
        self._events = events

    def prefetch(self, batch):
        return [-value for value in batch["x"]]

    def run(self, batch, train, stream):
        self._events.append(("model", "run", stream.name, stream.prefetched))
        return super().run(batch, train)

    def end_epoch(self):
        self._events.append(("model", "end_epoch"))


@pytest.mark.parametrize("buffer", [0, 4])
def test_a_model_may_prepare_batches_that_are_read_ahead(make_loop, buffer):
    """What it made of a batch comes with that batch; without a buffer there is nothing to come."""
    events = []
    make_loop(model=Ahead(events), buffer=buffer, epochs_count=1).run_training()

    made = [event[-1] for event in events if event[:3] == ("model", "run", "train")]
    assert made == ([[-1], [-2]] * 2 if buffer else [None] * 4)


def test_a_model_hears_of_the_end_of_every_training_epoch(make_loop):
    """After its last training batch, before anything else: evaluations, and hooks, which may save it."""
    events = []
    loop = make_loop([Diary(shared=events)], model=Ahead(events), extra_streams=["valid"], epochs_count=2)
    loop.run_training()
    loop.run_evaluation("valid")

    told = [event[1:3] if event[1] == "run" else event[1] for event in events]
    train, valid = ("run", "train"), ("run", "valid")
    epoch = [train, train, "end_epoch", valid, "after_epoch"]
    assert [entry for entry in told if entry in epoch] == [
        *(train, train, valid, "after_epoch"),
        *epoch,
        *epoch,
        *(valid, "after_epoch"),
    ]


def test_a_hook_belongs_to_one_loop(make_loop):
    """Registering it with a second loop is an error."""
    diary = Diary()
    make_loop([diary])

    with pytest.raises(HookError, match="registered with a main loop already"):
        make_loop([diary])


def test_hooks_may_come_from_a_generator(make_loop):
    """They are listed once, so that they fire in every epoch."""
    diaries = [Diary(), Diary()]

    make_loop((diary for diary in diaries), epochs_count=1).run_training()

    assert all(("diary", "after_training", True) in diary.events for diary in diaries)


def test_hooks_extend_the_batch_for_the_hooks_behind_them(make_loop):
    """batch_data is one mutable mapping for all hooks of a batch."""
    diary = Diary()

    class Extends(AbstractHook):
        stateless = True

        def after_batch(self, stream_name: str, batch_data: Any) -> None:
            batch_data["z"] = [0]

    make_loop([Extends(), diary], epochs_count=1).run_training()

    assert ("diary", "after_batch", "train", {"x": [1], "y": [2], "z": [0]}) in diary.events


def test_is_training_tells_hooks_whether_a_batch_trained_the_model(make_loop):
    """It is false in the zeroth epoch and on evaluated streams."""
    seen = []

    class Asks(AbstractHook):
        stateless = True

        def after_batch(self, stream_name: str, batch_data: Any) -> None:
            seen.append((stream_name, self._main_loop.is_training))

    make_loop([Asks()], extra_streams=["valid"], epochs_count=1).run_training()

    zeroth = [("train", False), ("train", False), ("valid", False)]
    assert [*zeroth, ("train", True), ("train", True), ("valid", False)] == seen


@pytest.mark.parametrize("buffer", [0, 1, 16])
def test_reading_ahead_changes_nothing(make_loop, buffer):
    """The model sees the same batches in the same order with every buffer."""
    model = CountingModel()
    dataset = ListDataset(train=batches(*range(10)), valid=batches(*range(3)))

    make_loop(dataset=dataset, model=model, buffer=buffer, extra_streams=["valid"], epochs_count=2).run_training()

    epoch = [[value] for value in (*range(10), *range(3))]
    assert epoch * 3 == [x for x, _ in model.runs]


def test_workers_need_a_dataset_that_a_configuration_describes(make_loop, caplog):
    """An object cannot be made anew elsewhere: one line, and the streams are read as ever."""
    model = CountingModel()
    make_loop(model=model, workers=2, epochs_count=1, skip_zeroth_epoch=True).run_training()

    assert model.runs
    (said,) = (record.getMessage() for record in caplog.records if "main_loop.workers" in record.getMessage())
    assert said == (
        "main_loop.workers: this process loads all streams, since others could only make a dataset that a "
        "configuration describes, and none but your own"
    )


def test_times_are_kept_only_where_a_hook_looks_at_them(make_loop):
    """Without a listener the profile stays empty, so that memory does not grow with the epoch."""
    loop = make_loop([StopAfter(epochs=1)])

    loop.run_training()

    assert {} == loop._epoch_profile


def test_the_profile_has_one_time_per_batch_and_event(make_loop):
    """Names and counts are those of the reference."""
    profiles = []

    class Looks(AbstractHook):
        stateless = True

        def after_epoch_profile(self, epoch_id: int, profile: Any, streams: Any) -> None:
            profiles.append({event: len(times) for event, times in profile.items()})

    make_loop([Looks()], extra_streams=["valid"], epochs_count=1, skip_zeroth_epoch=True).run_training()

    assert [
        {
            "read_batch_train": 2,
            "eval_batch_train": 2,
            "after_batch_hooks_train": 2,
            "read_batch_valid": 1,
            "eval_batch_valid": 1,
            "after_batch_hooks_valid": 1,
            "after_epoch_hooks": 1,
        }
    ] == profiles
