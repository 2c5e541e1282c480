"""Cutting a stream into epochs, without a buffer and with one."""

from __future__ import annotations

import itertools

import pytest

from emloop._streams import StreamWrapper
from emloop.errors import BatchError

BUFFERS = [pytest.param(0, id="unbuffered"), pytest.param(1, id="buffer-1"), pytest.param(16, id="buffer-16")]


def batches(*numbers):
    return [{"x": [number]} for number in numbers]


def epochs(wrapper, count):
    """The numbers in the next epochs, a list each."""
    return [[batch["x"][0] for batch in wrapper] for _ in range(count)]


@pytest.mark.parametrize("buffer_size", BUFFERS)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(list, id="list"),
        pytest.param(tuple, id="tuple"),
        pytest.param(iter, id="iterator"),
        pytest.param(lambda stream: (batch for batch in stream), id="generator"),
        pytest.param(lambda stream: dict.fromkeys(range(3)) and map(dict, stream), id="map"),
    ],
)
def test_an_epoch_is_a_pass_over_any_iterable(kind, buffer_size):
    """Whatever the stream method returns, each epoch holds its batches once, in order, and then ends."""
    with StreamWrapper(lambda: kind(batches(0, 1, 2)), buffer_size) as stream:
        assert epochs(stream, 3) == [[0, 1, 2]] * 3


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_a_fixed_epoch_size_cuts_across_passes(buffer_size):
    """Epochs of two over passes of five take up where the last one stopped, with one call per pass."""
    calls = []

    def five():
        calls.append(len(calls))
        return batches(0, 1, 2, 3, 4)

    with StreamWrapper(five, buffer_size, epoch_size=2) as stream:
        assert epochs(stream, 5) == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]
    assert calls == [0, 1]


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_an_epoch_may_be_longer_than_a_pass(buffer_size):
    """A pass shorter than the epoch is followed by as many others as needed."""
    with StreamWrapper(lambda: batches(0, 1), buffer_size, epoch_size=5) as stream:
        assert epochs(stream, 2) == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_the_next_pass_starts_only_when_it_is_asked_for(buffer_size):
    """At the end of an epoch the stream method has not been called again, however long the model works."""
    calls = []

    def stream_fn():
        calls.append(len(calls))
        return batches(0, 1)

    stream = StreamWrapper(stream_fn, buffer_size)
    with stream, stream.allow_buffering:
        assert epochs(stream, 1) == [[0, 1]]
    assert calls == [0]
    with stream:
        next(stream)
    assert calls == [0, 1]


@pytest.mark.parametrize("buffer_size", BUFFERS)
@pytest.mark.parametrize("epoch_size", [-1, 0, 3])
def test_an_empty_stream_makes_empty_epochs(epoch_size, buffer_size):
    """A stream without batches ends every epoch at once, also where the epochs have a fixed size."""
    calls = itertools.count()
    with StreamWrapper(lambda: [next(calls)][1:], buffer_size, epoch_size) as stream:
        assert epochs(stream, 3) == [[], [], []]
    assert next(calls) == 3


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_a_pass_without_batches_ends_an_epoch_of_fixed_size(buffer_size):
    """A stream that dries up ends the epoch early instead of being asked for ever; the next epoch asks again."""
    passes = iter([[0, 1], [], [2, 3]])
    with StreamWrapper(lambda: batches(*next(passes)), buffer_size, epoch_size=4) as stream:
        assert epochs(stream, 1) == [[0, 1]]
        assert [next(stream)["x"][0], next(stream)["x"][0]] == [2, 3]


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_iterating_again_goes_on_where_a_loop_was_left(buffer_size):
    """Breaking out of a loop loses nothing: the next one starts with the next batch."""
    with StreamWrapper(lambda: batches(0, 1, 2, 3), buffer_size) as stream:
        assert iter(stream) is stream
        first = [batch["x"][0] for batch in itertools.islice(stream, 2)]
        assert (first, epochs(stream, 1)) == ([0, 1], [[2, 3]])


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_times_are_noted_for_batches_and_nothing_else(buffer_size):
    """``read_batch_<name>`` has one entry per batch; the end of an epoch has none, and the profile may be cleared."""
    profile = {}
    with StreamWrapper(lambda: batches(0, 1, 2), buffer_size, name="train", profile=profile) as stream:
        epochs(stream, 2)
        assert list(profile) == ["read_batch_train"]
        assert len(profile["read_batch_train"]) == 6
        assert all(seconds >= 0 for seconds in profile["read_batch_train"])
        profile.clear()
        epochs(stream, 1)
        assert len(profile["read_batch_train"]) == 3


def test_an_epoch_without_batches_leaves_an_empty_list_of_times():
    """A reader of the profile finds the stream even where it held nothing."""
    profile = {}
    list(StreamWrapper(list, profile=profile))

    assert profile == {"read_batch_None": []}


