"""What is decided once for a stream's batches holds for those that are like the first, and for no others."""

from __future__ import annotations

import dis
import itertools
import os
import signal
import sys
import threading
from collections import OrderedDict, UserDict, defaultdict
from typing import Any

import numpy as np
import pytest

from emloop import AbstractHook
from emloop._streams import StreamWrapper, current_pass
from emloop.errors import BatchError
from emloop.hooks import LogProfile, StopOnNaN
from emloop.types import TrainingTerminated

from .conftest import CountingModel, Diary, ListDataset, batches


class Lengths(list[dict[str, list[int]]]):
    """A sequence, but not one that is known to run no code."""


def as_generator(values: Any) -> Any:
    yield from values


KINDS = [list, tuple, Lengths, iter, as_generator]


class Asks(CountingModel):
    """Notes where the stream stands while a batch is run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
        self.seen.append((tuple(stream.cursor), stream.consumed.number, stream.consumed.batch is batch))
        return super().run(batch, train)


def reads(kind: Any, values: Any, **arguments: Any) -> StreamWrapper:
    return StreamWrapper(lambda: kind(values), name="train", **arguments)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("buffer_size", [0, 2])
def test_the_position_is_right_while_a_batch_is_run(make_loop, kind, buffer_size):
    """It counts what was handed out, in every batch, and what is consumed is that batch."""
    model = Asks()

    make_loop(model=model).epoch([reads(kind, batches(1, 2, 3), buffer_size=buffer_size)])

    assert [((0, 1), 0, True), ((0, 2), 1, True), ((0, 3), 2, True)] == model.seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("buffer_size", [0, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_epochs_of_any_size_go_on_where_the_last_one_ended(make_loop, kind, buffer_size, size):
    """Every batch is run once, in order, and the state between epochs says where."""
    model, stream = CountingModel(), reads(kind, batches(1, 2, 3), buffer_size=buffer_size, epoch_size=size)
    loop = make_loop(model=model)

    for epoch in range(1, 4):
        loop.epoch([stream])

        state = stream.state_dict()
        done = epoch * size
        assert ((done - 1) // 3, (done - 1) % 3 + 1) == (state["pass"], state["batches"])
    assert [[1 + number % 3] for number in range(3 * size)] == [x for x, _ in model.runs]


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_ends_within_a_pass_goes_on_behind_the_batch_in_progress(make_loop, kind):
    """Neither a signal nor a hook loses a batch, since none is read before somebody wants it."""

    class Signals(AbstractHook):
        def after_batch(self, stream_name: str, batch_data: Any) -> None:
            if batch_data["x"] == [2]:
                os.kill(os.getpid(), signal.SIGINT)

    class Ends(AbstractHook):
        def after_batch(self, stream_name: str, batch_data: Any) -> None:
            if batch_data["x"] == [2]:
                raise TrainingTerminated

    for hook in (Signals(), Ends()):
        model, stream = CountingModel(), reads(kind, batches(1, 2, 3))
        loop = make_loop([hook], model=model)
        with pytest.raises(TrainingTerminated), loop:
            loop.epoch([stream])

        assert ((0, 2), 2, 2) == (tuple(stream.cursor), stream.state_dict()["epoch_batches"], loop.batches_since_commit)
        assert [[1], [2]] == [x for x, _ in model.runs]
        make_loop(model=model).epoch([stream])
        assert [[1], [2], [3]] == [x for x, _ in model.runs]


def test_a_signal_is_heard_behind_batches_that_are_left_out(make_loop):
    """A stream of which nothing fits does not keep the process."""

    def endless() -> Any:
        yield {"x": [1]}
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            yield {"x": []}

    loop = make_loop(on_empty_batch="ignore")
    with pytest.raises(TrainingTerminated, match="interrupted by SIGINT"), loop:
        loop.epoch([StreamWrapper(endless, name="train")])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_streams_own_code_sees_its_pass(make_loop, kind):
    """Not the model between two batches."""
    inside: list[Any] = []
    outside: list[Any] = []

    class Watches(CountingModel):
        def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
            outside.append(current_pass())
            return super().run(batch, train)

    class Looks(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            inside.append(current_pass())
            return super().__getitem__(index)

        def __iter__(self) -> Any:
            return map(self.__getitem__, range(len(self)))

    make_loop(model=Watches()).epoch([reads(kind, Looks(batches(1, 2, 3)), epoch_size=6)])

    assert [None] * 6 == outside
    assert None not in inside


class Fails:
    """Ends in an error, or in what would be taken for an end, at the third batch."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        if index == 2:
            raise self._error
        return {"x": [index]}


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("lost"), ValueError), (StopIteration(), RuntimeError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_stream_that_fails_within_a_pass_does_not_end_it(make_loop, error, kind):
    """The error arrives as it is, says where it was, and stands until the stream is restarted."""
    stream = StreamWrapper(lambda: Fails(error), name="train")
    loop = make_loop()

    with pytest.raises(kind) as caught:
        loop.epoch([stream])

    assert (0, 2) == tuple(stream.cursor)
    if kind is not KeyboardInterrupt:
        assert ["while batch 3 of stream 'train' was read, in epoch 1"] == caught.value.__notes__
    with pytest.raises(Exception, match=r"lost|interrupted|StopIteration"):
        next(stream)
    stream.restart()
    assert {"x": [0]} == next(stream)


@pytest.mark.parametrize("where", ["model", "hook", "check"])
def test_an_error_that_is_not_the_streams_leaves_the_stream_whole(make_loop, where):
    """In a notebook, the next epoch goes on behind the batch."""

    class Stumbles(CountingModel):
        def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
            if where == "model" and batch["x"] == [2]:
                raise ValueError("here")
            return super().run(batch, train)

    class Hook(AbstractHook):
        def after_batch(self, stream_name: str, batch_data: Any) -> None:
            if where == "hook" and batch_data["x"] == [2]:
                raise ValueError("here")

    odd = {"x": []} if where == "check" else {"x": [2]}
    model, stream = Stumbles(), reads(list, [*batches(1), odd, *batches(3)])
    loop = make_loop([Hook()], model=model)
    with pytest.raises(ValueError, match=r"here|appears to be empty"):
        loop.epoch([stream])

    loop.epoch([stream])

    assert [3] == model.runs[-1][0]


def default_of(**values: Any) -> Any:
    return defaultdict(list, values)


class Lazy(UserDict[str, Any]):
    """A mapping that is no dictionary."""


@pytest.mark.parametrize("make", [dict, OrderedDict, default_of, Lazy])
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"y": [1], "z": [1]}, r"stream 'train' does not provide 'x', which the model needs; it provides: 'y', 'z'"),
        ({"y": [1]}, r"stream 'train' does not provide 'x', which the model needs; it provides: 'y'"),
        ({"x": [1, 2], "y": [1]}, r"Stream `train` provides sources of different lengths: x: 2, y: 1\."),
        ({"x": [], "y": []}, r"2-th batch in stream `train` appears to be empty"),
        ({"x": [1], "y": 1}, r"stream 'train': source 'y' must be a sequence of examples, got int"),
        ({"x": [1], "y": [1], "out": [1]}, r"the model's outputs \['out'\] are named like sources of the batch"),
    ],
)
def test_a_batch_unlike_those_before_is_examined(make_loop, make, odd, message):
    """Whatever mapping it is, and although the stream was in order for two batches."""

    class Model(CountingModel):
        def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
            return {"out": list(batch["x"])}

    usual = [make(x=[1], y=[1]), make(x=[1, 2], y=[1, 2])]
    loop = make_loop(model=Model(), on_unused_sources="ignore")

    with pytest.raises(BatchError, match=message):
        loop.epoch([reads(list, [*usual, make(**odd)])])


