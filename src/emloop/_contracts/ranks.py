"""Several processes that train one model: rank 0, which runs hooks and writes, and the others, which obey it.

A backend that can do so has models with the ability :class:`Shared`. What travels between processes is made of plain
values and arrays; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from emloop.types import StateTree

__all__ = ["Ranks", "Scene", "Shared", "current_ranks", "use_ranks"]


@dataclass(frozen=True)
class Scene:
    """What a launcher has told this process.

    Args:
        rank: Number of the process among all.
        size: How many there are.
        local_rank: Its number among those of its machine, which is that of its device.
        local_size: How many there are on its machine.
        address: Where rank 0 can be reached.
        port: At which port.
        launcher: ``torchrun`` or ``srun``.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int
    launcher: str


class Ranks(Protocol):
    """What the processes of a training tell one another.

    Every method that waits raises :class:`~emloop.errors.RankError` where another process has failed, gone or does not
    answer in time; it names that and the cause.
    """

    rank: int
    size: int
    local_rank: int

    def tell(self, message: bytes) -> None:
        """On rank 0: tell all others."""

    def hear(self) -> bytes:
        """On the others: wait for what rank 0 tells next, as long as that lives."""

    def gather(self, message: bytes) -> Sequence[bytes]:
        """On all: hand a message to rank 0, which gets those of all, in order; others get nothing."""

    def ask_to_stop(self, number: int) -> None:
        """On the others: let rank 0 know of a signal; may be called in a signal handler."""

    def asked_to_stop(self) -> int | None:
        """On rank 0: the signal that another process has got, if one has; does not wait."""

    def fail(self, cause: str) -> None:
        """Leave word of why this process ends, for the others; they add its number."""

    def close(self) -> None:
        """End the connection; the process can still go on alone."""


@runtime_checkable
class Shared(Protocol):
    """A model that several processes train, each on its rows of every batch; made inside of :func:`use_ranks`.

    ``run`` gets a :class:`~emloop.ranks.Part`, returns values for its rows, and learns what the whole batch teaches: a
    mean over all rows of all processes, weighed as in one. ``state_dict``, ``get_variable`` and ``save`` are asked of
    rank 0 alone, unless they are named in :attr:`on_all_ranks`.
    """

    @classmethod
    def join_ranks(cls, scene: Scene, timeout: float) -> Ranks:
        """Join the processes that a launcher has started.

        Args:
            scene: What it has told.
            timeout: Seconds after which a process that does not answer is given up.

        Raises:
            RankError: If they do not come together.
        """

    on_all_ranks: Sequence[str]
    """Methods that all processes have to call together, beside ``run``, ``end_epoch``, ``set_variable`` and
    ``load_state_dict``."""

    @classmethod
    def launch_ranks(cls, count: int, command: Sequence[str]) -> int:
        """Start so many processes on this machine, as a launcher does, and wait for their end.

        Args:
            count: How many.
            command: What follows the interpreter.

        Returns:
            The exit code of rank 0.
        """

    def rank_state(self) -> StateTree:
        """What of the model's state belongs to this process alone, such as its random generators."""

    def merged_rank_states(self, states: Sequence[StateTree]) -> StateTree:
        """What another number of processes, or one alone, takes up in place of :meth:`rank_state` of several."""

    def load_rank_state(self, state: StateTree) -> None:
        """Take up what :meth:`rank_state` or :meth:`merged_rank_states` returned, after the state of the model."""


_CURRENT: ContextVar[Ranks | None] = ContextVar("ranks", default=None)


def current_ranks() -> Ranks | None:
    """The processes among which this one trains a model; ``None`` if it does so alone."""
    return _CURRENT.get()


@contextmanager
def use_ranks(ranks: Ranks | None) -> Iterator[None]:
    """Let :func:`current_ranks` tell of them inside the block."""
    token = _CURRENT.set(ranks)
    try:
        yield
    finally:
        _CURRENT.reset(token)
