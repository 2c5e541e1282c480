"""Values, not bytes, between the processes of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from emloop._contracts.ranks import Ranks
from emloop._streams.handover import from_bytes, to_bytes
from emloop.errors import RankError

__all__ = ["Channel"]


class Channel:
    """What :class:`~emloop.ranks.Ranks` offer, for plain values and arrays.

    Args:
        ranks: The processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.rank, self.size = ranks.rank, ranks.size
        self.asked_to_stop: Callable[[], int | None] = ranks.asked_to_stop

    def tell(self, *message: Any) -> None:
        """On rank 0: tell all others."""
        self._ranks.tell(_packed(message))

    def hear(self) -> tuple[Any, ...]:
        """On the others: wait for what rank 0 tells."""
        message: tuple[Any, ...] = from_bytes(self._ranks.hear())
        return message

    def gather(self, value: Any) -> Sequence[Any]:
        """On all: hand a value to rank 0, which gets those of all, in order."""
        return list(map(from_bytes, self._ranks.gather(_packed(value)) or ()))


def _packed(value: Any) -> bytes:
    try:
        return to_bytes(value)
    except TypeError as error:
        raise RankError(f"nothing but plain values and arrays can go to another process, got {error}") from None
