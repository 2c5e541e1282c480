"""Taking a stream up again: after any batch, of any kind of stream, it goes on as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest

from emloop._state.random import RUN_SEED, random_state, restore_random_state
from emloop._state.tree import dump_tree, equal_trees, load_tree
from emloop._streams import StreamWrapper, current_pass
from emloop.errors import CannotResumeError, StateError

BATCHES = 5
EVENTS = 14
"""Requests of a whole run: more than two passes, the ends of epochs among them."""


def pass_rng(stream):
    return current_pass().rng(stream)


@pytest.fixture(autouse=True)
def _run_seed():
    token = RUN_SEED.set(11)
    yield
    RUN_SEED.reset(token)


def batch(index, noise=0.0):
    return {"index": np.array([index]), "noise": np.array([noise])}


def drawn(index):
    """A batch with a number drawn for it, which only the right generator in the right place draws."""
    return batch(index, pass_rng("train").normal())


class Numbers:
    """Batches by number; knows which were read."""

    def __init__(self):
        self.read = []
        self._order = pass_rng("train").permutation(BATCHES)

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        self.read.append(index)
        return drawn(self._order[index])


class Loader:
    """An iterable that keeps its position itself, as torchdata's loaders do."""

    def __init__(self):
        self.read = []
        self._next = 0
        self._order = pass_rng("train").permutation(BATCHES)

    def __iter__(self):
        while self._next < BATCHES:
            self.read.append(self._next)
            self._next += 1
            yield drawn(self._order[self._next - 1])

    def state_dict(self):
        return {"next": self._next}

    def load_state_dict(self, state):
        self._next = state["next"]


class Cursor:
    """An iterator with a position, as Grain's are; its state is bytes."""

    def __init__(self):
        self.read = []
        self._next = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self._next == BATCHES:
            raise StopIteration
        self.read.append(self._next)
        self._next += 1
        return drawn(self._next - 1)

    def get_state(self):
        return json.dumps(self._next).encode()

    def set_state(self, state):
        self._next = json.loads(state)


class Cursors:
    """An iterable without a state, whose iterator has one."""

    def __init__(self):
        self._cursor = Cursor()

    @property
    def read(self):
        return self._cursor.read

    def __iter__(self):
        return self._cursor


def shuffled():
    rng = pass_rng("train")
    return (drawn(index) for index in rng.permutation(BATCHES))


def generator():
    for index in pass_rng("train").permutation(BATCHES):
        yield drawn(index)


EXACT = [pytest.param(kind, id=kind.__name__) for kind in (Numbers, Loader, Cursor, Cursors)]
KINDS = [
    *EXACT,
    pytest.param(lambda: [batch(index) for index in pass_rng("train").permutation(BATCHES)], id="list"),
    pytest.param(generator, id="generator"),
    pytest.param(shuffled, id="expression"),
    pytest.param(lambda: map(drawn, pass_rng("train").permutation(BATCHES)), id="map"),
]


def request(stream):
    """What comes next, as something that compares."""
    try:
        got = next(stream)
    except StopIteration:
        return "end"
    return int(got["index"][0]), float(got["noise"][0])


def run(stream, events):
    """Events as a model would see them that lets the stream be read ahead."""
    seen = []
    with stream:
        for _ in range(events):
            seen.append(request(stream))
            with stream.allow_buffering:
                pass
    return seen


def saved(stream):
    """The state as it comes back from its files."""
    return load_tree(*dump_tree(stream.state_dict()))


@pytest.mark.parametrize("epoch_size", [-1, 2, 7])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (4, 4), (0, 4), (4, 0)])
@pytest.mark.parametrize("stream_fn", KINDS)
def test_a_stream_goes_on_after_any_batch_as_if_nothing_had_happened(stream_fn, before, after, epoch_size):
    """Stopped behind every single batch and end of an epoch, with one buffer, and resumed, with another."""
    uninterrupted = run(StreamWrapper(stream_fn, 0, epoch_size), EVENTS)
    for cut in range(EVENTS):
        first = StreamWrapper(stream_fn, before, epoch_size)
        assert run(first, cut) == uninterrupted[:cut]
        second = StreamWrapper(stream_fn, after, epoch_size)
        second.load_state_dict(saved(first))
        assert second.cursor == first.cursor
        assert run(second, EVENTS - cut) == uninterrupted[cut:]


