"""Processes that load batches: each makes the dataset anew, and reads those whose turn it is, some ahead.

This process opens every pass as well, so that whatever depends on it (lengths, positions, digests) stays where it is,
and reads the first batch of a pass, and the first that each worker loads of a stream: these have to be equal. Where
they are not, where batches depend on those before them or cannot be handed over, it reads the stream alone, and says
so. It reads what would be a worker's turn, too, until that is ready, so nobody waits for imports.

A batch that a worker fails to load is read here once more, so that its error is the one that it would be without.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, islice
from multiprocessing import Pipe
from threading import RLock
from typing import Any, NamedTuple

from emloop._support.interrupting import uninterrupted
from emloop.errors import ProducerError
from emloop.types import Batch

from .digest import digest
from .handover import Memory, unpack
from .serving import LEFT_TO_PARENT
from .source import Source

__all__ = ["Workers"]

logger = logging.getLogger(__name__)

_AHEAD = 4
"""Batches that a worker loads at most before one of them is taken."""

_OTHER_BATCH = "a worker loads another batch than this process, as if the dataset were made of something else"

_PATIENCE = 5.0
"""Seconds that a worker may take to end."""

_LONG = 60.0
"""Seconds of waiting for a batch after which the user is told."""


class Workers:
    """Loads streams of a dataset in processes, which are started at once and end at :meth:`close`, or with this one.

    Args:
        number: How many.
        code: What they run: text of a Python program that ends in :func:`~.serving.serve`.
        setup: What they make the dataset of, and ``seed``.
    """

    def __init__(self, number: int, code: str, setup: Mapping[str, Any]) -> None:
        self._code, self._setup, self._number = code, setup, number
        self._workers: list[_Worker] = []
        self._lock = RLock()  # around changes of the list, since a thread may read while another one closes
        self._passes = count()
        self._proved: set[tuple[_Worker, str, bool]] = set()
        self._alone: set[str] = set()
        weakref.finalize(self, _end, self._workers, os.getpid())
        self.start()

    def start(self) -> Sequence[_Worker]:
        """Start the processes that do not run, and return all."""
        with self._lock:
            for number in range(self._number):
                if number < len(self._workers):
                    if not self._workers[number].is_torn:
                        continue
                    self._workers.pop(number).end()
                self._workers.insert(number, _Worker(f"{number + 1} of {self._number}", self._code, self._setup))
            return list(self._workers)

    def close(self) -> None:
        """End the processes. Whoever reads on starts others."""
        with self._lock:
            self._proved.clear()
            _end(self._workers, os.getpid())

    def read(
        self, source: Source, stream: str, index: int, start: int, *, training: bool, undivided: str
    ) -> Iterator[Batch]:
        """The batches of a pass in their order.

        Args:
            source: The pass, opened in this process.
            stream: Name of the stream.
            index: Number of the pass.
            start: Number of the first batch.
            training: Whether it trains the model.
            undivided: Why the pass is loaded by this process alone; empty if it is not.

        Raises:
            ProducerError: If a worker has died.
        """
        if undivided:
            self._refuse(stream, undivided)
        if source.read is None or source.length is None or stream in self._alone:
            yield from source.batches
            return
        # What was asked for and is not waited for any more ends in a mailbox that nobody looks into.
        mailbox: _Mailbox = {}
        order, coming = [next(self._passes), stream, training, index], iter(range(start, source.length))
        for number in range(start, source.length):
            ahead = islice(coming, _AHEAD * self._number if number == start else 1)
            worker = self._whose_turn(number, mailbox, order, ahead)
            if worker is None:
                yield source.read(number)
                continue
            own = source.read(number) if number == start or (worker, stream, training) not in self._proved else None
            loaded = worker.wait_for(mailbox, order, number)
            if not (loaded.failure or loaded.unfit) and own is not None and digest(own) != digest(loaded.batch):
                loaded = _Loaded(unfit=_OTHER_BATCH)
            if loaded.unfit:
                self._refuse(stream, loaded.unfit)
            elif not loaded.failure:
                self._proved.add((worker, stream, training))
            yield own if own is not None else loaded.or_read(source.read, number)

    def _whose_turn(self, number: int, mailbox: _Mailbox, order: Sequence[Any], ahead: Iterable[int]) -> _Worker | None:
        """Let batches be loaded ahead; return who loads this one, ``None`` for this process."""
        if order[1] in self._alone:
            return None
        workers = self.start()
        for coming in ahead:
            if (worker := workers[coming % self._number]).is_ready():
                worker.ask(mailbox, order, coming)
        worker = workers[number % self._number]
        return worker if worker.is_ready() else None

    def _refuse(self, stream: str, why: str) -> None:
        if stream not in self._alone:
            self._alone.add(stream)
            logger.warning("Stream `%s` is loaded by this process alone, without main_loop.workers: %s", stream, why)


class _Loaded(NamedTuple):
    """What a worker answers: a batch, how it failed, or why it is nothing for a worker."""

    batch: Any = None
    failure: str = ""
    unfit: str = ""

    def or_read(self, read: Callable[[int], Batch], number: int) -> Batch:
        """The batch, if need be read in this process."""
        if not self.failure:
            loaded: Batch = read(number) if self.unfit else self.batch
            return loaded
        try:
            batch = read(number)
        except BaseException as error:
            error.add_note(f"It was raised in a worker first:\n{self.failure}")
            raise
        logger.warning("A worker could not load batch %s, and this process could: %s", number, self.failure)
        return batch


_Mailbox = dict[int, _Loaded]


class _Worker:
    """A process, from the other side."""

    def __init__(self, label: str, code: str, setup: Mapping[str, Any]) -> None:
        self.is_torn = False
        """Whether it has died, or an exchange was broken off, so that nobody knows what it will say next."""
        self._ready = False
        self._label = label
        self._lock = RLock()
        self._asked: deque[tuple[_Mailbox, str, int]] = deque()  # and not answered yet
        self._answered = 0
        self._connection, theirs = Pipe()
        self._answers = select.poll()  # Connection.poll makes one every time
        self._answers.register(self._connection.fileno(), select.POLLIN)
        self._files = [_unnamed_file() for _ in range(_AHEAD)]
        self._memory = [Memory(number) for number in self._files]
        passed = [theirs.fileno(), *self._files]
        # Nothing of the working directory can take the place of the standard library.
        command = [sys.executable, "-P", "-c", code, json.dumps([*map(str, sys.path)]), *map(str, passed)]
        # A signal that is for all processes of a terminal must not find one that is not ready for it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=passed)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._send(setup)

    def is_ready(self) -> bool:
        """Whether it has made its dataset, or tried to."""
        if not self._ready:
            with self._lock:
                if not self._ready and self._answers.poll(0):
                    self._receive()
                    self._ready = True
        return self._ready

    def ask(self, mailbox: _Mailbox, order: Sequence[Any], number: int) -> None:
        """Let it load a batch, once all but so many are taken that were asked for before."""
        with self._lock:
            while len(self._asked) == _AHEAD:
                self._take()
            self.is_torn = True
            self._asked.append((mailbox, str(order[1]), number))
            self._send([*order, number])
            self.is_torn = False

    def wait_for(self, mailbox: _Mailbox, order: Sequence[Any], number: int) -> _Loaded:
        """Take a batch."""
        with self._lock:
            if number not in mailbox and not any(box is mailbox and asked == number for box, _, asked in self._asked):
                self.ask(mailbox, order, number)  # another process was, in whose place this one is
            while number not in mailbox:
                self._take()
        return mailbox.pop(number)

    def hang_up(self) -> None:
        """Tell the process to end, and a thread that waits for it as well."""
        if not self._ready:
            self._process.kill()  # whoever imports does not listen
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """End the process."""
        self.hang_up()
        if self._lock.acquire(timeout=_PATIENCE):
            self._connection.close()
            for number in self._files:
                os.close(number)
            self._lock.release()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # it has died, which is told where a batch is waited for
            self._connection.send_bytes(json.dumps(message).encode())

    def _take(self) -> None:
        waited = _LONG
        while not self._connection.closed and not self._answers.poll(1000 * waited):
            _, stream, number = self._asked[0]
            doing = f"Worker {self._label}, process {self._process.pid}, has loaded batch {number} of stream {stream!r}"
            logger.warning("%s for %g seconds; with main_loop.workers=0 a debugger shows where it hangs", doing, waited)
            waited *= 2
        self.is_torn = True
        answer = self._receive()
        mailbox, _, number = self._asked.popleft()
        memory = self._memory[self._answered % _AHEAD]
        self._answered += 1
        kind, rest = answer[:1], answer[1:]
        if kind == b"=":
            mailbox[number] = _Loaded(unpack(rest, memory))
        else:
            mailbox[number] = _Loaded(**{"failure" if kind == b"!" else "unfit": rest.decode()})
        self.is_torn = False

    def _receive(self) -> bytes:
        try:
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            self.is_torn = True
            raise ProducerError(self._death()) from None

    def _death(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        code = self._process.returncode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        doing = "loaded batch {2} of stream {1!r}".format(*self._asked[0]) if self._asked else "made the dataset"
        return f"worker {self._label} {how} while it {doing}; where memory runs out, have fewer main_loop.workers"


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("emloop")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@uninterrupted
def _end(workers: list[_Worker], owner: int) -> None:
    if os.getpid() == owner:  # a child that was forked from it has no business with them
        for worker in workers:
            worker.hang_up()
        while workers:
            workers.pop().end()
