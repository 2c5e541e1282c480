"""The known beginnings of files that only grow: reading, checking and cutting back to them."""

from __future__ import annotations

import contextlib
import operator
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emloop._support.files import fsync_dir, open_inside, sync, write_all
from emloop.errors import CheckpointError, RunDirError

__all__ = ["APPEND", "NOTHING", "Prefix", "checked", "cut", "explained", "extend", "is_mirror"]

APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW

_DISCARDED = "discarded"
_CHUNK = 1 << 20  # bytes


class Prefix(NamedTuple):
    """The beginning of a file whose content is known."""

    length: int  # bytes
    crc32: int


NOTHING = Prefix(0, 0)


def is_mirror(record: Mapping[str, Any]) -> bool:
    """Whether a commit recorded the file as one that the run can do without."""
    return record.get("mirror") is True


def checked(directory: Path, record: Mapping[str, Any]) -> tuple[str, Prefix]:
    """Name and beginning of a file that a commit recorded, if the file agrees.

    Raises:
        CheckpointError: If it is missing, shorter or different, or the record describes no file of the run.
    """
    try:
        name, prefix = record["name"], Prefix(operator.index(record["bytes"]), operator.index(record["crc32"]))
        descriptor = open_inside(directory, name)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{directory}: {dict(record)} describes no file of the run: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{directory / name}: {prefix.length} bytes are committed, but {error}") from error
    try:
        size = os.fstat(descriptor).st_size
        if size < prefix.length:
            raise CheckpointError(
                f"{directory / name}: {size} bytes, but {prefix.length} are committed; was it cut or replaced?"
            )
        if extend(NOTHING, descriptor, prefix.length) != prefix:
            raise CheckpointError(
                f"{directory / name}: its first {prefix.length} bytes are not those committed; was it edited?"
            )
    finally:
        os.close(descriptor)
    return name, prefix


def cut(directory: Path, name: str, length: int, *, keeps: bool) -> None:
    """Shorten a file of a run.

    Args:
        directory: The run directory.
        name: Name of the file.
        length: What remains, in bytes.
        keeps: Whether the rest is first added to what was discarded of the file before.

    Raises:
        RunDirError: If it cannot be cut.
    """
    with explained(directory / name):
        descriptor = open_inside(directory, name, os.O_RDWR)
        try:
            size = os.fstat(descriptor).st_size
            if size > length:
                if keeps:
                    _keep(directory, directory / _DISCARDED / name, descriptor, length, size)
                os.ftruncate(descriptor, length)
                sync(descriptor)
        finally:
            os.close(descriptor)


def extend(prefix: Prefix, descriptor: int, end: int) -> Prefix:
    """A longer prefix of the same file."""
    crc32 = prefix.crc32
    for chunk in _chunks(descriptor, prefix.length, end):
        crc32 = zlib.crc32(chunk, crc32)
    return Prefix(end, crc32)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Let every error of the system be one of ours that names the file."""
    try:
        yield
    except RunDirError:
        raise
    except OSError as error:
        raise RunDirError(f"{path}: cannot be written: {error}") from error


def _keep(directory: Path, path: Path, source: int, start: int, end: int) -> None:
    """Add a part of a file to another one inside the run."""
    # The run may come from a stranger, and a link in it lead anywhere.
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(directory)):
        raise RunDirError(f"{path}: a link leads out of the run; remove the link")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, APPEND, 0o666)
    try:
        for chunk in _chunks(source, start, end):
            write_all(descriptor, chunk)
        sync(descriptor)
    finally:
        os.close(descriptor)
    fsync_dir(path.parent)


def _chunks(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - start), start)
        if not chunk:
            raise OSError(f"ends at {start} bytes instead of {end}")
        start += len(chunk)
        yield chunk
