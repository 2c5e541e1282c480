"""Joining the processes that a launcher has started: rank 0 with every other one, and all in PyTorch's own group.

PyTorch's group is for tensors: gradients and the like. What rank 0 tells, and what it gathers, goes over a connection
of its own with each, at a fraction of what a collective costs for a few bytes; see ``channels.py``.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import secrets
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from time import monotonic

import torch
from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed.rendezvous import rendezvous

from emloop.errors import RankError
from emloop.ranks import Scene

from .channels import Channel, packed
from .lookout import Lookout

__all__ = ["TorchRanks", "join", "of_others"]

logger = logging.getLogger(__name__)

_START = 300.0
"""Seconds within which all processes begin, though a file system may be slow: more than they get to answer later."""
_HELLO = struct.Struct("!32sQ?")
_WELCOME = b"+"
_KEY = "emloop/rank 0"
_AFTER = "emloop/after "
"""With a token: where rank 0 is in the attempt that followed."""
_PR_SET_PDEATHSIG = 1  # man 2 prctl: a signal for when the parent ends
_OF_COLLECTIVES = ("gloo", "NCCL", "ProcessGroup", "c10d", "Connection closed by peer", "Broken pipe")
_LOOPBACK = "127.0.0.1"
_Connections = dict[int, tuple[socket.socket, socket.socket]]
"""Number of another process → the two connections with it."""


def join(scene: Scene, timeout: float) -> TorchRanks:
    """Connect with the other processes that a launcher has started.

    Args:
        scene: What the launcher has told.
        timeout: Seconds within which everybody answers.

    Raises:
        RankError: If one of them does not come.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        # An agent that is killed tells nobody; without it, nobody would end what it has started.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    is_local = scene.local_size == scene.size
    patience = max(timeout, _START)
    try:
        store = _store(scene, patience)
        token, connections = _listen(scene, store, patience) if scene.rank == 0 else _connect(scene, store)
        kept = os.environ.get("GLOO_SOCKET_IFNAME")
        if is_local and kept is None and (loopback := _loopback()):
            # The name of a machine may lead nowhere.
            os.environ["GLOO_SOCKET_IFNAME"] = loopback
        try:
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo",
                store=PrefixStore(f"emloop/{token.hex()}", store),
                rank=scene.rank,
                world_size=scene.size,
                timeout=timedelta(seconds=timeout),
            )
        finally:
            if kept is None:
                os.environ.pop("GLOO_SOCKET_IFNAME", None)
    except (OSError, distributed.DistError, RuntimeError) as error:
        if isinstance(error, RankError):
            raise
        raise RankError(f"rank {scene.rank} cannot join the others at {scene.address}:{scene.port}: {error}") from error
    return TorchRanks(scene, connections, store, timeout)


def of_others(error: RuntimeError | ValueError) -> bool:
    """Whether an error of PyTorch's tells of another process only, which has ended or does not answer."""
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in _OF_COLLECTIVES)


