"""Reading ahead: one thread that fills a buffer while it is allowed to.

The thread works while there is room, or while the consumer waits on an empty buffer. Otherwise it is parked. With the
gate left to the model, a permit must be held, too (the model is in code that releases the interpreter lock). Nobody
polls: both sides sleep on a queue, into which the other puts a token when it clears the ``parked`` or ``waiting`` flag.

A batch that is handed over without anybody having to wait takes no lock: whoever goes to sleep raises its flag first
and looks at the buffer once more, the other changes the buffer first and looks at the flag after that.

Streams that draw from global random states are read only while the consumer waits: the model draws from the same
states, so each would disturb the sequence of the other in an order that cannot be reproduced.

The consumer holds no lock while it waits, so a signal handler that raises leaves nothing to clean up: at worst a token
that ends the next wait too early, and whoever is woken checks again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from itertools import count, repeat
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Literal

from emloop._support.interrupting import WAITING, interruptible, interruptible_function, uninterrupted
from emloop.errors import ProducerError, UsageError
from emloop.types import Batch

from .reader import Consumed, Reader, Snapshot

__all__ = ["Gate", "Prefetch"]

Gate = Literal["open", "model"]
"""When batches are read ahead: always, or only where the model allows it."""

_END: Any = object()
_Item = tuple[Any, int, int, int, Snapshot | None, Any]
"""A batch, its pass, the number of batches read in the pass and in all so far, what it takes to jump behind it, and
what ``prepare`` made of it."""


class Prefetch:
    """Reads ahead of a reader.

    Entered as a context, any number of times and by any thread, it permits reading ahead inside the block. Tells the
    position from the consumer's side: ``pass_index``, ``batches`` and ``last`` count what was handed out.

    Args:
        reader: Where the batches come from; used by nobody else.
        size: Maximum number of batches to hold.
        prepare: Called with every batch, in the thread that reads it.
        gate: ``open``: reads ahead whenever there is room; ``model``: only where a permit is held.
    """

    def __init__(
        self, reader: Reader, size: int, prepare: Callable[[Batch], Any] | None = None, *, gate: Gate = "model"
    ) -> None:
        self.last: Batch | None = None
        self.ended: Consumed | None = None
        self._at: _Item = (None, 0, 0, 0, None, None)  # what was handed out last
        self._reader = reader
        self._prepare = prepare
        self._size = size
        self._items: deque[_Item] = deque()
        self._number = count(1)  # of the next item
        self._entered = False

        self._lock = Lock()  # guards everything below
        self._thread: Thread | None = None
        self._running = False  # the thread may live on
        self._permits = int(gate == "open")
        self._room = 0  # how many items there may be, as long as it runs with a permit
        self._idle = True  # the next pass is opened when it is waited for, not ahead
        self._ended = False  # the buffer is followed by the end of an epoch
        self._waiting = False
        self._parked = False
        self._wake_consumer: SimpleQueue[None] = SimpleQueue()
        self._wake_producer: SimpleQueue[None] = SimpleQueue()

    @uninterrupted
    def read(self) -> Batch:
        """Return the next batch, from the buffer if possible.

        Raises:
            StopIteration: As :meth:`Reader.read`.
            ProducerError: Once all batches before a failure were handed out; from the original error.
            UsageError: If reading was never started.
        """
        self.last = batch = next(self.rest())
        return batch

    @uninterrupted  # but while it waits
    def rest(self) -> Generator[Batch]:
        """What :meth:`read` gives until it stops; whoever iterates over it sets ``last``."""
        items = self._items
        while True:
            if not items:
                self._wait()
                if not items:
                    self._end()
                    return
            self._at = item = items.popleft()
            if self._parked:
                with self._lock:
                    self._unpark()
            yield item[0]

    @property
    def pass_index(self) -> int:
        """Number of the pass."""
        return self._at[1]

    @property
    def batches(self) -> int:
        """Batches handed out in this pass."""
        return self._at[2]

    @property
    def handed(self) -> int:
        """Batches handed out so far, in all passes."""
        return self._at[3]

    @property
    def prepared(self) -> Any:
        """What was prepared of the batch handed out last."""
        return self._at[5]

    def upcoming(self) -> Any:
        """What was prepared of the next batch; ``None`` unless that is in the buffer."""
        return self._items[0][-1] if self._items else None

    def open(self) -> None:
        """As :meth:`Reader.open`."""
        with self._alone() as reader:
            reader.open()

    @property
    def is_whole(self) -> bool:
        """Whether the position can be kept: not while others would draw the numbers that its thread draws."""
        return not (self._waiting and self._reader.draws_globally)

    def snapshot(self) -> Snapshot | None:
        """What it takes to jump to the batch after the one handed out last; ``None`` if that is impossible."""
        return self._at[4]

    def seek(self, target: Mapping[str, Any]) -> None:
        """As :meth:`Reader.seek`; forgets what was read ahead."""
        with self._alone() as reader:
            reader.seek(target)
            self._forget()

    def restart(self) -> None:
        """As :meth:`Reader.restart`; forgets what was read ahead."""
        with self._alone() as reader:
            reader.restart()
            self._forget()

    def empty(self) -> bool:
        """Whether the buffer is empty."""
        return not self._items

    @uninterrupted
    def start(self) -> None:
        """Allow reading ahead, in a copy of the caller's context."""
        self._settle()
        with self._lock:
            self._entered = True
            self._running = True
            self._make_room()
            if self._thread is not None:
                return  # it was told to stop but has not yet, and goes on
            self._thread = Thread(
                target=copy_context().run, args=(self._run,), name=f"stream {self._reader.name}", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                raise

    @uninterrupted  # but while it waits
    def stop(self, *, wait: bool = True) -> None:
        """Stop reading ahead after the batch in flight; what was read stays in the buffer.

        Args:
            wait: Whether to return only once the thread has ended.

        Raises:
            Interrupted: If a signal came meanwhile; the thread ends by itself.
        """
        with self._lock:
            self._running = False
            self._make_room()
            self._wake_parked()
            thread = self._thread
        if wait and thread is not None:
            _join(thread)

    def __enter__(self) -> None:
        with self._lock:
            self._permits += 1
            self._make_room()
            if self._parked:
                self._unpark()

    def __exit__(self, *_: object) -> None:
        # The batch in flight is still read.
        with self._lock:
            self._permits -= 1
            self._make_room()

    @contextmanager
    def _alone(self) -> Iterator[Reader]:
        """The reader, with no thread working on it."""
        running = self._running
        self.stop()
        try:
            yield self._reader
        finally:
            if running:
                self.start()

    def _forget(self) -> None:
        self._items.clear()
        self._idle = True
        self._ended = False
        self._number = count(self.handed + 1)
        self._at = None, self._reader.pass_index, self._reader.batches, self.handed, None, None
        self.last = self.ended = None

    def _settle(self) -> None:
        """Go to a loaded position in the caller's thread, so that its errors arrive unwrapped."""
        if self._reader.seeking:
            self._reader.open()

    @interruptible_function(WAITING)
    def _wait(self) -> None:
        """Wait for an item in an empty buffer, or for the end of the epoch; changes no position."""
        reader = self._reader
        while True:
            with self._lock:
                self._waiting = threaded = self._thread is not None
                if self._items or self._ended:
                    self._waiting = False
                    return
                if reader.failure is not None:
                    self._waiting = False
                    raise ProducerError(
                        f"stream {reader.name!r} failed while it was read ahead, at batch {reader.batches} of pass "
                        f"{reader.pass_index}: {type(reader.failure).__name__}: {reader.failure}"
                    ) from reader.failure
                self._idle = False
                self._wake_parked()
            if threaded:
                with interruptible(WAITING):  # as well if a signal has arrived since the batch before
                    self._wake_consumer.get()
            elif self._entered:  # outside the block, but after the first one
                self._settle()
                self._produce()
            else:
                raise UsageError(
                    f"stream {reader.name!r} reads ahead (buffer_size={self._size}), so it must be entered before it "
                    "is read: `with stream: ...`"
                )

    def _end(self) -> None:
        """Go to the start of the next pass; to be finished, whatever arrives."""
        reader = self._reader
        with self._lock:
            self._ended = False
        if reader.training and self.last is not None:
            self.ended = Consumed(self.pass_index, self.batches - 1, self.last)
        self._at = None, reader.pass_index, 0, self.handed, None, None
        self.last = None

    def _run(self) -> None:
        reader, items, prepare = self._reader, self._items, self._prepare
        alive = self._may_read()
        while alive:
            self._produce()
            # All but the first batch of a pass, unless read() has to see what they draw. Meanwhile, only some of what
            # _may_read() looks at can change.
            read = zip(  # makes items in C; only a batch that was read takes a number, and only after that a snapshot
                reader.rest(None),
                repeat(reader.pass_index),
                count(reader.batches + 1),
                self._number,
                reader.snapshots(),
                repeat(None),
            )
            made = read if prepare is None else ((*item[:-1], prepare(item[0])) for item in read)
            free = not (self._idle or reader.on_demand)
            try:
                while (free and len(items) < self._room and reader.failure is None) or (alive := self._may_read()):
                    item = next(made, _END)
                    if item is _END:
                        break
                    items.append(item)
                    if self._waiting:
                        with self._lock:
                            self._wake_waiting()
            except BaseException as error:  # noqa: BLE001 - raised by the consumer, after all batches before it
                reader.fail(error)
                alive = self._may_read()
            else:
                reader.recall(ended=alive)

    def _may_read(self) -> bool:
        """Park until a batch may be read; return whether to go on at all."""
        while not self._wanted_ahead():
            with self._lock:
                if not self._running or self._reader.failure is not None:
                    self._thread = None
                    self._wake_waiting()
                    return False
                self._parked = True
                if self._waiting or self._wanted_ahead():
                    self._parked = False
                    return True
            self._wake_producer.get()
        return True

    def _produce(self) -> None:
        """Read one batch into the buffer. Raises nothing: the consumer asks the reader whether it has failed."""
        reader = self._reader
        try:
            try:
                batch = reader.read()
            except StopIteration:
                with self._lock:
                    self._ended = not reader.turned
                    self._idle = self._ended or reader.draws_at_start
                    self._wake_waiting()
            else:
                self._put(batch, reader.batches)
        except BaseException as error:  # noqa: BLE001 - likewise
            reader.fail(error)

    def _put(self, batch: Batch, number: int) -> None:
        prepared = None if self._prepare is None else self._prepare(batch)
        self._items.append(
            (batch, self._reader.pass_index, number, next(self._number), self._reader.snapshot(), prepared)
        )
        if self._waiting:
            with self._lock:
                self._wake_waiting()

    def _make_room(self) -> None:
        self._room = self._size if self._running and self._permits > 0 else 0

    def _wanted_ahead(self) -> bool:
        return (
            len(self._items) < self._room
            and not self._idle
            and not self._reader.on_demand
            and self._reader.failure is None
        )

    def _unpark(self) -> None:
        if self._wanted_ahead():
            self._wake_parked()

    def _wake_parked(self) -> None:
        if self._parked:
            self._parked = False
            self._wake_producer.put(None)

    def _wake_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._wake_consumer.put(None)


@interruptible_function(WAITING)
def _join(thread: Thread) -> None:
    thread.join()
