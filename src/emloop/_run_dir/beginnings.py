"""Known beginnings of append-only files: checking them, cutting back to them, copying them for a fork."""

import contextlib
import json
import operator
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emloop._support.files import (
    atomic_write,
    fsync_dir,
    linking_copy,
    open_inside,
    read_small,
    sync,
    write_all,
    write_new,
)
from emloop.constants import EL_LOSSES_FILE
from emloop.errors import CheckpointError, EmloopError, RunDirError

APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_DISCARDED = "discarded"
_RECORDED = ("name", "bytes", "crc32")
_CHUNK = 1 << 20  # bytes


class Prefix(NamedTuple):
    """The beginning of a file whose content is known."""

    length: int  # bytes
    crc32: int


NOTHING = Prefix(0, 0)


def is_mirror(record: Mapping[str, Any]) -> bool:
    """Whether a commit recorded the file as one that the run can do without."""
    return isinstance(record, Mapping) and record.get("mirror") is True


def checked(directory: Path, record: Mapping[str, Any]) -> tuple[str, Prefix]:
    """Name and beginning of a file that a commit recorded, if the file agrees; or what is left of it, if that was
    accepted by :func:`accept_loss`.

    Raises:
        CheckpointError: If it is missing, shorter or different, or the record describes no file of the run.
    """
    try:
        return _compared(directory, record)
    except CheckpointError:
        left = _left(directory, record) if isinstance(record, dict) else record
        if left is record:
            raise
        return _compared(directory, left)


def accept_loss(directory: Path, record: Mapping[str, Any]) -> None:
    """Let a run go on with what is left of an append-only file: its whole lines, up to the end of what was committed.

    Args:
        directory: The run directory; the caller holds its lock.
        record: The commit's record of the file.

    Raises:
        RunDirError: If there is something else in the place of the file, or it cannot be written.
    """
    name, length = str(record["name"]), operator.index(record["bytes"])
    with explained(directory / name):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            write_new(directory / name, ())
        with os.fdopen(open_inside(directory, name), "rb") as file:
            end = 0
            while end < length and (line := file.readline()).endswith(b"\n"):
                end += len(line)
            left = extend(NOTHING, file.fileno(), end)._asdict()
        committed = {key: record[key] for key in _RECORDED}
        loss = {"committed": committed, "left": {"bytes": left["length"], "crc32": left["crc32"]}}
        others = [known for known in _losses(directory) if known.get("committed") != committed]
        atomic_write(directory / EL_LOSSES_FILE, json.dumps([*others, loss], indent=2) + "\n")


def _left(directory: Path, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of what is left of a file, if its loss was accepted; else the same record."""
    for loss in _losses(directory):
        committed, left = loss.get("committed"), loss.get("left")
        if isinstance(left, dict) and committed == {key: record.get(key) for key in _RECORDED}:
            return {**record, **left}
    return record


def _losses(directory: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(read_small(directory / EL_LOSSES_FILE))
        return [loss for loss in found if isinstance(loss, dict)] if isinstance(found, list) else []
    return []


def _compared(directory: Path, record: Mapping[str, Any]) -> tuple[str, Prefix]:
    try:
        name, prefix = record["name"], Prefix(operator.index(record["bytes"]), operator.index(record["crc32"]))
        file = os.fdopen(open_inside(directory, name), "rb")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{directory}: {record!r:.200} describes no file of the run: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{directory / name}: {prefix.length} bytes are committed, but {error}") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if size < prefix.length:
            raise CheckpointError(
                f"{directory / name}: {size} bytes, but {prefix.length} are committed; was it cut or replaced?"
            )
        if extend(NOTHING, file.fileno(), prefix.length) != prefix:
            raise CheckpointError(
                f"{directory / name}: its first {prefix.length} bytes are not those committed; was it edited?"
            )
    return name, prefix


def cut(directory: Path, name: str, length: int, *, keeps: bool) -> None:
    """Shorten a file of a run.

    Args:
        directory: The run directory.
        name: Name of the file.
        length: Bytes that remain.
        keeps: Whether the rest is first added to the file of the same name under ``discarded/``.

    Raises:
        RunDirError: If it cannot be cut.
    """
    with explained(directory / name), os.fdopen(open_inside(directory, name, os.O_RDWR), "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size > length:
            if keeps:
                _add(file.fileno(), length, size, directory, directory / _DISCARDED / name)
            os.ftruncate(file.fileno(), length)
            sync(file.fileno())


def extend(prefix: Prefix, descriptor: int, end: int) -> Prefix:
    """A longer prefix of the same file."""
    crc32 = prefix.crc32
    for chunk in _chunks(descriptor, prefix.length, end):
        crc32 = zlib.crc32(chunk, crc32)
    return Prefix(end, crc32)


def copy_files(records: Iterable[Mapping[str, Any]], origin: Path, directory: Path, files: Iterable[str] = ()) -> None:
    """Copy what belongs to a commit into a new run directory, besides the commit: append-only files as they were then,
    and the saved models and program of the run.

    Args:
        records: The commit's records of append-only files.
        origin: The run.
        directory: The new run directory, without any of these files.
        files: Names of further files that belong to the commit.

    Raises:
        RunDirError: If a file of the run cannot be copied, or is shorter than the commit says.
    """
    for record in records:
        try:
            left = _left(origin, record)
            name, length = str(left["name"]), operator.index(left["bytes"])
        except (AttributeError, KeyError, TypeError) as error:
            raise RunDirError(f"{origin}: {record!r:.200} describes no file of the run: {error}") from error
        try:
            _copy(origin, directory, name, length)
        except RunDirError:
            if not is_mirror(record):  # the new run says what it lacks when it begins
                raise
    copy = linking_copy()
    for path in sorted(origin.iterdir()):
        if path.is_dir() and not path.is_symlink() and (path.name.startswith("model_") or path.name == "program"):
            shutil.copytree(path, directory / path.name, symlinks=True, copy_function=copy)
    for name in files:
        if not (directory / name).exists():
            _copy(origin, directory, name)


@contextlib.contextmanager
def explained(path: Path, failure: str = "cannot be written") -> Iterator[None]:
    """Turn errors of the file system into one that says which file or directory they concern, and what failed."""
    try:
        yield
    except EmloopError:
        raise
    except OSError as error:
        raise RunDirError(f"{path}: {failure}: {error}") from error


def _copy(origin: Path, directory: Path, name: str, size: int | None = None) -> None:
    """Copy a file, or its first bytes, to the same name elsewhere; the name may lead out of neither directory."""
    try:
        with os.fdopen(open_inside(origin, name), "rb") as file:
            end = os.fstat(file.fileno()).st_size if size is None else size
            _add(file.fileno(), 0, end, directory, directory / name)
    except (OSError, ValueError) as error:
        raise RunDirError(f"{origin}: cannot copy {name!r}: {error}") from error


def _add(source: int, start: int, end: int, directory: Path, path: Path) -> None:
    """Add a part of a file to another one, which is made if it is missing, inside a directory."""
    # The run may come from a stranger, and a link in it lead anywhere.
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(directory)):
        raise RunDirError(f"{path}: a link leads out of the run; remove the link")
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, APPEND, 0o666), "ab") as file:
        for chunk in _chunks(source, start, end):
            write_all(file.fileno(), chunk)
        sync(file.fileno())
    fsync_dir(path.parent)


def _chunks(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - start), start)
        if not chunk:
            raise OSError(f"ends at {start} bytes instead of {end}")
        start += len(chunk)
        yield chunk
