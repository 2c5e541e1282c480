"""What is made of a batch ahead of time comes with that batch, and with no other."""

from __future__ import annotations

import threading

import pytest

from emloop._streams import StreamWrapper
from emloop.errors import ProducerError

PATIENCE = 30.0


class Maker:
    """Makes something of every batch, and says in which threads."""

    def __init__(self):
        self.made = []
        self.threads = set()
        self._reached = threading.Semaphore(0)

    def __call__(self, batch):
        self.made.append(batch["x"][0])
        self.threads.add(threading.current_thread())
        self._reached.release()
        return f"made of {batch['x'][0]}"

    def wait_for(self, count):
        """Wait until so many more batches were made something of."""
        for _ in range(count):
            assert self._reached.acquire(timeout=PATIENCE)


def numbers(count):
    return lambda: [{"x": [number]} for number in range(count)]


def test_every_batch_brings_what_was_made_of_it():
    """In every epoch; it is made in the thread that reads."""
    make = Maker()
    with StreamWrapper(numbers(5), 2, prefetch=make) as stream:
        for _ in range(2):
            for number, _batch in enumerate(stream):
                assert stream.prefetched == f"made of {number}"

    assert make.made == [*range(5), *range(5)]
    assert threading.current_thread() not in make.threads


def test_the_next_one_can_be_seen_while_it_waits():
    """Before it is handed out; nothing is taken from the buffer by looking."""
    make = Maker()
    with StreamWrapper(numbers(4), 4, prefetch=make) as stream:
        assert stream.upcoming is None
        next(stream)
        with stream.allow_buffering:
            make.wait_for(4)
        assert stream.upcoming == stream.upcoming == "made of 1"
        assert (next(stream)["x"], stream.prefetched) == ([1], "made of 1")


def test_without_a_buffer_nothing_is_made():
    """There is no time ahead."""
    make = Maker()
    with StreamWrapper(numbers(3), 0, prefetch=make) as stream:
        for _ in stream:
            assert (stream.prefetched, stream.upcoming) == (None, None)

    assert make.made == []


@pytest.mark.parametrize("leave", ["restart", "seek", "end"])
def test_what_was_made_goes_with_its_batch(leave):
    """Elsewhere in the stream, nothing of before is left, which may be much memory of a device."""
    make = Maker()
    with StreamWrapper(numbers(4), 2, prefetch=make) as stream:
        start = stream.state_dict()
        next(stream)
        if leave == "restart":
            stream.restart()
        elif leave == "seek":
            stream.load_state_dict(start)
        else:
            assert len(list(stream)) == 3
        assert (stream.prefetched, stream.upcoming) == (None, None)


def test_batches_that_are_passed_over_are_left_alone():
    """A resume that reads a pass again makes something of what is used only."""

    def generate():
        yield from numbers(6)()

    first, again = StreamWrapper(generate, 2), Maker()
    with first:
        for _ in range(4):
            next(first)
        position = first.state_dict()
    with StreamWrapper(generate, 2, prefetch=again) as stream:
        stream.load_state_dict(position)
        assert next(stream)["x"] == [4]

    assert again.made[0] == 4


@pytest.mark.parametrize("fails_at", [0, 1])
@pytest.mark.parametrize("error", [MemoryError("no room on the device"), StopIteration()])
def test_a_failure_is_told_with_the_batch(error, fails_at):
    """As any other failure of reading ahead, also if it could be taken for the end of the stream."""

    def fail(batch):
        if batch["x"] == [fails_at]:
            raise error

    stream = StreamWrapper(numbers(3), 2, name="train", prefetch=fail)
    with stream:
        for _ in range(fails_at):
            next(stream)
        where = f"stream 'train' failed while it was read ahead, at batch {fails_at + 1} of"
        with pytest.raises(ProducerError, match=where):
            next(stream)
