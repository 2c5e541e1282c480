"""One pass over what a stream method returned, opened at its start or further on.

The kind of object returned decides how exactly a run can be resumed inside the pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import GeneratorType
from typing import Any, Literal

from emloop.errors import BatchError
from emloop.types import Batch, StateTree

from .digest import digest
from .loaders import DivisibleLoader, Loader, forgets, taken_over
from .shares import Divisible, Share

__all__ = ["DRAWS_GLOBALLY", "Level", "Source", "digest_at", "open_source"]

Level = Literal["exact", "replay", "epoch"]
"""``exact``: can jump to any batch. ``replay``: a generator, read again up to the batch, which is then compared.
``epoch``: any other iterable, exact only at the start of a pass; inside it is read again and compared as well."""

DRAWS_GLOBALLY = "it draws from the global random state of Python, NumPy or a framework"

_STATE_METHODS = (("state_dict", "load_state_dict"), ("get_state", "set_state"))
_END: Any = object()


@dataclass(frozen=True)
class Source:
    """An opened pass.

    Args:
        level: How exactly a run can be resumed inside the pass.
        batches: The rest of the pass.
        capture: Returns the iterable's own state, if it keeps one.
        doubt: Why this may not be the requested place; ``None`` if it is.
        length: Batches in the pass, where known.
        examples: Those in its first batch, where that is known before it is read.
        runs_code: Whether reading a batch runs code that may ask for the pass.
        reads_alone: Whether nothing else may run while a batch is read, since that uses global generators for a while.
        read: Reads any batch of the pass by its number, where several processes may share in reading them.
        undivided: Why they may not; empty if they may.
        shared: Makes of what was read, of the batch of a number, what this process computes of it; ``None``: all.
    """

    level: Level
    batches: Iterator[Batch]
    capture: Callable[[], StateTree] | None = None
    doubt: str | None = None
    length: int | None = None
    examples: int | None = None
    runs_code: bool = True
    reads_alone: bool = False
    read: Callable[[int], Batch] | None = None
    undivided: str = "it is no sequence, which could be read at any batch"
    shared: Callable[[int, Batch], Batch] | None = None


def open_source(
    iterable: Iterable[Batch],
    at: Mapping[str, Any] | None = None,
    key: Callable[[], int] = lambda: 0,
    share: Share | None = None,
) -> Source:
    """Open what a stream method returned.

    Args:
        iterable: An iterable of batches.
        key: Returns what makes a loader's random numbers those of the pass.
        at: Saved state of a stream at which to open it, instead of at its start; see ``StreamWrapper.state_dict``.
        share: Which rows of every batch are this process's own; ``None``: all.

    Raises:
        BatchError: If it cannot be iterated.
    """
    if share is None:
        return _opened(iterable, at, key)
    if isinstance(iterable, Divisible) and _is_sequence(type(iterable)):
        return _open_own_rows(iterable, at, share)
    source = _opened(iterable, at, key, share)
    return source if source.shared else replace(source, shared=lambda _number, batch: share.of(batch))


def _open_own_rows(batches: Any, at: Mapping[str, Any] | None, share: Share) -> Source:
    def read(number: int) -> Batch:
        rows: Batch = batches.part(number, share.rows(batches.size(number)))
        return rows

    def shared(number: int, rows: Batch) -> Batch:
        return share.part(rows, batches.size(number), partial(batches.__getitem__, number))

    return replace(_open_sequence(batches, at, read), shared=shared, examples=batches.size(0) if len(batches) else None)


def _opened(
    iterable: Iterable[Batch], at: Mapping[str, Any] | None, key: Callable[[], int], share: Share | None = None
) -> Source:
    saved = None if at is None else at["source"]
    capture, restore = _state_methods(iterable)
    cls = type(iterable)
    if capture is None and _is_sequence(cls):
        return _open_sequence(iterable, at)  # type: ignore[arg-type]
    loader = taken_over(iterable, key)
    if loader is not None:
        return _open_loader(loader, at, share)
    if restore is not None and saved is not None:
        restore(saved)
    try:
        iterator = iter(iterable)
    except TypeError as error:
        if isinstance(iterable, Iterable):
            raise
        raise BatchError(
            f"a stream method must return an iterable of batches, got {cls.__name__}; is there a return or a yield "
            "missing?"
        ) from error
    if capture is None:
        capture, restore = _state_methods(iterator)
        if restore is not None and saved is not None:
            restore(saved)
    level: Level = "exact" if capture is not None else "replay" if isinstance(iterator, GeneratorType) else "epoch"
    if at is None or (capture is not None and saved is not None):
        return Source(level, iterator, capture)
    return Source(level, iterator, capture, _skip(iterator, at["batches"], at["digest"]))


def digest_at(iterable: Iterable[Batch], index: int, key: Callable[[], int] = lambda: 0) -> str | None:
    """Digest of a batch that can be read without those before it; arguments as for :func:`open_source`.

    Returns:
        ``None`` if it cannot, or if the iterable keeps its own position, which reading would move; an empty text if
        there is no such batch.
    """
    cls = type(iterable)
    if _state_methods(iterable)[0] is not None:
        return None
    if _is_sequence(cls):
        return digest(iterable[index]) if index < len(iterable) else ""  # type: ignore[index,arg-type]
    loader = taken_over(iterable, key)
    if loader is not None:
        return digest(loader.batch(index)) if index < len(loader) else ""
    # Anything else may start processes as soon as it is iterated.
    if index or not (
        isinstance(iterable, GeneratorType) or inspect.isgeneratorfunction(getattr(cls, "__iter__", None))
    ):
        return None
    iterator = iter(iterable)
    batch = next(iterator, _END)
    iterator.close()  # type: ignore[attr-defined]
    return "" if batch is _END else digest(batch)


def _is_sequence(cls: type) -> bool:
    """Whether batches are read by number: there is a length, an index is taken, and it is no mapping."""
    return hasattr(cls, "__len__") and hasattr(cls, "__getitem__") and not issubclass(cls, Mapping)


def _state_methods(candidate: object) -> tuple[Callable[[], StateTree], Callable[[StateTree], Any]] | tuple[None, None]:
    """Methods by which an iterable or its iterator returns its position and takes it back, if it has them."""
    for names in _STATE_METHODS:
        capture, restore = (getattr(candidate, name, None) for name in names)
        if callable(capture) and callable(restore) and not forgets(candidate):
            return capture, restore
    return None, None


def _open_sequence(
    batches: Sequence[Batch], at: Mapping[str, Any] | None, read: Callable[[int], Batch] | None = None
) -> Source:
    start, doubt = _found_again(at, len(batches), batches.__getitem__)
    length = len(batches)
    if type(batches) in (list, tuple):
        left, undivided = islice(batches, start, length), "its batches are in memory already"
        return Source("exact", left, None, doubt, length, runs_code=False, undivided=undivided)
    read = read or batches.__getitem__
    rest = (read(number) for number in range(start, length))  # of a `map`, a StopIteration in `read` would be the end
    return Source("exact", rest, None, doubt, length, read=read, undivided="")


def _open_loader(loader: Loader, at: Mapping[str, Any] | None, share: Share | None) -> Source:
    start, doubt = _found_again(at, len(loader), loader.batch)
    reader, shared, examples = loader, None, None
    if share is not None and isinstance(loader, DivisibleLoader):
        reader = loader.divided(share) or loader
        if reader is not loader:
            examples = loader.size(0) if len(loader) else None

            def shared(number: int, rows: Batch) -> Batch:
                return share.part(rows, loader.size(number), partial(loader.batch, number))

    rest = reader.batches(min(start, len(loader)))
    alone = loader.draws_globally
    read, why = (reader.batch, "") if alone else (None, "it has workers of its own")
    found = Source("exact", rest, None, doubt, len(loader), examples, reads_alone=alone, read=read, undivided=why)
    return replace(found, shared=shared)


def _found_again(at: Mapping[str, Any] | None, length: int, read: Callable[[int], Batch]) -> tuple[int, str | None]:
    """Where to begin among batches that are read by number, and why that may not be the place that was saved."""
    if at is None:
        return 0, None
    start: int = at["batches"]
    if start > length:
        return start, f"has {length} batches now, and {start} of them were read before"
    if at["source"] is not None:
        return start, "kept a state when the position was saved, and returns a sequence now"
    if at["digest"] is not None and digest(read(start - 1)) != at["digest"]:
        return start, _differs(start)
    return start, None


def _skip(iterator: Iterator[Batch], count: int, expected: str | None) -> str | None:
    """Read and discard batches; return why the last one may not be the one that was meant, or ``None``."""
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
