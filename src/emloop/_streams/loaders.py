"""Loaders of other libraries that can be opened at any batch, once somebody who knows them has taken them over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from emloop.types import Batch

from .shares import Share

__all__ = ["Adapter", "DivisibleLoader", "Loader", "add_loader_adapter", "forgets", "taken_over"]


class Loader(Protocol):
    """One pass of a loader whose batches are pure functions of a key and their number."""

    draws_globally: bool
    """Whether reading a batch uses global generators for a while, so that nothing else may draw from them meanwhile."""

    def __len__(self) -> int:
        """Batches in the pass."""

    def batches(self, start: int) -> Iterator[Batch]:
        """The batches from a number on, in order."""

    def batch(self, number: int) -> Batch:
        """A single batch, read in this process."""


@runtime_checkable
class DivisibleLoader(Loader, Protocol):
    """One of which a process can read its own rows alone."""

    def size(self, number: int) -> int:
        """Number of examples in a batch."""

    def divided(self, share: Share) -> Loader | None:
        """The same pass with the process's own rows; ``None`` if nobody but the loader knows what rows are."""


Adapter = Callable[[object, int], Loader | None]
"""Takes what a stream method returned, and a key that belongs to seed, stream and pass alone."""

_adapters: list[Adapter] = []


def add_loader_adapter(adapter: Adapter) -> None:
    """Ask a function about whatever stream methods return: a backend registers one for its framework's loaders.

    Args:
        adapter: Returns the loader's pass, or ``None`` for what it does not know or cannot take over.
    """
    if adapter not in _adapters:
        _adapters.append(adapter)


def taken_over(iterable: object, key: Callable[[], int]) -> Loader | None:
    """The pass of a loader that an adapter knows."""
    for adapter in _adapters:
        loader = adapter(iterable, key())
        if loader is not None:
            return loader
    return None


def forgets(iterable: object) -> bool:
    """Whether the state that an iterable offers lacks what it holds, as one with a shuffle buffer of Hugging Face's."""
    if "BufferShuffled" in type(iterable).__name__:
        return True
    inner = [getattr(iterable, name, None) for name in ("dataset", "_ex_iterable", "ex_iterable")]
    return any(forgets(part) for part in [*inner, *getattr(iterable, "ex_iterables", ())] if part is not None)
