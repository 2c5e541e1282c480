"""What the reading thread may do, when, and what becomes of its errors."""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
import weakref

import pytest

from emloop._streams import StreamWrapper
from emloop.errors import EmloopError, ProducerError

PATIENCE = 30.0


class Source:
    """A stream that says how far it was read, and stops at batches that a test holds back."""

    def __init__(self, count=100):
        self.read = 0
        self._count = count
        self._reached = [threading.Event() for _ in range(count)]
        self._held = {}

    def hold(self, index):
        """Let nobody past the start of a batch until the returned event is set."""
        self._held[index] = threading.Event()
        return self._held[index]

    def wait_for(self, index):
        """Wait until the reading of a batch has begun."""
        assert self._reached[index].wait(PATIENCE)

    def is_begun(self, index):
        """Whether the reading of a batch has begun, or begins in the next moments."""
        return self._reached[index].wait(0.05)

    def __call__(self):
        for index in range(self._count):
            self._reached[index].set()
            if index in self._held:
                assert self._held[index].wait(PATIENCE)
            self.read = index + 1
            yield {"x": [index]}


def number(batch):
    return batch["x"][0]


def test_reading_before_the_first_block_is_refused():
    """A stream with a buffer says what it wants."""
    stream = StreamWrapper(Source(), 4, name="train")
    with pytest.raises(ValueError, match=r"'train' reads ahead \(buffer_size=4\), so it must be entered"):
        next(stream)


def test_nothing_is_read_ahead_without_permission():
    """The thread leaves the interpreter to the model: a batch is read when it is asked for, and no other."""
    source = Source()
    with StreamWrapper(source, 4) as stream:
        for expected in range(3):
            assert number(next(stream)) == expected
            assert stream.empty()
    assert source.read == 3


def test_entering_alone_reads_nothing():
    """Not even with permission is a stream opened before it is asked for a batch."""
    calls = []
    stream = StreamWrapper(lambda: calls.append(0) or [], 4)
    with stream, stream.allow_buffering:
        pass
    assert calls == []


def test_with_permission_the_buffer_is_filled_and_no_further():
    """Inside ``allow_buffering`` the thread reads until the buffer is full; the consumer then never waits."""
    source = Source()
    stream = StreamWrapper(source, 4)
    with stream:
        next(stream)
        with stream.allow_buffering:
            source.wait_for(4)
            assert not source.is_begun(5)
        assert not stream.empty()
        assert [number(next(stream)) for _ in range(4)] == [1, 2, 3, 4]
    assert source.read == 5


def test_a_full_buffer_is_topped_up_batch_by_batch():
    """Every batch that is taken out while permission lasts makes room for one."""
    source = Source()
    with StreamWrapper(source, 2) as stream, stream.allow_buffering:
        assert number(next(stream)) == 0
        for expected in range(1, 10):
            source.wait_for(expected + 1)
            assert number(next(stream)) == expected
    assert source.read <= 12


def test_at_most_the_batch_in_flight_is_read_after_the_block():
    """Leaving ``allow_buffering`` stops the thread after the batch that it is reading."""
    source = Source()
    in_flight = source.hold(3)
    stream = StreamWrapper(source, 16)
    with stream:
        next(stream)
        with stream.allow_buffering:
            source.wait_for(3)
        in_flight.set()
    assert source.read == 4


def test_permission_lasts_as_long_as_anybody_gives_it():
    """Blocks may be nested and entered by other threads; the last to leave stops the reading."""
    source = Source()
    third, last = source.hold(3), source.hold(6)
    stream = StreamWrapper(source, 16)
    entered, leave = threading.Event(), threading.Event()

    def elsewhere():
        with stream.allow_buffering:
            entered.set()
            assert leave.wait(PATIENCE)

    other = threading.Thread(target=elsewhere)
    with stream:
        next(stream)
        with stream.allow_buffering, stream.allow_buffering:
            other.start()
            assert entered.wait(PATIENCE)
            source.wait_for(3)
        third.set()
        source.wait_for(6)
        leave.set()
        other.join(PATIENCE)
        last.set()
    assert source.read == 7


def test_permission_for_a_stream_without_a_buffer_does_nothing():
    """A model may ask always."""
    stream = StreamWrapper(Source())
    with stream, stream.allow_buffering, stream.allow_buffering:
        assert number(next(stream)) == 0
    assert stream.empty()


def test_leaving_keeps_what_was_read_and_ends_the_thread():
    """Batches in the buffer are handed out after the block, and reading goes on without a thread."""
    source = Source(6)
    hold = source.hold(4)
    stream = StreamWrapper(source, 16)
    with stream:
        first = number(next(stream))
        with stream.allow_buffering:
            source.wait_for(4)
        hold.set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream ")]
    assert source.read == 5
    assert [first, *(number(batch) for batch in stream)] == [0, 1, 2, 3, 4, 5]


