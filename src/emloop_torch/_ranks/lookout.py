"""Knowing of the other processes: who lives, who has failed and why, who waits for whom, and whether one is to stop.

A thread of every process keeps a connection of its own with rank 0, beside that for messages. What goes over it are
lines of JSON: that a process lives, and where its main thread is; that it has failed; that it waits in vain; that it
has got a signal; that it leaves in peace. A closed connection tells of an end without a word. Rank 0 judges: the first
cause is told to everyone, and stays the only one.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from emloop.errors import RankError

__all__ = ["Lookout"]

logger = logging.getLogger(__name__)

_PATIENCE = 3.0
"""Seconds in which word of a failure arrives, if there is any."""
_COLLECTING = 1.0
"""Seconds that rank 0 waits for others that wait, too, before it judges who is to blame."""
_THEIRS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Lookout:
    """What a process knows of the others.

    Args:
        rank: Its number.
        connections: Number of another process → the connection with it; rank 0 has all, the others that of rank 0.
        timeout: Seconds within which everybody answers.
    """

    def __init__(self, rank: int, connections: Mapping[int, socket.socket], timeout: float) -> None:
        self._rank = rank
        self._timeout = timeout
        self._every = min(1.0, timeout / 6)
        self._connections = dict(connections)
        self._silence = dict.fromkeys(connections, 0.0)
        self._places: dict[int, str] = {}
        self._late: dict[int, str] = {}
        self._blamed: set[int] = set()
        self._late_since = 0.0
        self._left: set[int] = set()
        self._unread = dict.fromkeys(connections, b"")
        self._outbox: list[dict[str, Any]] = []
        self._main = threading.get_ident()
        self._waiting: tuple[str, float] | None = None
        self.cause: str | None = None
        """Why the training cannot go on, once that is known."""
        self._caused = 0.0
        self._known = threading.Event()
        self.stop: int | None = None
        """The signal that another process has got."""
        self._sent, self._wakes = socket.socketpair()
        self._sent.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakes, selectors.EVENT_READ)
        for other, connection in connections.items():
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ, other)
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="emloop ranks", daemon=True)
        self._thread.start()

    def post(self, **line: Any) -> None:
        """Let the thread send a line; may be called in a signal handler."""
        self._outbox.append(line)
        with suppress(OSError):  # closed, or has enough to wake by
            self._sent.send(b".")

    def wait_for(self, what: str | None) -> None:
        """Note for what the main thread waits, so that it does so for no longer than it may."""
        self._waiting = None if what is None else (what, monotonic())

    def look_up(self, other: int, waited: float) -> None:
        """Called by whoever waits for another process.

        Raises:
            RankError: If there is no point in it.
        """
        if self.cause is not None:
            raise RankError(self.cause)
        if self._rank == 0:
            if waited >= self._timeout:
                raise self.in_vain(other)
        elif self._silence[0] > self._timeout:
            raise self._conclude(self._of_silence())

    def in_vain(self, other: int | None = None) -> RankError:
        """The error of a process that can wait no longer, or whose waiting has failed."""
        what = self._waiting[0] if self._waiting is not None else "waits"
        self.post(late=what, on=other)
        if self._known.wait(_PATIENCE) and self.cause is not None:
            return RankError(self.cause)
        if self._rank and self._silence[0] > 3 * self._every:
            return self._conclude(self._of_silence())
        return self._conclude(f"the others did not answer within {self._timeout:g} s while rank {self._rank} {what}")

    def fail(self, cause: str) -> None:
        """Tell the others why this process ends; what is known to be the cause already stays it."""
        if self.cause is None:
            self.post(failed=cause)
            self._known.wait(1.0)

    def close(self) -> None:
        """Leave in peace, unless there was a failure."""
        self._is_closing = True
        self.post(bye=True)
        self._thread.join(_PATIENCE)
        self._selector.close()
        for connection in (*self._connections.values(), self._sent, self._wakes):
            connection.close()

    def _run(self) -> None:
        next_beat, before = 0.0, monotonic()
        while True:
            now = monotonic()
            # While this process itself was stopped, nobody can have been heard.
            passed, before = min(now - before, 2 * self._every), now
            for other in self._silence:
                self._silence[other] += passed
            if now >= next_beat:
                self._send({"at": self._place()})
                next_beat = now + self._every
            for key, _ in self._selector.select(max(0.0, next_beat - now)):
                if key.data is None:
                    self._wakes.recv(4096)
                else:
                    self._read(key.data)
            while self._outbox:
                self._obey(self._outbox.pop(0))
            if self._is_closing:
                return
            self._judge(monotonic())

    def _obey(self, line: dict[str, Any]) -> None:
        if self._rank or "late" not in line:
            self._send(line)
        if "failed" in line or (self._rank == 0 and "late" in line):
            self._receive(self._rank, line)

    def _read(self, other: int) -> None:
        connection = self._connections[other]
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._silence[other] = 0.0
        *lines, self._unread[other] = (self._unread[other] + data).split(b"\n")
        for line in lines:
            self._receive(other, json.loads(line))
        if not data:
            self._selector.unregister(connection)
            if other not in self._left:
                self._conclude(f"rank {other} is gone: its process has ended without a word")

    def _receive(self, other: int, line: dict[str, Any]) -> None:
        if "at" in line:
            self._places[other] = line["at"]
        elif "bye" in line:
            self._left.add(other)
        elif "failed" in line:
            self._conclude(f"rank {other} failed: {line['failed']}")
        elif "cause" in line:
            self._conclude(line["cause"])
        elif "stop" in line:
            self.stop = self.stop or line["stop"]
        elif "late" in line:
            self._late_since = self._late_since or monotonic()
            self._late[other] = line["late"]
            self._blamed |= {line["on"]} - {None}

    def _conclude(self, cause: str) -> RankError:
        if self.cause is None:
            self.cause, self._caused = cause, monotonic()
            if self._rank == 0:
                self._send({"cause": cause})
            self._known.set()
        return RankError(self.cause)

    def _judge(self, now: float) -> None:
        """On rank 0: say who is to blame where somebody waits in vain. Everywhere: end a wait that nothing else can."""
        waiting = self._waiting
        if self.cause is None:
            if self._rank == 0 and self._late and now - self._late_since > _COLLECTING:
                self._conclude(self._verdict())
        elif waiting is not None and now - max(self._caused, waiting[1]) > self._timeout + 2 * _PATIENCE:
            logger.error("%s; rank %d %s, and ends", self.cause, self._rank, waiting[0])
            logging.shutdown()
            os._exit(1)

    def _of_silence(self) -> str:
        return f"rank 0 has not been heard of for {self._silence[0]:.0f} s, so it has stopped, or is cut off"

    def _verdict(self) -> str:
        waits = "; ".join(f"rank {rank} {what}" for rank, what in sorted(self._late.items()))
        silent = [rank for rank, silence in self._silence.items() if silence > 3 * self._every]
        others = silent or sorted(self._blamed) or sorted({0, *self._silence} - self._late.keys() - self._left)
        if not others:
            return f"the processes waited for one another for {self._timeout:g} s: {waits}"
        names = " and ".join(f"rank {rank}" for rank in others)
        places = {rank: self._place() if rank == 0 else self._places.get(rank) for rank in others}
        told = "".join(f", last at {places[rank]}" for rank in others[:1] if places[rank])
        found = "has stopped, or is cut off" if silent else "did not answer in time"
        return f"{names} {found}{told}; within {self._timeout:g} s nothing came while {waits}"

    def _send(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        for connection in self._connections.values():
            with suppress(OSError):  # full, since nobody reads there, or closed: reading will tell
                connection.send(data)

    def _place(self) -> str | None:
        """Where the main thread is, in code that is neither PyTorch's nor of this package."""
        frame = sys._current_frames().get(self._main)
        while frame is not None and frame.f_code.co_filename.startswith(_THEIRS):
            frame = frame.f_back
        if frame is None:
            return None
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
