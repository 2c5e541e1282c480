"""One pass over what a stream method returned, opened at its start or at a batch further on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

from emloop.errors import BatchError
from emloop.types import Batch, StateTree

from .digest import digest
from .levels import Level, StateMethods, is_sequence, state_methods

__all__ = ["Source", "open_source"]

_END: Any = object()


@dataclass(frozen=True)
class Source:
    """An opened pass.

    Args:
        level: How exactly a run can be resumed inside the pass.
        batches: What is left of the pass.
        capture: The iterable's own state, where it keeps one.
        doubt: Why this may not be the place that was asked for; ``None`` if it is.
    """

    level: Level
    batches: Iterator[Batch]
    capture: Callable[[], StateTree] | None = None
    doubt: str | None = None


def open_source(iterable: Iterable[Batch], at: Mapping[str, Any] | None = None) -> Source:
    """Open what a stream method returned.

    Args:
        iterable: An iterable of batches.
        at: The saved state of a stream at which to open it, instead of at its start; see ``StreamWrapper.state_dict``.

    Raises:
        BatchError: If it cannot be iterated.
    """
    methods = state_methods(iterable)
    if methods is None and is_sequence(iterable):
        return _sequence(iterable, at)  # type: ignore[arg-type]  # is_sequence has looked
    saved = None if at is None else at["source"]
    if methods is not None and saved is not None:
        methods.restore(saved)
    iterator = _iterator(iterable)
    if methods is None:
        methods = state_methods(iterator)
        if methods is not None and saved is not None:
            methods.restore(saved)
    level = _level(iterator, methods)
    capture = None if methods is None else methods.capture
    if at is None or (methods is not None and saved is not None):
        return Source(level, iterator, capture)
    return Source(level, iterator, capture, _skip(iterator, at["batches"], at["digest"]))


def _level(iterator: Iterator[Batch], methods: StateMethods | None) -> Level:
    if methods is not None:
        return "exact"
    return "replay" if isinstance(iterator, GeneratorType) else "epoch"


def _iterator(iterable: Iterable[Batch]) -> Iterator[Batch]:
    try:
        return iter(iterable)
    except TypeError as error:
        if isinstance(iterable, Iterable):
            raise
        raise BatchError(
            f"a stream method must return an iterable of batches, got {type(iterable).__name__}; "
            "is there a return or a yield missing?"
        ) from error


def _sequence(batches: Sequence[Batch], at: Mapping[str, Any] | None) -> Source:
    if at is None:
        return Source("exact", _walk(batches, 0))
    start = at["batches"]
    doubt = None
    if start > len(batches):
        doubt = f"has {len(batches)} batches now, and {start} of them were read before"
    elif at["source"] is not None:
        doubt = "kept a state when the position was saved, and returns a sequence now"
    elif at["digest"] is not None and digest(batches[start - 1]) != at["digest"]:
        doubt = _differs(start)
    return Source("exact", _walk(batches, start), doubt=doubt)


def _walk(batches: Sequence[Batch], start: int) -> Iterator[Batch]:
    for index in range(start, len(batches)):
        yield batches[index]


def _skip(iterator: Iterator[Batch], count: int, expected: str | None) -> str | None:
    """Read and discard; why the last batch may not be the one that was meant, or ``None``."""
    batch = None
    for index in range(count):
        batch = next(iterator, _END)
        if batch is _END:
            return f"ended after {index} batches when read again, and {count} of them were read before"
    if batch is None or expected is None:
        return "could jump to a batch when the position was saved, and returns another kind of iterable now"
    return None if digest(batch) == expected else _differs(count)


def _differs(count: int) -> str:
    return f"gave another batch {count - 1} when read again"