def test_entering_for_every_batch_loses_and_doubles_none():
    """A block around each single batch gives the stream, batch by batch."""
    stream = StreamWrapper(Source(20), 3)
    seen = []
    for _ in range(20):
        with stream:
            seen.append(number(next(stream)))
            with stream.allow_buffering:
                pass
    assert seen == list(range(20))
    with stream, pytest.raises(StopIteration):
        next(stream)


@pytest.mark.parametrize("reenter", [False, True])
def test_every_batch_before_a_failure_is_handed_out(reenter):
    """The error comes in its place, as a ``ChildProcessError`` raised from the original, and stays."""

    def fails():
        yield {"x": [0]}
        yield {"x": [1]}
        raise LookupError("the disk is gone")

    stream = StreamWrapper(fails, 8, name="train")
    with stream:
        assert [number(next(stream)), number(next(stream))] == [0, 1]
        for _ in range(3):
            with pytest.raises(ChildProcessError) as raised:
                next(stream)
    if reenter:
        with stream, pytest.raises(ProducerError):
            next(stream)
    assert isinstance(raised.value, EmloopError)
    assert str(raised.value) == (
        "stream 'train' failed while it was read ahead, at batch 2 of pass 0: LookupError: the disk is gone"
    )
    assert isinstance(raised.value.__cause__, LookupError)
    assert 'raise LookupError("the disk is gone")' in "".join(traceback.format_exception(raised.value))


def test_a_failure_that_happened_long_ago_does_not_shorten_the_epoch():
    """However late the consumer comes, a failed stream never looks like one that has ended."""
    failed = threading.Event()

    def fails():
        try:
            yield from ({"x": [index]} for index in range(3))
            raise OSError("gone")
        finally:
            failed.set()

    stream = StreamWrapper(fails, 8)
    with stream:
        seen = [number(next(stream))]
        with stream.allow_buffering:
            assert failed.wait(PATIENCE)
        with pytest.raises(ProducerError, match="gone"):
            seen += [number(batch) for batch in stream]
        assert seen == [0]
        with pytest.raises(ProducerError, match="gone"):
            list(stream)


def test_a_failed_stream_leaves_no_thread_at_work():
    """With permission, too, the thread is done with a stream that has failed."""

    def fails():
        yield {"x": [0]}
        raise OSError("gone")

    stream = StreamWrapper(fails, 8)
    with stream, stream.allow_buffering:
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "stream None")
        with pytest.raises(ProducerError):
            list(stream)
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_no_kind_of_error_ends_the_thread_unnoticed(error):
    """Also what is no ``Exception`` arrives at the consumer."""

    class Fails:
        def __iter__(self):
            return self

        def __next__(self):
            raise error

    with StreamWrapper(Fails, 2) as stream, pytest.raises(ProducerError) as raised:
        next(stream)
    assert raised.value.__cause__ is error


def test_a_failing_stream_method_fails_the_stream():
    """A stream that cannot even be opened is a failed one."""

    def stream_fn():
        raise FileNotFoundError("images.npy")

    with StreamWrapper(stream_fn, 2) as stream, pytest.raises(ProducerError, match=r"FileNotFoundError: images\.npy"):
        next(stream)


def test_a_restart_forgives_a_failure():
    """Only an explicit restart reads a failed stream again."""
    attempts = iter([OSError("once"), None])

    def stream_fn():
        error = next(attempts)
        yield {"x": [0]}
        if error is not None:
            raise error

    with StreamWrapper(stream_fn, 2) as stream:
        with pytest.raises(ProducerError, match="once"):
            list(stream)
        stream.restart()
        assert [number(batch) for batch in stream] == [0]


def test_the_thread_sees_the_callers_context():
    """Context variables of the one who entered the block are set where the stream's code runs."""
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    def stream_fn():
        seen.append(variable.get())
        yield {"x": [0]}

    variable.set("set by the caller")
    with StreamWrapper(stream_fn, 2) as stream:
        list(stream)
    assert seen == ["set by the caller"]


class Interrupted(Exception):
    """What the signal handler of these tests raises."""


