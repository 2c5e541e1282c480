"""Any stream, any buffer, any order of events: what comes out is what went in.

A plain model says what each request must give; hypothesis looks for a history of requests, blocks and permissions that
gives anything else. Threads are switched as often as the interpreter can, and histories wait for the reading thread at
chosen points, so that it is met full, empty, parked and at work.
"""

from __future__ import annotations

import itertools
import sys
import threading
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emloop._streams import StreamWrapper
from emloop.errors import ProducerError

PATIENCE = 10.0


@pytest.fixture(autouse=True, scope="module")
def _frantic_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Stream:
    """Passes of given lengths, round and round; fails, if it does, in place of one batch."""

    def __init__(self, lengths, fails_at):
        self._lengths = lengths
        self._fails_at = fails_at
        self._pass = itertools.count()
        self._read = 0
        self._progress = threading.Condition()

    def __call__(self):
        index = next(self._pass)
        for batch in range(self._lengths[index % len(self._lengths)]):
            self._maybe_fail()
            with self._progress:
                self._read += 1
                self._progress.notify_all()
            yield {"x": [(index, batch)]}
        self._maybe_fail()

    def _maybe_fail(self):
        if self._read == self._fails_at:
            raise LookupError("told to fail")

    def wait_until_read(self, count):
        with self._progress:
            assert self._progress.wait_for(lambda: self._read >= count, PATIENCE)

    @property
    def read(self):
        return self._read


class Model:
    """What a reader of the same stream must get, by the book."""

    def __init__(self, lengths, fails_at, epoch_size):
        self._raw = self._reading(lengths, fails_at, epoch_size > 0)
        self._epoch_size = epoch_size
        self._in_epoch = 0
        self._ahead = []
        self.handed_out = 0
        self.idle = True  # nothing of the coming pass was asked for yet

    @staticmethod
    def _reading(lengths, fails_at, endless):
        read = 0
        for index in itertools.count():
            length = lengths[index % len(lengths)]
            for batch in range(length + 1):
                if read == fails_at:
                    yield from itertools.repeat("failed")
                if batch < length:
                    read += 1
                    yield (index, batch)
            if not endless or not length:
                yield "end"

    def next(self):
        if self._epoch_size == self._in_epoch:
            self._in_epoch = 0
            return "end"
        event = self._ahead.pop(0) if self._ahead else next(self._raw)
        self.idle = event == "end"
        is_batch = isinstance(event, tuple)
        self._in_epoch = 0 if self.idle else self._in_epoch + is_batch
        self.handed_out += is_batch
        return event

    def readable_ahead(self, size):
        """How many batches a thread with permission finds before it must stop."""
        while len(self._ahead) < size:
            self._ahead.append(next(self._raw))
        return len(list(itertools.takewhile(lambda event: isinstance(event, tuple), self._ahead[:size])))


def request(stream):
    try:
        return next(stream)["x"][0]
    except StopIteration:
        return "end"
    except (ProducerError, LookupError):
        return "failed"


histories = st.lists(
    st.sampled_from(["next"] * 6 + ["leave and enter", "leave", "enter", "permit", "forbid", "wait until full"]),
    max_size=60,
)
lengths = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@pytest.mark.slow
@given(
    lengths=lengths,
    fails_at=st.none() | st.integers(0, 12),
    buffer_size=st.sampled_from([0, 1, 2, 16]),
    epoch_size=st.sampled_from([-1, 1, 2, 3, 7]),
    history=histories,
    gate=st.sampled_from(["open", "model"]),
)
@settings(max_examples=400)
def test_every_history_gives_the_stream_batch_by_batch(lengths, fails_at, buffer_size, epoch_size, history, gate):
    """Nothing is lost, doubled, reordered or cut short, wherever blocks and permissions begin and end."""
    source, model = Stream(lengths, fails_at), Model(lengths, fails_at, epoch_size)
    stream = StreamWrapper(source, buffer_size, epoch_size, gate=gate)
    block, permissions = ExitStack(), ExitStack()
    with block, permissions:
        block.enter_context(stream)
        inside, permitted = True, gate == "open"
        for action in [*history, *["next"] * 12]:
            if action == "next":
                assert request(stream) == model.next()
            elif action in ("leave", "leave and enter"):
                block.close()
                inside = False
                assert source.read <= model.handed_out + buffer_size
            elif action == "permit":
                permissions.enter_context(stream.allow_buffering)
                permitted = True
            elif action == "forbid":
                permissions.close()
                permitted = gate == "open"
            elif action == "wait until full" and inside and permitted and buffer_size and not model.idle:
                source.wait_until_read(model.handed_out + model.readable_ahead(buffer_size))
            if action in ("enter", "leave and enter") and not inside:
                block.enter_context(stream)
                inside = True
    assert source.read <= model.handed_out + buffer_size


@pytest.mark.slow
@given(lengths=lengths, epoch_size=st.sampled_from([-1, 3]), stops=st.lists(st.integers(0, 6), max_size=6))
@settings(max_examples=150)
def test_a_run_with_a_buffer_equals_one_without(lengths, epoch_size, stops):
    """Epochs that are left early and entered again give the same batches for every size of the buffer."""
    seen = []
    for buffer_size, gate in ((0, "model"), (1, "model"), (16, "model"), (1, "open"), (16, "open")):
        stream = StreamWrapper(Stream(lengths, None), buffer_size, epoch_size, gate=gate)
        events = []
        for stop in [*stops, 10]:
            with stream:
                for _ in range(stop):
                    events.append((request(stream), stream.cursor))
                    with stream.allow_buffering:
                        pass
        seen.append(events)

    assert all(events == seen[0] for events in seen)


def test_many_streams_in_many_threads_do_not_disturb_each_other():
    """Consumers in several threads, permissions given and taken by others at any moment: each gets its own stream."""
    epochs, size = 20, 25
    streams = [StreamWrapper(Stream([size], None), buffer_size) for buffer_size in (1, 2, 4, 16)]
    seen = {stream: [] for stream in streams}
    done = threading.Event()

    def consume(stream):
        for _ in range(epochs):
            with stream:
                seen[stream].append([batch["x"][0] for batch in stream])

    def permit():
        while not done.is_set():
            for stream in streams:
                with stream.allow_buffering:
                    pass

    consumers = [threading.Thread(target=consume, args=(stream,), daemon=True) for stream in streams]
    meddlers = [threading.Thread(target=permit, daemon=True) for _ in range(2)]
    for thread in meddlers + consumers:
        thread.start()
    for thread in consumers:
        thread.join(PATIENCE)
    hanging = [thread for thread in consumers if thread.is_alive()]
    done.set()
    for thread in meddlers:
        thread.join(PATIENCE)

    assert not hanging
    assert list(seen.values()) == [[[(epoch, index) for index in range(size)] for epoch in range(epochs)]] * 4