class TorchRanks:
    """The processes of a training; see :class:`emloop.ranks.Ranks`.

    Args:
        scene: What the launcher has told.
        connections: Those with the others.
        store: What PyTorch's own group has come together by.
        timeout: Seconds within which everybody answers.
    """

    def __init__(
        self,
        scene: Scene,
        connections: _Connections,
        store: Store,
        timeout: float,
    ) -> None:
        self.rank, self.size, self.local_rank = scene.rank, scene.size, scene.local_rank
        self._store = store  # rank 0 serves it
        self._lookout = Lookout(self.rank, {other: pair[1] for other, pair in connections.items()}, timeout)
        look_up = self._lookout.look_up
        self._channels = {other: Channel(pair[0], partial(look_up, other)) for other, pair in connections.items()}
        self._sockets = [each for pair in connections.values() for each in pair]
        self._is_open = True
        # A child, such as one that reads data, would keep the connections open when this process is killed.
        os.register_at_fork(after_in_child=self._forget)

    def tell(self, message: bytes) -> None:
        """On rank 0: tell all others."""
        data = packed(message)
        with self._during("tells what to do"):
            for channel in self._channels.values():
                channel.send(data)

    def hear(self) -> bytes:
        """On the others: wait for what rank 0 tells next, as long as that lives."""
        with self._during("waits for what rank 0 tells"):
            return self._channels[0].receive()

    def gather(self, message: bytes) -> Sequence[bytes]:
        """On all: hand a message to rank 0, which gets those of all, in order; others get nothing."""
        with self._during("gathers values"):
            if self.rank:
                self._channels[0].send(packed(message))
                return ()
            return [message, *(self._channels[other].receive() for other in range(1, self.size))]

    def ask_to_stop(self, number: int) -> None:
        """On the others: let rank 0 know of a signal; may be called in a signal handler."""
        self._lookout.post(stop=number)

    def asked_to_stop(self) -> int | None:
        """On rank 0: the signal that another process has got, if one has; does not wait."""
        return self._lookout.stop

    def fail(self, cause: str) -> None:
        """Leave word of why this process ends, for the others."""
        self._lookout.fail(cause)

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Around what all processes compute together, such as gradients; ``what`` follows the name of a rank.

        Raises:
            RankError: If another process has failed, is gone, or does not answer.
        """
        self._lookout.wait_for(what)
        try:
            yield
        except RuntimeError as error:
            if of_others(error):
                raise self._lookout.in_vain() from error
            raise
        finally:
            self._lookout.wait_for(None)

    def close(self) -> None:
        """End the connection; the process can still go on alone."""
        if self._is_open:
            self._is_open = False
            self._lookout.close()
            for channel in self._channels.values():
                channel.close()
            distributed.destroy_process_group()

    @contextmanager
    def _during(self, what: str) -> Iterator[None]:
        self._lookout.wait_for(what)
        try:
            yield
        except RankError:
            raise
        except OSError as error:
            raise self._lookout.in_vain() from error
        finally:
            self._lookout.wait_for(None)

    def _forget(self) -> None:
        for each in self._sockets:
            each.close()


def _store(scene: Scene, patience: float) -> Store:
    if _is_served_by_agent():
        # The agent serves it to one attempt after the other, and what an earlier one has left is still there.
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=patience)))
        return store
    is_host = scene.rank == 0
    return TCPStore(scene.address, scene.port, None, is_host, timedelta(seconds=patience), wait_for_workers=False)


def _is_served_by_agent() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _listen(scene: Scene, store: Store, patience: float) -> tuple[bytes, _Connections]:
    """On rank 0: a token of this attempt, and the connections with all others.

    There is one for messages and one to look out for them, each.
    """
    host = _LOOPBACK if scene.local_size == scene.size else ""
    found: dict[tuple[int, bool], socket.socket] = {}
    deadline = monotonic() + patience
    with socket.create_server((host, 0), backlog=2 * scene.size) as server:
        token = secrets.token_bytes(32)
        told = {"hosts": [_LOOPBACK] if host else _hosts(scene), "port": server.getsockname()[1], "token": token.hex()}
        before = json.loads(store.get(_KEY)) if store.check([_KEY]) else None
        store.set(_KEY, json.dumps(told))
        if before is not None:
            store.set(_AFTER + before["token"], json.dumps(told))
        while len(found) < 2 * (scene.size - 1):
            server.settimeout(max(0.1, deadline - monotonic()))
            try:
                connection, _ = server.accept()
                connection.settimeout(10.0)
                hello = connection.recv(_HELLO.size, socket.MSG_WAITALL)
            except TimeoutError:
                if monotonic() < deadline:
                    continue
                missing = sorted({*range(1, scene.size)} - {rank for rank, _ in found})
                names = ", ".join(f"rank {rank}" for rank in missing[:8])
                raise RankError(f"not all {scene.size} processes came within {patience:g} s: {names} missing") from None
            given, rank, is_lookout = _HELLO.unpack(hello) if len(hello) == _HELLO.size else (b"", 0, False)
            if not secrets.compare_digest(given, token):
                connection.close()
                continue
            if _is_open(found.get((rank, is_lookout))):
                for each in (connection, *found.values()):
                    each.close()
                raise RankError(f"two processes call themselves rank {rank}; has every machine its own --node-rank?")
            connection.sendall(_WELCOME)
            found[rank, is_lookout] = connection
    return token, {rank: (found[rank, False], found[rank, True]) for rank in range(1, scene.size)}


def _connect(scene: Scene, store: Store) -> tuple[bytes, _Connections]:
    """On the others: the same, with rank 0, which may no longer be where the store says."""
    text = store.get(_KEY)
    while True:
        told = json.loads(text)
        token, failure = bytes.fromhex(told["token"]), OSError("it cannot be reached")
        for host in told["hosts"]:
            pair = []
            try:
                for is_lookout in (False, True):
                    pair.append(socket.create_connection((host, told["port"]), timeout=30.0))
                    pair[-1].sendall(_HELLO.pack(token, scene.rank, is_lookout))
                if all(connection.recv(1) == _WELCOME for connection in pair):
                    return token, {0: (pair[0], pair[1])}
            except OSError as error:
                failure = error
            for connection in pair:
                connection.close()
        if not _is_served_by_agent():
            raise failure
        try:
            text = store.get(_AFTER + told["token"])
        except RuntimeError:
            raise failure from None


def _is_open(connection: socket.socket | None) -> bool:
    """Whether nobody has closed the other end, where nothing has been sent."""
    if connection is None:
        return False
    try:
        connection.setblocking(False)
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _hosts(scene: Scene) -> list[str]:
    """How rank 0 may be reached: by what leads from here to where all meet, or by name."""
    hosts = [scene.address, socket.gethostname()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((scene.address, scene.port))
            hosts.insert(0, probe.getsockname()[0])
        except OSError:
            pass  # no such route, or no IPv4
    return list(dict.fromkeys(hosts))


def _loopback() -> str | None:
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in ("lo", "lo0") if name in names), None)