def test_a_stream_without_a_name_can_be_given_one():
    """The name is what times are noted under."""
    profile = {}
    stream = StreamWrapper(lambda: batches(0), profile=profile)
    assert stream.name is None
    stream.name = "unnamed_train_0"
    list(stream)

    assert (stream.name, list(profile)) == ("unnamed_train_0", ["read_batch_unnamed_train_0"])


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_the_cursor_counts_what_was_handed_out(buffer_size):
    """Pass and batches of the pass, whether or not more was read ahead; a finished pass is the next one's start."""
    stream = StreamWrapper(lambda: batches(0, 1), buffer_size)
    seen = [stream.cursor]
    with stream, stream.allow_buffering:
        for _ in range(4):
            next(stream, None)
            seen.append(stream.cursor)

    assert seen == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_a_method_that_returns_nothing_is_named():
    """A forgotten ``return`` is said to be one."""
    with pytest.raises(BatchError, match="must return an iterable of batches, got NoneType; is there a"):
        next(StreamWrapper(lambda: None))


def test_an_error_reaches_the_caller_unchanged_and_is_never_taken_for_an_end():
    """Without a buffer the stream's own error arrives, and again on every further request."""

    def fails():
        yield from batches(0)
        raise LookupError("no more disk")

    stream = StreamWrapper(fails)
    assert next(stream) == {"x": [0]}
    for _ in range(3):
        with pytest.raises(LookupError, match=r"no more disk"):
            next(stream)


def test_an_interrupted_stream_does_not_end_silently():
    """A generator that an interrupt has ended is not taken for exhausted."""

    def interrupted():
        yield from batches(0)
        raise KeyboardInterrupt

    stream = StreamWrapper(interrupted, name="train")
    next(stream)
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    with pytest.raises(ChildProcessError, match=r"'train' was interrupted while it was read \(pass 0, batch 1\)"):
        next(stream)
    stream.restart()
    assert next(stream) == {"x": [0]}


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_restarting_goes_back_to_the_first_pass(buffer_size):
    """An evaluation that is restarted sees what the first one saw, from the start, also in the middle of an epoch."""
    passes = itertools.count()
    stream = StreamWrapper(lambda: batches(next(passes), 7), buffer_size, training=False)
    with stream:
        assert epochs(stream, 1) == [[0, 7]]
        next(stream)
        stream.restart()
        assert stream.cursor == (0, 0)
        assert epochs(stream, 1) == [[2, 7]]


def test_restarting_before_the_first_batch_keeps_the_opened_pass():
    """The stream method is not called twice for one pass."""
    calls = []
    stream = StreamWrapper(lambda: calls.append(0) or batches(0))
    stream.open()
    stream.restart()
    stream.open()
    next(stream)

    assert len(calls) == 1


@pytest.mark.parametrize("buffer_size", BUFFERS)
@pytest.mark.parametrize("reads_spans", [False, True])
def test_a_limited_epoch_ends_with_its_pass_or_before(buffer_size, reads_spans):
    """An epoch that ends inside a pass is followed by one that goes on there; no epoch is left without batches."""

    def numbers(wrapper):
        if not reads_spans:
            return [batch["x"][0] for batch in wrapper]
        found = []
        for span in wrapper.spans():
            for batch in span:
                wrapper.position.last = batch
                found.append(batch["x"][0])
        return found

    for size, expected in [
        (2, [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1]]),
        (3, [[0, 1, 2], [3], [0, 1, 2], [3], [0, 1, 2]]),
        (4, [[0, 1, 2, 3]] * 5),
        (9, [[0, 1, 2, 3]] * 5),
    ]:
        with StreamWrapper(lambda: batches(0, 1, 2, 3), buffer_size) as stream:
            stream.limit_epochs(size)
            assert [numbers(stream) for _ in range(5)] == expected
            stream.limit_epochs(None)
            numbers(stream)
            assert numbers(stream) == [0, 1, 2, 3]


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_a_limit_makes_a_fixed_epoch_no_longer(buffer_size):
    """The smaller size counts, and passes run on into each other as before."""
    for limit, expected in [(2, [[0, 1], [2, 0], [1, 2]]), (7, [[0, 1, 2, 0], [1, 2, 0, 1]])]:
        with StreamWrapper(lambda: batches(0, 1, 2), buffer_size, epoch_size=4) as stream:
            stream.limit_epochs(limit)
            assert epochs(stream, len(expected)) == expected


@pytest.mark.parametrize("buffer_size", BUFFERS)
def test_a_limited_epoch_goes_on_from_a_saved_position(buffer_size):
    """Wherever it was saved, the rest of the epochs is the same."""
    whole = StreamWrapper(lambda: batches(0, 1, 2, 3), buffer_size)
    whole.limit_epochs(2)
    with whole:
        for before in range(7):
            whole.restart()
            taken = 0
            while taken < before:
                taken += len(list(itertools.islice(whole, min(2, before - taken))))
            state = whole.state_dict()
            rest = epochs(whole, 3)
            again = StreamWrapper(lambda: batches(0, 1, 2, 3), buffer_size)
            again.limit_epochs(2)
            with again:
                again.load_state_dict(state)
                assert epochs(again, 3) == rest, before


def test_a_limited_stream_without_batches_has_none():
    """It is not asked again and again."""
    calls = []

    def empty():
        calls.append(1)
        return []

    with StreamWrapper(empty) as stream:
        stream.limit_epochs(2)
        assert epochs(stream, 2) == [[], []]
    assert len(calls) == 2
