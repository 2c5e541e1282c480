"""A batch on its way from one process to another: arrays in shared memory, all else as JSON. Nothing is pickled."""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Memory", "add_carrier", "as_kind", "from_bytes", "pack", "to_bytes", "unpack"]

_ALIGNED = 64
"""Arrays begin at multiples of so many bytes."""
_LOOSEST = 8
"""A view that leaves out more of its base, as one column of a wide table does, is packed."""
_SHORT = 4096
"""Longer descriptions hold what differs from batch to batch, such as texts."""
_LENGTH = 8
"""Bytes of the length of a description."""
_PLAIN = frozenset({type(None), bool, int, float, str})

_carriers: dict[type, tuple[str, Callable[[Any], npt.NDArray[Any]]]] = {
    bytes: ("bytes", lambda value: np.frombuffer(value, np.uint8)),
    np.ndarray: ("array", lambda value: value),
    np.memmap: ("array", np.asarray),
}
"""What crosses as an array: class → its name there, and what makes an array of it."""
_arrivals: dict[str, Callable[[npt.NDArray[Any]], Any]] = {
    "bytes": lambda array: array.tobytes(),
    "array": lambda array: array,
    "scalar": lambda array: array[()],
}


def add_carrier(
    name: str, kind: type, to_array: Callable[[Any], npt.NDArray[Any]], from_array: Callable[[npt.NDArray[Any]], Any]
) -> None:
    """Let objects of a framework cross as arrays; a backend registers its own.

    Args:
        name: The same in both processes.
        kind: Exactly this class.
        to_array: Raises ``TypeError`` for what an array cannot hold.
        from_array: Makes of a copy of the array what it was.
    """
    _carriers[kind] = name, to_array
    _arrivals[name] = from_array


def as_kind(kind: type, array: Any) -> Any:
    """What objects of a class have crossed as, as one of them again."""
    return _arrivals[_carriers[kind][0]](array) if kind in _carriers else array


class Memory:
    """Memory that two processes share: a file without a name, which grows.

    Args:
        number: Its descriptor.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._map: mmap.mmap | None = None

    def of(self, size: int) -> mmap.mmap | bytearray:
        """At least so many bytes."""
        if not size:
            return bytearray()
        if self._map is None or len(self._map) < size:
            if os.fstat(self._number).st_size < size:
                os.ftruncate(self._number, size + size // 4)
            self._map = mmap.mmap(self._number, 0)
        return self._map


class _Space(Protocol):
    def of(self, size: int) -> Any: ...


def pack(value: Any, memory: _Space) -> bytes:
    """Put arrays into memory, and describe the rest.

    Raises:
        TypeError: If there is something that would not arrive as what it is; names its type.
    """
    arrays: list[tuple[int, npt.NDArray[Any]]] = []
    size = 0

    def described(value: Any) -> Any:
        nonlocal size
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is dict:
            return ["dict", *([described(key), described(item)] for key, item in value.items())]
        if kind in (list, tuple):
            return [kind.__name__, *map(described, value)]
        if kind is np.ndarray and value.dtype == object:
            return ["objects", value.shape, *map(described, value.flat)]
        name, to_array = _carriers.get(kind, ("scalar" if isinstance(value, np.generic) else "", np.asarray))
        if not name:
            raise TypeError(f"{kind.__module__}.{kind.__qualname__}")
        array = to_array(value)
        found = [name, size, _code(array.dtype), array.shape, _strides(array), array.flags.writeable]
        arrays.append((size, array))
        size += -(-array.nbytes // _ALIGNED) * _ALIGNED
        return found

    text = json.dumps([described(value), size])
    space = memory.of(size)
    for offset, array in arrays:
        np.ndarray(array.shape, array.dtype, space, offset)[...] = array
    return text.encode()


def unpack(message: bytes, memory: _Space) -> Any:
    """What was packed; its arrays are copies."""
    description, size = _parsed(message) if len(message) < _SHORT else json.loads(message)
    space = memory.of(size)

    def made(described: Any) -> Any:
        if not isinstance(described, list):
            return described
        kind, *rest = described
        if kind == "dict":
            return {made(key): made(item) for key, item in rest}
        if kind in ("list", "tuple"):
            items = map(made, rest)
            return list(items) if kind == "list" else tuple(items)
        if kind == "objects":
            found = np.empty(rest[0], object)
            for place, item in zip(np.ndindex(*rest[0]), rest[1:], strict=True):
                found[place] = made(item)
            return found
        return _arrivals[kind](_array(space, *rest))

    return made(description)


class _Own:
    """Memory of one process."""

    def __init__(self, content: bytes | bytearray | memoryview = b"") -> None:
        self.content = content

    def of(self, size: int) -> Any:
        """At least so many bytes."""
        if len(self.content) < size:
            self.content = bytearray(size)
        return self.content


def to_bytes(value: Any) -> bytes:
    """:func:`pack` into one message.

    Raises:
        TypeError: If there is something that would not arrive as what it is; names its type.
    """
    memory = _Own()
    text = pack(value, memory)
    return b"".join((len(text).to_bytes(_LENGTH, "little"), text, memory.content))


def from_bytes(message: bytes) -> Any:
    """What :func:`to_bytes` was given."""
    start = _LENGTH + int.from_bytes(message[:_LENGTH], "little")
    return unpack(bytes(message[_LENGTH:start]), _Own(memoryview(message)[start:]))


_parsed = lru_cache(16)(json.loads)  # most batches of a stream are alike


def _array(
    space: Any, offset: int, code: Any, shape: list[int], strides: list[int] | None, is_writeable: Any
) -> npt.NDArray[Any]:
    there: npt.NDArray[Any] = np.ndarray(shape, _dtype(code), space, offset)
    here = there.copy()
    if strides is not None:
        base = np.zeros(_extent(shape, strides, there.itemsize), np.uint8)
        here = np.ndarray(shape, there.dtype, base, strides=strides)
        here[...] = there
    here.flags.writeable = is_writeable
    return here


@cache
def _code(dtype: np.dtype[Any]) -> Any:
    """A dtype in JSON.

    Raises:
        TypeError: If JSON cannot tell it.
    """
    code = np.lib.format.dtype_to_descr(dtype) if dtype.names else dtype.str
    if dtype.hasobject or _dtype(json.loads(json.dumps(code))) != dtype:
        raise TypeError(f"an array of {dtype}")
    return code


def _dtype(code: Any) -> np.dtype[Any]:
    return np.lib.format.descr_to_dtype([tuple(field) for field in code] if isinstance(code, list) else code)


def _strides(array: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """How an array lies in memory, which may decide the last bit of a sum over it; ``None`` for C order."""
    if array.flags.c_contiguous:
        return None
    strides = array.strides
    if min(strides) >= 0 and _extent(array.shape, strides, array.itemsize) <= _LOOSEST * array.nbytes:
        return strides
    return np.empty_like(array).strides


def _extent(shape: Any, strides: Any, item: int) -> int:
    """Bytes from the first to the last item."""
    return math.prod(shape) and item + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
