"""Digests of batches, and of files that datasets name, to recognise them when they are read again."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from emloop.types import Batch

__all__ = ["describe_file", "digest"]

_PLAIN_KINDS = frozenset("biufcmMSU")
_PADDED = frozenset("gG")  # long double: its padding bytes are undefined
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_WHOLE = 1 << 20  # bytes of an array that are all hashed
_WHOLE_FILE = 64 << 20  # bytes
_BLOCKS = 64
_BLOCK = 1 << 14  # bytes
_ENTRIES = 10_000
_DEEPEST = 40
"""Containers within containers beyond which nothing is told apart, as in one that holds itself."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def digest(batch: Batch) -> str:
    """Hash everything a batch holds; equal batches give equal hashes, in every process.

    Arrays count bit by bit, with dtype and shape; of one larger than 1 MiB, 64 blocks of 16 KiB count, spread evenly,
    the first and the last among them. The order of the sources does not count. Anything that is neither an array nor
    made of plain values counts by its ``repr``, without memory addresses; what has none, or lies more than 40
    containers deep, is not told apart. An array on a device is copied to the host. Of a part of a batch, the whole
    counts.
    """
    if (whole := getattr(batch, "whole", None)) is not None:
        batch = whole()
    sha = hashlib.sha256()
    _feed(sha, batch, {})
    return sha.hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """What tells whether a file has changed.

    Returns:
        ``bytes``, ``modified`` (in nanoseconds since 1970) and ``digest``: of the whole file up to 64 MiB, of 64 blocks
        of 16 KiB beyond. Of a directory: the size of all its files, and the digest of the names and sizes of the first
        10,000.

    Raises:
        OSError: If it cannot be read.
    """
    sha, status = hashlib.sha256(), path.stat()
    size = status.st_size
    if path.is_dir():
        size = 0
        for number, file in enumerate(_files_below(path)):
            length = file.stat().st_size
            size += length
            if number < _ENTRIES:
                _tag(sha, file.relative_to(path).as_posix(), length)
    else:
        with path.open("rb") as file_object:
            for start, end in _blocks(size, _WHOLE_FILE, 1):
                file_object.seek(start)
                sha.update(file_object.read(end - start))
    return {"bytes": size, "modified": status.st_mtime_ns, "digest": sha.hexdigest()}


def _files_below(directory: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(directory):
        inner.sort()
        yield from (Path(folder, name) for name in sorted(files))


def _blocks(size: int, whole: int, item: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the parts that are hashed of ``size`` items of ``item`` bytes each."""
    if size * item <= whole:
        yield 0, size
        return
    block = max(_BLOCK // item, 1)
    for number in range(_BLOCKS):
        start = number * (size - block) // (_BLOCKS - 1)
        yield start, start + block


_Seen: TypeAlias = dict[int, tuple[str, Any]]
"""Container by identity → its digest and itself; of one that is being read, an empty digest."""


def _feed(sha: _Hash, value: Any, seen: _Seen, depth: int = 0) -> None:
    if isinstance(value, (str, bytes)):
        _tag(sha, type(value).__name__, value)
    elif isinstance(value, (Mapping, set, frozenset)):
        _tag(sha, "container", _own(value, seen, depth))
    elif (array := _as_array(value)) is not None:
        _tag(sha, "array", array.dtype.str if array.dtype.kind != "V" else array.dtype.name, array.shape)
        for start, end in _blocks(array.size, _WHOLE, max(array.itemsize, 1)):
            sha.update(array.flat[start:end].tobytes())
    elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        _tag(sha, "container", _own(value, seen, depth))
    else:
        _tag(sha, type(value).__qualname__, _written(value))


def _own(container: Any, seen: _Seen, depth: int) -> str:
    """The digest of a container, read once: nodes of a graph may hold one another."""
    if id(container) in seen or depth > _DEEPEST:
        return seen.get(id(container), ("", None))[0]
    seen[id(container)] = "", container
    sha = hashlib.sha256()

    def one(value: Any) -> str:
        # What may be in any order is fed in that of its digests.
        part = hashlib.sha256()
        _feed(part, value, seen, depth + 1)
        return part.hexdigest()

    if isinstance(container, Mapping):
        _tag(sha, "mapping", *sorted((one(key), one(item)) for key, item in container.items()))
    elif isinstance(container, (set, frozenset)):
        _tag(sha, "set", *sorted(map(one, container)))
    else:
        _tag(sha, "list", len(container))
        for item in container:
            _feed(sha, item, seen, depth + 1)
    seen[id(container)] = sha.hexdigest(), container
    return sha.hexdigest()


def _written(value: object) -> str:
    try:
        return _ADDRESS.sub("", repr(value))
    except Exception:  # noqa: BLE001 - somebody's own: a proxy, or what is closed
        return "unknown"


def _tag(sha: _Hash, *parts: object) -> None:
    """Feed parts prefixed with their length, so that they cannot run into what follows."""
    text = repr(parts).encode("utf-8", "backslashreplace")
    sha.update(b"%d:%s" % (len(text), text))


def _as_array(value: Any) -> npt.NDArray[Any] | None:
    """The value as an array fully described by its bytes, or ``None`` if it is no such value."""
    if value is None:
        return None
    try:
        array = np.asarray(_on_host(value))
    except (AttributeError, TypeError, ValueError, RuntimeError):  # ragged, or of a kind that NumPy does not know
        return None
    if array.dtype.kind in "US" and isinstance(value, (list, tuple)) and not _is_text(value):
        return None  # NumPy has made texts of numbers
    kind = array.dtype.kind
    # The backends' own numbers, such as bfloat16, are void to NumPy; fields may have gaps with anything in them.
    plain = kind in _PLAIN_KINDS or (kind == "V" and array.dtype.names is None and not array.dtype.hasobject)
    return array if plain and array.dtype.char not in _PADDED else None


def _on_host(value: Any) -> Any:
    """A tensor of PyTorch's as one that NumPy takes; anything else as it is."""
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value
    tensor = value.detach().cpu()
    if getattr(tensor, "is_sparse", False):
        tensor = tensor.to_dense()
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.float().numpy()  # NumPy has no bfloat16; nothing is lost


def _is_text(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_text, value))
    return isinstance(value, (str, bytes, np.ndarray))