@pytest.mark.parametrize("buffer_size", [0, 4])
@pytest.mark.parametrize("stream_fn", KINDS)
def test_a_resumed_stream_can_be_stopped_at_once_and_again(stream_fn, buffer_size):
    """A state that is taken before anything was read since, or one batch later, is as good as the first."""
    uninterrupted = run(StreamWrapper(stream_fn), EVENTS)
    seen = []
    state = saved(StreamWrapper(stream_fn, buffer_size))
    for _ in range(EVENTS):
        idle = StreamWrapper(stream_fn, buffer_size)
        idle.load_state_dict(state)
        assert saved(idle).items() == state.items()
        idle.open()
        assert saved(idle).items() == state.items()
        stream = StreamWrapper(stream_fn, buffer_size)
        stream.load_state_dict(saved(idle))
        seen += run(stream, 1)
        state = saved(stream)
    assert seen == uninterrupted


@pytest.mark.parametrize("kind", EXACT)
def test_an_exact_stream_jumps(kind):
    """No batch before the position is read again."""
    made = []

    def stream_fn():
        made.append(kind())
        return made[-1]

    first = StreamWrapper(stream_fn)
    run(first, 3)
    second = StreamWrapper(stream_fn, 4)
    second.load_state_dict(saved(first))
    run(second, 1)

    assert (second.level, made[-1].read[0]) == ("exact", 3)


@pytest.mark.parametrize(
    ("stream_fn", "level"),
    [
        *(pytest.param(kind, "exact", id=kind.__name__) for kind in (Numbers, Loader, Cursor, Cursors)),
        pytest.param(lambda: [batch(0)], "exact", id="list"),
        pytest.param(generator, "replay", id="generator"),
        pytest.param(lambda: iter([batch(0)]), "epoch", id="iterator"),
        pytest.param(lambda: {"a": 1}, "epoch", id="mapping"),
    ],
)
@pytest.mark.parametrize("buffer_size", [0, 2])
def test_the_level_follows_from_what_the_method_returns(stream_fn, level, buffer_size):
    """It is known before the first batch, and the stream is opened only once."""
    calls = []
    stream = StreamWrapper(lambda: calls.append(0) or stream_fn(), buffer_size)
    stream.open()
    assert stream.level == level
    if level != "epoch":
        run(stream, 1)
    assert len(calls) == 1


def test_the_start_of_a_pass_needs_nothing_that_came_before():
    """Resumed between two epochs, no kind of stream is read twice."""
    calls = []

    def stream_fn():
        calls.append(0)
        return map(drawn, range(BATCHES))

    first = StreamWrapper(stream_fn)
    run(first, 2 * (BATCHES + 1))
    state = saved(first)
    assert {key: state[key] for key in ("pass", "batches", "digest")} == {"pass": 2, "batches": 0, "digest": None}
    calls.clear()
    second = StreamWrapper(stream_fn)
    second.load_state_dict(state)
    run(second, 1)
    assert len(calls) == 1


def test_a_generator_that_differs_when_read_again_is_found_out():
    """The last batch is compared; the message names stream, pass, batch and ways out, and reading can go on."""
    unseeded = np.random.default_rng()
    stream_fn = lambda: (batch(index, unseeded.normal()) for index in range(BATCHES))  # noqa: E731
    first = StreamWrapper(stream_fn, name="train")
    run(first, BATCHES + 1 + 3)
    second = StreamWrapper(stream_fn, name="train")
    second.load_state_dict(saved(first))
    with pytest.raises(CannotResumeError) as raised:
        second.open()
    assert str(raised.value) == (
        "stream 'train' cannot go on exactly where it stopped: in pass 1 it gave another batch 2 when read again. "
        "Draw its random numbers from self.rng('train'), or return a sequence of batches; "
        "main_loop.on_inexact_resume: warn goes on nevertheless"
    )
    assert [request(second)[0], request(second)[0], request(second)] == [3, 4, "end"]