def test_batches_of_many_kinds_and_sizes_are_run_alike(make_loop):
    """Sizes may change with every batch, sources may come and go, and so may the mapping's class."""
    given = [
        {"x": [1]},
        {"x": [1, 2]},
        OrderedDict(x=[3]),
        {"x": np.array([4, 5, 6]), "extra": (1, 2, 3)},
        {"extra": "ab", "x": [7, 8]},
        default_of(x=[9]),
        Lazy(x=[10]),
        {"x": [11]},
    ]
    model, diary = CountingModel(), Diary()

    make_loop([diary], model=model, on_unused_sources="ignore").epoch([reads(list, given)])

    assert [list(batch["x"]) for batch in given] == [x for x, _ in model.runs]
    sources = [set(event[3]) - {"y"} for event in diary.events if event[1] == "after_batch"]
    assert [set(batch) for batch in given] == sources


def test_a_policy_that_warns_goes_on_warning(make_loop, caplog):
    """Batch by batch, not for the first one only."""
    uneven = {"x": [1], "z": [1, 2]}

    make_loop(on_unequal_lengths="warn", on_unused_sources="ignore").epoch([reads(list, [uneven] * 3)])

    assert 3 == sum("different lengths" in record.getMessage() for record in caplog.records)


def test_an_event_that_does_nothing_is_not_fired(make_loop):
    """A hook that looks at epochs only costs no batch anything; one that overrides the event hears it all the same."""

    class Own(StopOnNaN):
        heard = 0

        def after_batch(self, stream_name: str, batch_data: Any) -> None:
            self.heard += 1
            super().after_batch(stream_name, batch_data)

    own = Own()

    assert not make_loop([StopOnNaN()]).events.batch_listeners
    assert make_loop([StopOnNaN(after_batch=True)]).events.batch_listeners
    make_loop([own]).epoch(["train"])
    assert 2 == own.heard


class Times(AbstractHook):
    """Keeps the profile."""

    def after_epoch_profile(self, epoch_id: int, profile: Any, streams: Any) -> None:
        self.profile = profile


