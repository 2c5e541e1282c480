"""``manifest.json``: which files make up a directory, with sizes and hashes. Without it the directory does not count.

The last entry, ``sha256``, is the hash of all the others, so a manifest vouches for itself; and it is accepted only if
it reads, byte for byte, as it would be written. Names in it cannot lead outside the directory, and links are refused.

Reading raises ``CheckpointError`` for what is damaged or missing. Any other ``OSError`` (no permission, too many open
files) says nothing about the files, and passes through.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emloop._support.files import atomic_write, open_inside
from emloop.errors import CheckpointError, StateError

from .strict_json import dump, parse

__all__ = [
    "MANIFEST",
    "FileRecord",
    "file_records",
    "json_values",
    "read_manifest",
    "read_verified",
    "render_manifest",
    "verify_files",
    "write_manifest",
]

MANIFEST = "manifest.json"

_MAX_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EIO}


@dataclass(frozen=True)
class FileRecord:
    """A file as its directory's manifest knows it.

    Args:
        name: Path relative to the directory, of letters, digits and ``._-/``.
        bytes: Size.
        sha256: Hash of the content, hexadecimal.
    """

    name: str
    bytes: int
    sha256: str


def write_manifest(directory: Path, info: Mapping[str, Any], files: Iterable[FileRecord]) -> None:
    """Write or replace a directory's manifest; when this returns, the directory is what it says.

    The files must be complete and durable, their names included.

    Args:
        directory: The directory.
        info: JSON values; not under the names ``files`` and ``sha256``.
        files: Everything that belongs to the directory, except the manifest.

    Raises:
        StateError: If ``info`` is not JSON (NaN is not).
        OSError: If it cannot be written.
    """
    atomic_write(directory / MANIFEST, render_manifest(info, files))


def render_manifest(info: Mapping[str, Any], files: Iterable[FileRecord]) -> bytes:
    """A manifest's content; see :func:`write_manifest`."""
    described = json_values(info)
    if not {"files", "sha256"}.isdisjoint(described):
        raise StateError(f"{MANIFEST}: 'files' and 'sha256' are names of its own, got {', '.join(described)}")
    described["files"] = [asdict(record) for record in sorted(files, key=lambda record: record.name)]
    return dump({**described, "sha256": hashlib.sha256(dump(described)).hexdigest()}, indent=1)


def json_values(info: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as a reader of its JSON will see it: with lists for tuples, and text for keys.

    Raises:
        StateError: If it is not JSON.
    """
    try:
        return dict(parse(dump(dict(info))))
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"{MANIFEST}: {error}") from error


def read_manifest(directory: Path) -> dict[str, Any]:
    """A directory's manifest, after checking that it is intact and that every file is there with its exact size.

    Returns:
        What ``info`` was, ``files`` (see :func:`file_records`) and ``sha256``.

    Raises:
        CheckpointError: If the manifest or a file is missing or damaged; names it.
    """
    path = directory / MANIFEST
    with _opened(directory, MANIFEST) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise CheckpointError(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        manifest = dict(parse(data).items())
        records = file_records(manifest)
        info = {key: value for key, value in manifest.items() if key not in ("files", "sha256")}
        intact = render_manifest(info, records.values()) == data
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error
    if not intact:
        raise CheckpointError(f"{path}: damaged: its content does not match its hash")
    for record in records.values():
        with _opened(directory, record.name) as file:
            size = os.fstat(file.fileno()).st_size
        if size != record.bytes:
            raise CheckpointError(f"{directory / record.name}: {size} bytes, expected {record.bytes}")
    return manifest


def file_records(manifest: Mapping[str, Any]) -> dict[str, FileRecord]:
    """The files of a manifest by name.

    Raises:
        KeyError, TypeError, ValueError: If they are not described as they should be.
    """
    records = {entry["name"]: FileRecord(**entry) for entry in manifest["files"]}
    for record in records.values():
        name, size, sha256 = record.name, record.bytes, record.sha256
        if not _NAME.fullmatch(name) or not {".", "..", MANIFEST}.isdisjoint(name.split("/")):
            raise ValueError(f"{name!r} cannot be the name of a file")
        if type(size) is not int or size < 0 or not _SHA256.fullmatch(sha256):
            raise ValueError(f"{name}: no size or no hash")
    return records


def verify_files(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Read every file of a manifest and compare the hashes.

    Raises:
        CheckpointError: At the first file that differs; names it.
    """
    for record in file_records(manifest).values():
        with _opened(directory, record.name) as file:
            _compare(directory, record, hashlib.file_digest(file, "sha256").hexdigest())


def read_verified(directory: Path, record: FileRecord) -> bytes:
    """Content of a file; it is these very bytes whose hash was compared.

    Raises:
        CheckpointError: If they are not what the manifest promised.
    """
    with _opened(directory, record.name) as file:
        data = file.read(record.bytes + 1)
    _compare(directory, record, hashlib.sha256(data).hexdigest())
    return data


def _compare(directory: Path, record: FileRecord, sha256: str) -> None:
    if sha256 != record.sha256:
        raise CheckpointError(f"{directory / record.name}: damaged: its content does not match its hash")


@contextmanager
def _opened(directory: Path, name: str) -> Iterator[io.BufferedReader]:
    """A file of the directory for reading."""
    try:
        with os.fdopen(open_inside(directory, name), "rb") as file:
            yield file
    except OSError as error:
        if error.errno in _DAMAGE:
            raise CheckpointError(f"{directory / name}: {error.strerror}") from error
        raise