@pytest.fixture
def handler():
    """Sets a handler for SIGUSR1 and puts the former one back."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, function)
    signal.signal(signal.SIGUSR1, before)


def signalling(source, release):
    """A stream that from its second batch signals the process, until it is released.

    Again and again, since a signal that arrives a moment before the interpreter begins to wait does not end the wait.
    """

    def stream_fn():
        for batch in source():
            while number(batch) == 1 and not release.wait(0.01):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            yield batch

    return stream_fn


def test_a_consumer_that_waits_can_be_interrupted(handler):
    """A signal handler that raises ends the wait for a batch that does not come; the batch is not lost."""
    release = threading.Event()

    def interrupt(_signum, _frame):
        if not release.is_set():
            release.set()
            raise Interrupted

    handler(interrupt)
    stream = StreamWrapper(signalling(Source(3), release), 2)
    with stream:
        assert number(next(stream)) == 0
        with pytest.raises(Interrupted):
            next(stream)
        assert [number(batch) for batch in stream] == [1, 2]


def test_a_handler_that_only_takes_note_does_not_disturb_a_wait(handler):
    """A signal that asks to stop after the batch lets the batch arrive."""
    release = threading.Event()
    handler(lambda _signum, _frame: release.set())
    with StreamWrapper(signalling(Source(3), release), 2) as stream:
        assert [number(batch) for batch in stream] == [0, 1, 2]


def leave_while_reading(stream, wait_for_reading, error=None):
    """Leave a block, by an error if one is given, while the second batch is being read."""
    with stream:
        next(stream)
        with stream.allow_buffering:
            wait_for_reading()
        if error is not None:
            raise error


def test_leaving_waits_for_the_batch_in_flight_and_can_be_interrupted(handler):
    """The end of the block is as interruptible as a request; what was in flight comes afterwards."""
    source, release = Source(2), threading.Event()

    def interrupt_who_leaves(_signum, frame):
        names = set()
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        if {"__exit__", "join"} <= names and not release.is_set():
            release.set()
            raise Interrupted

    handler(interrupt_who_leaves)
    stream = StreamWrapper(signalling(source, release), 2)
    with pytest.raises(Interrupted):
        leave_while_reading(stream, lambda: source.wait_for(1))
    with stream:
        assert [number(batch) for batch in stream] == [1]


def test_one_who_wants_out_at_once_is_not_kept():
    """``SystemExit`` and ``KeyboardInterrupt`` leave the block without waiting for a batch that never comes."""
    source = Source(3)
    never = source.hold(1)
    stream = StreamWrapper(source, 2)
    with pytest.raises(SystemExit):
        leave_while_reading(stream, lambda: source.wait_for(1), SystemExit(130))
    assert not never.is_set()
    never.set()
    with stream:
        assert [number(batch) for batch in stream] == [1, 2]


def test_reading_on_without_a_block_waits_for_a_thread_that_still_reads():
    """Never do two threads work on one generator."""
    source = Source(3)
    held = source.hold(1)
    stream = StreamWrapper(source, 2)
    with pytest.raises(KeyboardInterrupt):
        leave_while_reading(stream, lambda: source.wait_for(1), KeyboardInterrupt())
    releaser = threading.Thread(target=held.set)
    releaser.start()
    assert [number(batch) for batch in stream] == [1, 2]
    releaser.join(PATIENCE)


def test_reading_on_while_the_thread_is_ending_does_not_hang():
    """Whoever reads right after leaving in a hurry meets the thread before it knows."""
    stream = StreamWrapper(Source(50), 2)
    seen = []
    while len(seen) < 50:
        with pytest.raises(SystemExit), stream:
            raise SystemExit
        seen.append(number(next(stream)))
    assert seen == list(range(50))


def test_a_thread_that_cannot_be_started_is_an_error_and_no_hang(monkeypatch):
    """Where the system refuses a thread, the caller hears of it and can go on without."""
    stream = StreamWrapper(Source(2), 2)

    def refuse(_self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            stream.__enter__()
    assert [number(batch) for batch in stream] == [0, 1]


def test_a_stream_left_for_good_is_freed():
    """Neither a thread nor a cycle keeps the batches of a finished stream alive."""

    class Batch(dict):
        pass

    batch = Batch(x=[0])
    alive = weakref.ref(batch)
    stream = StreamWrapper(lambda batches=[batch]: batches, 2)
    with stream:
        next(stream)
    del batch, stream
    gc.collect()

    assert alive() is None


def test_a_process_ends_although_a_stream_is_stuck(tmp_path):
    """A reader that hangs in the user's code does not keep the interpreter from exiting."""
    script = tmp_path / "stuck.py"
    script.write_text(
        "import threading\n"
        "from emloop._streams import StreamWrapper\n"
        "def stuck():\n"
        "    yield {'x': [0]}\n"
        "    begun.set(); threading.Event().wait()\n"
        "begun = threading.Event()\n"
        "with StreamWrapper(stuck, 2) as stream:\n"
        "    next(stream)\n"
        "    with stream.allow_buffering:\n"
        "        begun.wait()\n"
        "        raise SystemExit(7)\n"
    )
    done = subprocess.run([sys.executable, os.fspath(script)], check=False, timeout=PATIENCE, capture_output=True)

    assert (done.returncode, done.stderr) == (7, b"")