@pytest.mark.parametrize("buffer_size", [0, 2])
def test_the_error_arrives_as_it_is_with_the_first_request_too(buffer_size):
    """Without ``open``, entering or reading raises the same error, also where a thread would read."""
    counter = itertools.count()
    stream_fn = lambda: (batch(next(counter)) for _ in range(BATCHES))  # noqa: E731
    first = StreamWrapper(stream_fn)
    run(first, 2)
    second = StreamWrapper(stream_fn, buffer_size)
    second.load_state_dict(saved(first))
    with pytest.raises(CannotResumeError):
        run(second, 1)
    assert run(second, 1) == [(next(counter) - 1, 0.0)]


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        (
            generator,
            lambda: (drawn(index) for index in range(1)),
            "ended after 1 batches when read again, and 3 of them",
        ),
        (generator, lambda: [batch(index) for index in range(4)], "gave another batch 2 when read again"),
        (Numbers, generator, "could jump to a batch when the position was saved"),
        (Loader, Numbers, "kept a state when the position was saved, and returns a sequence now"),
        (Numbers, lambda: [batch(0), batch(1)], "has 2 batches now, and 3 of them were read before"),
    ],
)
def test_a_stream_that_became_another_is_found_out(then, now, message):
    """What cannot be brought to its position says why."""
    first = StreamWrapper(then, name="train")
    run(first, 3)
    second = StreamWrapper(now, name="train")
    second.load_state_dict(saved(first))
    with pytest.raises(CannotResumeError, match=message):
        second.open()


def test_a_generator_that_became_a_sequence_of_the_same_batches_goes_on():
    """Improving a dataset does not break a run where the batches are the same."""
    first = StreamWrapper(generator)
    expected = run(first, 3)
    whole = run(StreamWrapper(generator), BATCHES)
    second = StreamWrapper(lambda: [batch(*event) for event in whole])
    second.load_state_dict(saved(first))
    assert [*expected, *run(second, 2)] == whole


@pytest.mark.parametrize("buffer_size", [0, 2])
@pytest.mark.parametrize("draw", [pytest.param(random.random, id="python"), pytest.param(np.random.rand, id="numpy")])
def test_a_stream_that_draws_from_the_global_random_state_is_told(draw, buffer_size, caplog):
    """Such a stream is no longer said to be replayable, and its owner learns once what to change."""
    stream = StreamWrapper(lambda: (batch(index, draw()) for index in range(BATCHES)), buffer_size, name="train")
    assert stream.level == "replay"
    run(stream, 1)

    assert stream.level == "epoch"
    (record,) = caplog.records
    assert record.getMessage() == (
        "Stream `train` draws from the global random state of Python, NumPy or a framework, so it can be resumed "
        "exactly only at the start of a pass; draw from self.rng('train') instead"
    )


@pytest.mark.parametrize(("buffer_size", "told"), [(0, 0), (2, 1)])
def test_an_evaluation_may_draw_from_the_global_random_state_unless_it_is_read_ahead(buffer_size, told, caplog):
    """It always begins at the start of a pass; but the buffer is of no use to it, which its owner learns."""
    batches = (batch(index, np.random.rand()) for index in range(BATCHES))
    run(StreamWrapper(lambda: batches, buffer_size, name="valid", training=False), 2)

    assert len(caplog.records) == told


