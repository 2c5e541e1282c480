"""Messages between two processes, over a socket, as long as you like."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["SLICE", "Channel", "packed"]

SLICE = 0.5
"""Seconds after which whoever waits looks up: signals are handled then, and what others have left word of is read."""

_LENGTH = struct.Struct("!Q")
_AT_ONCE = 1 << 16


class Channel:
    """One end of a connection.

    Args:
        connection: The connection.
        look_up: Called every half a second with the seconds of waiting so far; raises where there is no point in it.
    """

    def __init__(self, connection: socket.socket, look_up: Callable[[float], None]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(SLICE)
        self._connection = connection
        self._look_up = look_up
        self._ahead = b""
        """What has been read of the next message."""

    def send(self, message: bytes) -> None:
        """Send what :func:`packed` has made.

        Raises:
            OSError: If the other end is gone.
        """
        view, waited = memoryview(message), 0.0
        while view:
            try:
                view, waited = view[self._connection.send(view) :], 0.0
            except TimeoutError:
                waited += SLICE
                self._look_up(waited)

    def receive(self) -> bytes:
        """The next message.

        Raises:
            OSError: If the other end is gone.
        """
        data = self._ahead or self._read()
        while len(data) < _LENGTH.size:
            data += self._read()
        start = _LENGTH.size
        end = start + _LENGTH.unpack_from(data)[0]
        if len(data) >= end:
            self._ahead = data[end:]
            return data[start:end]
        whole = bytearray(end - start)
        filled = len(data) - start
        whole[:filled] = data[start:]
        self._ahead = b""
        view = memoryview(whole)
        while filled < len(whole):
            filled += self._read_into(view[filled:])
        return bytes(whole)

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def _read(self) -> bytes:
        data: bytes = self._patiently(self._connection.recv, _AT_ONCE)
        return data

    def _read_into(self, view: memoryview) -> int:
        count: int = self._patiently(self._connection.recv_into, view)
        return count

    def _patiently(self, read: Callable[[Any], Any], what: Any) -> Any:
        waited = 0.0
        while True:
            try:
                found = read(what)
            except TimeoutError:
                waited += SLICE
                self._look_up(waited)
                continue
            if not found:
                raise ConnectionResetError("the connection has been closed")
            return found


def packed(message: bytes) -> bytes:
    """A message as it is sent."""
    return _LENGTH.pack(len(message)) + message