class Sums(Times):
    """Is content with sums."""

    only_sums_times = True

    def after_epoch_profile(self, epoch_id: int, profile: Any, streams: Any) -> None:
        super().after_epoch_profile(epoch_id, profile, streams)


def test_only_as_many_times_are_kept_as_a_hook_needs(make_loop):
    """One sum in place of a time per batch, if that is enough for everybody; who extends such a hook gets all times."""

    class Needs(Sums):
        def after_epoch_profile(self, epoch_id: int, profile: Any, streams: Any) -> None:
            super().after_epoch_profile(epoch_id, profile, streams)

    for hooks, count in (([Sums(), LogProfile()], 1), ([Sums(), Times()], 2), ([Needs()], 2)):
        make_loop(hooks).epoch(["train"])
        assert {event: count if event != "after_epoch_hooks" else 1 for event in hooks[0].profile} == {
            event: len(times) for event, times in hooks[0].profile.items()
        }
        assert all(sum(times) > 0 for times in hooks[0].profile.values())


@pytest.mark.parametrize(("buffer", "ahead"), [(3, 3), ({"size": 3}, 3), ({"size": 3, "gate": "model"}, 0)])
def test_batches_are_read_while_any_model_computes(make_loop, buffer, ahead):
    """Also while one does that knows nothing of streams; unless the gate is left to the model."""
    read = threading.Semaphore(0)

    def stream() -> Any:
        for batch in batches(*range(6)):
            yield batch
            read.release()

    class Waits(CountingModel):
        def run(self, batch: Any, train: bool) -> Any:  # type: ignore[override]
            if not self.runs:
                self.ahead = sum(read.acquire(timeout=10 if ahead else 0.05) for _ in range(ahead or 1))
            return super().run(batch, train)

    model = Waits()
    dataset = ListDataset()
    dataset.train_stream = stream  # type: ignore[attr-defined]
    make_loop(dataset=dataset, model=model, buffer=buffer).epoch(["train"])

    assert ahead == model.ahead
    assert [[value] for value in range(6)] == [x for x, _ in model.runs]


@pytest.mark.parametrize(
    ("buffer", "message"),
    [
        (-1, r"main_loop\.buffer\.size: expected whole number >= 0, got -1"),
        ({"size": 2, "gate": "shut"}, r"main_loop\.buffer\.gate: expected one of 'open', 'model', got 'shut'"),
        ({"sice": 2}, r"main_loop\.buffer: unknown argument 'sice'"),
    ],
)
def test_a_buffer_that_cannot_be_is_refused(make_loop, buffer, message):
    """Where it is wrong, and what is accepted."""
    with pytest.raises(ValueError, match=message):
        make_loop(buffer=buffer)


def lives(thread: threading.Thread) -> bool:
    """Whether a thread that was told to end goes on."""
    thread.join(10)
    return thread.is_alive()


class Signal:
    """Delivers a signal at the n-th place in a stream's code, ours or the user's, where Python runs handlers."""

    def __init__(self, loop: Any, number: int) -> None:
        self._loop = loop
        self._left = number
        self._places: dict[Any, set[int]] = {}

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        if "_streams" not in frame.f_code.co_filename and frame.f_code is not as_generator.__code__:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and frame.f_lasti in self._of(frame.f_code):
            self._left -= 1
            if not self._left:
                sys.settrace(None)
                self._loop._on_signal(signal.SIGINT, frame)
        return self

    def _of(self, code: Any) -> set[int]:
        if code not in self._places:
            steps = [step for step in dis.get_instructions(code) if step.opname != "CACHE"]
            self._places[code] = {
                after.offset
                for step, after in itertools.pairwise(steps)
                if step.opname.startswith("CALL") or after.opname in ("RESUME", "JUMP_BACKWARD")
            }
        return self._places[code]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, as_generator])
@pytest.mark.parametrize("buffer_size", [0, 2])
def test_a_signal_at_any_instant_leaves_a_position_behind_what_was_run(make_loop, kind, buffer_size):
    """Also while the stream is read: a batch that counts was run, and one that was run counts."""
    for number in itertools.count(1):
        model, stream = CountingModel(), reads(kind, batches(1, 2), buffer_size=buffer_size, epoch_size=4)
        loop = make_loop(model=model)
        before = sys.gettrace()
        try:
            with loop:
                sys.settrace(Signal(loop, number))
                loop.epoch([stream])
        except (TrainingTerminated, KeyboardInterrupt):
            pass
        else:
            break
        finally:
            sys.settrace(before)
        assert not [thread for thread in threading.enumerate() if thread.name == "stream train" and lives(thread)]
        assert len(model.runs) == 2 * stream.cursor.pass_index + stream.cursor.batches, number
    assert [[1], [2], [1], [2]] == [x for x, _ in model.runs]
    assert number > 50
