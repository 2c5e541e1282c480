"""Search files, and the archives among them."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np

__all__ = ["copies_in", "members_of", "pickles_in"]

_PROTOCOLS = {bytes([0x80, protocol]) for protocol in range(1, 6)}


def members_of(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file below a directory, and of every member of its archives."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield from _unpacked(str(path.relative_to(directory)), path.read_bytes())


def pickles_in(directory: Path) -> list[str]:
    """Names of files and members that are pickles, or begin like one."""
    return [name for name, content in members_of(directory) if _is_pickle(content)]


def copies_in(directory: Path, values: Sequence[np.ndarray]) -> list[str]:
    """Names of files and members that contain the bytes of one of the arrays."""
    needles = [np.ascontiguousarray(value).tobytes() for value in values]
    return [name for name, content in members_of(directory) if any(needle in content for needle in needles)]


def _unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if is_zipfile(io.BytesIO(content)):
        try:
            with ZipFile(io.BytesIO(content)) as file:
                for member in file.namelist():
                    yield from _unpacked(f"{name}!{member}", file.read(member))
        except BadZipFile:
            return


def _is_pickle(content: bytes) -> bool:
    if content[:2] in _PROTOCOLS:
        return True
    try:
        operations = sum(1 for _ in pickletools.genops(content))
    except (ValueError, IndexError, KeyError, UnicodeDecodeError):
        return False
    return operations > 1
