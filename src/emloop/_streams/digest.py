"""A fingerprint of a batch, to recognise it when a stream is read again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emloop.types import Batch

__all__ = ["digest"]

_PLAIN_KINDS = frozenset("biufcmMSU")
_PADDED = frozenset("gG")  # long double: its padding bytes are undefined
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def digest(batch: Batch) -> str:
    """Hash everything a batch holds; equal batches give equal hashes, in every process.

    Arrays count bit by bit, with dtype and shape; the order of the sources does not count. Anything that is neither an
    array nor made of plain values counts by its ``repr``, without memory addresses.
    """
    sha = hashlib.sha256()
    _feed(sha, batch)
    return sha.hexdigest()


def _feed(sha: _Hash, value: Any) -> None:
    if isinstance(value, Mapping):
        _tag(sha, "mapping", len(value))
        for key, item in sorted(value.items(), key=lambda pair: str(pair[0])):
            _tag(sha, "key", key)
            _feed(sha, item)
    elif isinstance(value, (str, bytes)):
        _tag(sha, type(value).__name__, value)
    elif isinstance(value, (set, frozenset)):
        _feed_items(sha, sorted(value, key=repr), len(value))
    elif (array := _as_array(value)) is not None:
        _tag(sha, "array", array.dtype.str, array.shape)
        sha.update(array.tobytes())
    elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        _feed_items(sha, value, len(value))
    else:
        _tag(sha, type(value).__qualname__, _ADDRESS.sub("", repr(value)))


def _feed_items(sha: _Hash, items: Iterable[Any], count: int) -> None:
    _tag(sha, "list", count)
    for item in items:
        _feed(sha, item)


def _tag(sha: _Hash, *parts: object) -> None:
    """Feed parts prefixed with their length, so that they cannot run into what follows."""
    text = repr(parts).encode("utf-8", "backslashreplace")
    sha.update(b"%d:%s" % (len(text), text))


def _as_array(value: Any) -> npt.NDArray[Any] | None:
    """The value as an array fully described by its bytes, or ``None`` if it is no such value."""
    if value is None:
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or on a device that NumPy cannot reach
        return None
    plain = array.dtype.kind in _PLAIN_KINDS and array.dtype.char not in _PADDED
    return array if plain else None
