"""Arrays as a file of the format safetensors, in parts: no second copy of the arrays is made.

Format: eight bytes, the length of the header; the header, JSON padded by spaces; the arrays' bytes without gaps. The
bytes are those that the package ``safetensors`` would write, which wants all of them in memory twice. Source:
https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NATIVE", "Arrays", "file_parts", "file_size"]

Arrays = Mapping[str, npt.NDArray[Any]]
"""Name → array: C-contiguous, of a native dtype."""

_CODES = {"BOOL": "?", "U8": "B", "I8": "b", "I16": "h", "U16": "H", "F16": "e", "I32": "i", "U32": "I", "F32": "f"}
_NAMES = {np.dtype(code): name for name, code in {**_CODES, "F64": "d", "I64": "i8", "U64": "u8"}.items()}
_RANKS = {dtype: rank for rank, dtype in enumerate(_NAMES)}

NATIVE = frozenset(_NAMES)
"""Dtypes that the format knows."""

_ALIGNMENT = 8


def file_parts(arrays: Arrays) -> Iterator[memoryview]:
    """The content of the file; the arrays are read when their turn comes, so they must not change until then."""
    names, header = _laid_out(arrays)
    yield memoryview(struct.pack("<Q", len(header)) + header)
    for name in names:
        # An array without elements has no bytes to look at.
        yield arrays[name].reshape(-1).view(np.uint8).data if arrays[name].size else memoryview(b"")


def file_size(arrays: Arrays) -> int:
    """Bytes of the file."""
    return 8 + len(_laid_out(arrays)[1]) + sum(array.nbytes for array in arrays.values())


def _laid_out(arrays: Arrays) -> tuple[list[str], bytes]:
    """Names in the order of their bytes, and the header."""
    names = sorted(arrays, key=lambda name: (-_RANKS[arrays[name].dtype], name.encode()))
    entries, start = {}, 0
    for name in names:
        array = arrays[name]
        end = start + array.nbytes
        entries[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    return names, header + b" " * (-len(header) % _ALIGNMENT)