def test_a_sequence_may_draw_from_the_global_random_state_while_it_is_read(caplog):
    """A jump reads nothing before the position, and the run restores the state: so it is exact, with a buffer, too."""

    class Augmented:
        def __len__(self):
            return BATCHES

        def __getitem__(self, index):
            return batch(index, np.random.rand())

    first = StreamWrapper(Augmented)
    run(first, 2)
    state, randomness = saved(first), random_state()
    expected = run(first, 4)
    second = StreamWrapper(Augmented)
    second.load_state_dict(state)
    second.open()
    restore_random_state(randomness)
    assert (run(second, 4), second.level, caplog.records) == (expected, "exact", [])

    ahead = StreamWrapper(Augmented, 4, name="train")
    run(ahead, 2)
    assert ahead.level == "exact"
    (record,) = caplog.records
    assert record.getMessage() == (
        "Stream `train` draws from the global random state of Python, NumPy or a framework, as others do, so the "
        "buffer does not read it ahead; draw from self.rng('train') instead"
    )


def test_opening_takes_nothing_from_the_global_random_state():
    """A run that is resumed between two epochs draws the order of the next one when that run would have drawn it."""

    def stream_fn():
        return [batch(index, pass_rng("train").random()) for index in np.random.permutation(BATCHES)]

    first = StreamWrapper(stream_fn)
    untouched = random_state()
    first.open()
    assert equal_trees(random_state(), untouched)
    run(first, BATCHES + 1)
    state, randomness = saved(first), random_state()
    expected = run(first, BATCHES)
    second = StreamWrapper(stream_fn)
    second.load_state_dict(state)
    second.open()
    restore_random_state(randomness)
    assert run(second, BATCHES) == expected


def test_a_sequence_in_an_order_from_the_global_random_state_is_compared():
    """An order that nobody can draw again is not jumped into blindly."""
    stream_fn = lambda: [batch(index) for index in np.random.permutation(1000)]  # noqa: E731
    first = StreamWrapper(stream_fn)
    run(first, 3)
    assert first.level == "epoch"
    second = StreamWrapper(stream_fn)
    second.load_state_dict(saved(first))
    with pytest.raises(CannotResumeError, match="gave another batch 2"):
        second.open()


def test_a_state_read_ahead_is_that_of_the_batch_handed_out():
    """A buffer full of later batches does not move the saved position, even of an iterable that is far ahead."""
    made = []

    def stream_fn():
        made.append(Loader())
        return made[-1]

    stream = StreamWrapper(stream_fn, 3)
    with stream:
        next(stream)
        with stream.allow_buffering:
            while len(made[-1].read) < 4:
                pass
    assert saved(stream)["source"] == {"next": 1}


def test_a_state_that_is_alive_is_copied():
    """An iterable may return the very object that it goes on changing."""

    class Alive(Loader):
        def __init__(self):
            super().__init__()
            self._state = {}

        def state_dict(self):
            self._state["next"] = self._next
            return self._state

    first = StreamWrapper(Alive, 3)
    assert len(run(first, 2)) == 2
    state = first.state_dict()
    run(first, 2)
    assert state["source"] == {"next": 2}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "expected 'batches', 'digest', 'epoch_batches', 'generators', 'pass', 'source', got no mapping"),
        ({"pass": 0}, "expected 'batches', .*, got 'pass'"),
        (
            {"pass": 0, "batches": -1, "epoch_batches": 0, "digest": None, "source": None, "generators": None},
            "batches: expected a whole number from 0 on, got -1",
        ),
    ],
)
def test_what_is_no_state_is_refused(state, message):
    """Strict: a state of something else is an error, not a guess."""
    with pytest.raises(StateError, match=message):
        StreamWrapper(generator).load_state_dict(state)


def test_a_smaller_epoch_ends_at_once_if_it_is_over():
    """A run resumed with shorter epochs ends the one that it is in."""
    first = StreamWrapper(generator, epoch_size=4)
    run(first, 3)
    second = StreamWrapper(generator, epoch_size=2)
    second.load_state_dict(saved(first))
    assert [event == "end" for event in run(second, 4)] == [True, False, False, True]


def test_a_restart_forgets_a_loaded_position():
    """An evaluation starts at its start."""
    first = StreamWrapper(generator, training=False)
    start = run(first, 3)
    second = StreamWrapper(generator, training=False)
    second.load_state_dict(saved(first))
    second.restart()
    assert run(second, 3) == start
