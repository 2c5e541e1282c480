"""``manifest.json``: files that make up a directory, with sizes and hashes. Without it the directory does not count.

The last entry, ``sha256``, is the hash of all others, so a manifest vouches for itself; it is accepted only if it is,
byte for byte, what would be written. Names in it cannot lead outside the directory, and links are refused.

Damaged or missing files raise ``CheckpointError``. Any other ``OSError`` (no permission, too many open files) says
nothing about the files and passes through.
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
    """A file as described by its directory's manifest.

    Args:
        name: Path relative to the directory; letters, digits and ``._-/``.
        bytes: Size.
        sha256: Hash of the content, hexadecimal.
    """

    name: str
    bytes: int
    sha256: str


def write_manifest(directory: Path, info: Mapping[str, Any], files: Iterable[FileRecord]) -> None:
    """Write or replace a directory's manifest; once this returns, the directory is what the manifest says.

    The files must be complete and durable by then, including their names.

    Args:
        directory: The directory.
        info: JSON values; the names ``files`` and ``sha256`` are reserved.
        files: Everything that belongs to the directory, except the manifest itself.

    Raises:
        StateError: If ``info`` is not JSON (NaN is not), or uses a reserved name.
        OSError: If it cannot be written.
    """
    atomic_write(directory / MANIFEST, render_manifest(info, files))


def render_manifest(info: Mapping[str, Any], files: Iterable[FileRecord]) -> bytes:
    """Content of a manifest; see :func:`write_manifest`."""
    described = json_values(info)
    if not {"files", "sha256"}.isdisjoint(described):
        raise StateError(f"{MANIFEST}: 'files' and 'sha256' are reserved, got {', '.join(described)}")
    described["files"] = [asdict(record) for record in sorted(files, key=lambda record: record.name)]
    return dump({**described, "sha256": hashlib.sha256(dump(described)).hexdigest()}, indent=1)


def json_values(info: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping as a reader of its JSON will see it: tuples become lists, keys become strings.

    Raises:
        StateError: If it is not JSON.
    """
    try:
        return dict(parse(dump(dict(info))))
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"{MANIFEST}: {error}") from error


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read a directory's manifest and check that it is intact and that every file is present with its exact size.

    Returns:
        The ``info`` it was written with, ``files`` (see :func:`file_records`) and ``sha256``.

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
    """Files of a manifest by name.

    Raises:
        KeyError, TypeError, ValueError: If their descriptions are malformed.
    """
    records = {entry["name"]: FileRecord(**entry) for entry in manifest["files"]}
    for record in records.values():
        name, size, sha256 = record.name, record.bytes, record.sha256
        if not _NAME.fullmatch(name) or not {".", "..", MANIFEST}.isdisjoint(name.split("/")):
            raise ValueError(f"{name!r} is not a valid file name")
        if type(size) is not int or size < 0 or not _SHA256.fullmatch(sha256):
            raise ValueError(f"{name}: invalid size or hash")
    return records


def verify_files(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Read every file of a manifest and compare its hash.

    Raises:
        CheckpointError: At the first file that differs; names it.
    """
    for record in file_records(manifest).values():
        with _opened(directory, record.name) as file:
            _compare(directory, record, hashlib.file_digest(file, "sha256").hexdigest())


def read_verified(directory: Path, record: FileRecord) -> bytes:
    """Content of a file: the very bytes whose hash was compared.

    Raises:
        CheckpointError: If they are not what the manifest promises.
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
    """Open a file of the directory for reading."""
    try:
        with os.fdopen(open_inside(directory, name), "rb") as file:
            yield file
    except OSError as error:
        if error.errno in _DAMAGE:
            raise CheckpointError(f"{directory / name}: {error.strerror}") from error
        raise
