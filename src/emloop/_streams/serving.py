"""What a worker process does: it makes the dataset, and loads the batches that it is asked for.

It ends with the process that started it, however that ends: nothing is at the other side of its socket any more.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from emloop._state.random import random_state, seed_everything, use_seed
from emloop._state.tree import equal_trees
from emloop.types import Batch

from .handover import Memory, pack
from .passes import Pass, entered
from .shares import Share
from .source import DRAWS_GLOBALLY, Source, open_source

__all__ = ["LEFT_TO_PARENT", "serve"]

LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a terminal, or whoever ends a job, sends to all of its processes."""

_GRACE = 2.0
"""Seconds that a batch in progress, and whatever is done at exit, may take once nobody listens any more."""


def serve(make: Callable[[Mapping[str, Any]], object], look_around: Callable[[], None]) -> None:
    """Answer until the socket is closed. ``sys.argv`` ends with its number, and those of the shared memory.

    Args:
        make: Makes the dataset of what the first message says.
        look_around: Called after a stream method, which may have imported a framework.
    """
    socket, *memory = map(int, sys.argv[2:])
    for number in LEFT_TO_PARENT:
        # Not ignored: what is started here would inherit that.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_PARENT)
    _end_with(socket)
    with Connection(socket) as connection, suppress(EOFError, ConnectionError):
        setup = json.loads(connection.recv_bytes())
        with use_seed(setup["seed"]):
            share = setup["share"] and Share(*setup["share"])
            loading = _Loading(partial(make, setup), look_around, setup["seed"], share)
            spaces, answered = [Memory(number) for number in memory], 0
            connection.send_bytes(b"")
            while True:
                request = json.loads(connection.recv_bytes())
                connection.send_bytes(loading.answer(spaces[answered % len(spaces)], *request))
                answered += 1


class _Loading:
    def __init__(
        self, make: Callable[[], object], look_around: Callable[[], None], seed: int, share: Share | None
    ) -> None:
        self._share = share
        self._streams: dict[tuple[str, bool], tuple[int, Pass, Source]] = {}
        self._look_around = look_around
        self._dataset: object = None
        self._useless = ""
        logging.disable(logging.CRITICAL)  # who has started this process has said it all
        try:
            seed_everything(seed)
            self._dataset = make()
        except BaseException as error:  # noqa: BLE001 - of the user's code
            self._useless = "a worker cannot make the dataset: " + _brief(error)
        finally:
            logging.disable(logging.NOTSET)

    def answer(self, memory: Memory, *request: Any) -> bytes:
        """A batch, after an ``=``; or after ``!`` how it failed, after ``-`` why this is nothing for a worker."""
        try:
            batch = self._load(*request)
            try:
                return b"=" + pack(batch, memory)
            except (TypeError, ValueError, RuntimeError) as error:
                raise _Unfit("a batch holds what only one process can have: " + _brief(error)) from error
        except _Unfit as unfit:
            return b"-" + _encoded(str(unfit))
        except BaseException:  # noqa: BLE001 - it is raised where the batch is waited for
            return b"!" + _encoded(traceback.format_exc())

    def _load(self, opening: int, stream: str, training: bool, index: int, number: int) -> Batch:
        if self._useless:
            raise _Unfit(self._useless)
        drawn = None
        if (stream, training) not in self._streams or self._streams[stream, training][0] != opening:
            drawn = random_state()  # too dear for every batch
            self._streams[stream, training] = opening, *self._open(stream, index, training=training)
        _, reading, source = self._streams[stream, training]
        if source.read is None:
            raise _Unfit(source.undivided)
        generators = reading.state()
        with entered(reading):
            batch = source.read(number)
        if reading.state() != generators:
            raise _Unfit("reading a batch draws from self.rng, so each depends on those before it")
        if drawn is not None:
            now = random_state()
            if any(not equal_trees(state, now[name]) for name, state in drawn.items()):
                raise _Unfit(DRAWS_GLOBALLY)
        return batch

    def _open(self, stream: str, index: int, *, training: bool) -> tuple[Pass, Source]:
        reading = Pass(training=training, index=index)
        with entered(reading):
            iterable = getattr(self._dataset, f"{stream}_stream")()
            self._look_around()
            return reading, open_source(iterable, None, partial(reading.key, stream), self._share)


class _Unfit(Exception):
    """This is nothing for a worker."""


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _end_with(socket: int) -> None:
    """End the process soon after the other side has gone, whatever it is doing then."""
    ends = select.poll()
    ends.register(socket, 0)  # 0: that it was closed is told in any case
    with suppress(AttributeError, OSError):  # of Linux alone
        # A child that the other process has forked may hold the other side open for longer than that lives.
        ends.register(os.pidfd_open(os.getppid()), select.POLLIN)

    def watch() -> None:
        ends.poll()
        threading.Event().wait(_GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
