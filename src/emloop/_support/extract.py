"""Unpack a stranger's archive: regular files and folders only, all of them or none.

The standard library reads zip and tar files here but unpacks none, since ``extractall`` and ``extract`` believe what an
archive says. Members go to a folder of their own first; once all are whole they move into place, never over a file that
differs.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from filecmp import cmp
from functools import partial
from pathlib import Path
from typing import IO, cast
from unicodedata import normalize

from emloop.errors import ArchiveError

from .printable import brief

__all__ = ["extract", "is_archive"]

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_MAGIC: dict[bytes, Callable[[Path], object]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_READ, _LONGEST_READ = 1 << 20, 4 << 20
_RATIO, _UNSUSPICIOUS = 250, 100 << 20

_UNWANTED_NAME = re.compile(
    r"/|[a-z]:|(.*/)?\.\.(/|$)"  # leads out
    r"|.*[\x00-\x1f\x7f\\]"
    r"|(.*/)?(con|prn|aux|nul|com\d|lpt\d)(\.[^/]*)?(/|$)"  # a device to some systems
    r"|.{1025}|(.*/)?[^/]{256}",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LARGE = "holds suspiciously many bytes; unpack it yourself if you trust it"
_FORMAT_ERRORS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)

_Member = tuple[str, bool | None, Callable[[], IO[bytes]]]
"""Name, whether it is a folder (``None``: neither folder nor regular file), and what opens its content."""


def is_archive(name: str) -> bool:
    """Whether a file's name ends as those of zip and tar files do."""
    return name.lower().endswith(_SUFFIXES)


def extract(archive: Path, target: Path, *, max_names: int = 3_000_000, max_bytes: int = 1 << 40) -> None:
    """Unpack a zip or tar file, completely or not at all.

    Permissions, owners and times are not restored.

    Args:
        archive: The archive: a zip file if its name ends so, otherwise a tar file, compressed or not.
        target: An existing folder, whose other content stays.
        max_names: Limit on the number of files and folders.
        max_bytes: Limit on the unpacked size. Above 100 MiB, 250 times the archive's own size is a limit as well.

    Raises:
        ArchiveError: If the archive is damaged, too large, holds anything but files and folders with plain names, or
            would replace a file that differs. Nothing has changed then.
        OSError: If a file cannot be written.
    """
    budget = min(max_bytes, max(_RATIO * archive.stat().st_size, _UNSUSPICIOUS))
    members = _zip_members if archive.suffix.lower() == ".zip" else _tar_members
    stage = target / f".{archive.name}.extracting"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o700)
    entries: dict[str, tuple[str, bool]] = {}
    try:
        with _refusing(archive):
            for name, is_folder, opened in members(archive, budget):
                if is_folder is None:
                    raise ArchiveError(f"{brief(name)} is neither a file nor a folder, and only these are unpacked")
                path = stage / _admit(name, is_folder, entries)
                if len(entries) > max_names:
                    raise ArchiveError(f"holds more than {max_names} files and folders")
                (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
                if not is_folder:
                    with opened() as source, path.open("xb") as copy:
                        shutil.copyfileobj(source, copy, _READ)
            for name, is_folder in entries.values():
                new, old = stage / name, target / name
                same = old.is_dir() if is_folder else old.is_file() and cmp(new, old, shallow=False)
                if not same and os.path.lexists(old):
                    raise ArchiveError(f"would replace {old}, which is something else; move that away")
        os.sync()  # content before names: what has its name is whole, also after a power failure
        for name, is_folder in entries.values():
            if is_folder:
                (target / name).mkdir(exist_ok=True)
            else:
                (stage / name).replace(target / name)
        os.sync()
    finally:
        shutil.rmtree(stage)


def _admit(name: str, is_folder: bool, entries: dict[str, tuple[str, bool]]) -> str:
    """Enter a member and its parents among the entries, unless its name is dangerous; returns its relative path."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if _UNWANTED_NAME.match(name) or not (parts or is_folder):
        raise ArchiveError(f"{brief(name)} is no plain relative name that every system takes")
    for depth in range(1, len(parts) + 1):
        entry = "/".join(parts[:depth]), is_folder or depth < len(parts)
        # To some file systems, case and the composition of accents make no difference.
        key = normalize("NFC", normalize("NFC", entry[0]).casefold())
        known = entries.setdefault(key, entry)
        if known is not entry and not (known == entry and entry[1]):
            raise ArchiveError(f"{brief(known[0])} and {brief(entry[0])} are the same name to some systems")
    return "/".join(parts)


@contextmanager
def _refusing(archive: Path) -> Generator[None]:
    """Raise whatever the standard library says of a damaged archive as ``ArchiveError``, and name the archive."""
    try:
        yield
    except ArchiveError as error:
        raise ArchiveError(f"{archive}: {error}") from error.__cause__
    except (*_FORMAT_ERRORS, EOFError, LookupError, ArithmeticError, RuntimeError, ValueError, OSError) as error:
        # Decompressors raise an OSError without a number, and seeking to a wrong offset is an invalid argument.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(f"{archive}: cannot be unpacked: {error or type(error).__name__}") from error


def _zip_members(path: Path, budget: int) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        # The reader holds each member to the size that it declares here.
        if sum(info.file_size for info in archive.infolist()) > budget:
            raise ArchiveError(_TOO_LARGE)
        for info in archive.infolist():
            name = info.orig_filename  # ``filename`` ends at a zero byte
            if info.flag_bits & 0x1:
                raise ArchiveError(f"{brief(name)} is encrypted; unpack it yourself")
            is_folder = name.endswith("/")
            plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFDIR if is_folder else stat.S_IFREG)
            yield name, is_folder if plain else None, partial(archive.open, info)


def _tar_members(path: Path, budget: int) -> Iterator[_Member]:
    with path.open("rb") as file:
        start = file.read(max(map(len, _MAGIC)))
    decompress = next((opener for magic, opener in _MAGIC.items() if start.startswith(magic)), partial(open, mode="rb"))
    with cast("IO[bytes]", decompress(path)) as source:
        content = _Forwards(source, budget)
        archive = tarfile.open(fileobj=cast("IO[bytes]", content), mode="r:", tarinfo=_Header)  # noqa: SIM115 - owns nothing
        while info := archive.next():
            archive.members.clear()  # type: ignore[attr-defined]  # or it would keep them all
            plain = info.isdir() or (info.isreg() and not info.issparse())
            opened = cast("Callable[[], IO[bytes]]", partial(archive.extractfile, info))
            yield info.name, info.isdir() if plain else None, opened
        while content.read(_READ):  # checksums stand at the end
            pass


class _Forwards:
    """The bytes of a tar, decompressed: no more than the budget, never back, and never too many at once.

    ``tarfile`` would read a header of any size into memory, and follow a negative size in circles.
    """

    def __init__(self, source: IO[bytes], budget: int) -> None:
        self._source, self._budget, self._left = source, budget, budget

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise ArchiveError(f"is damaged: {size} bytes of headers")
        chunk = self._source.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise ArchiveError(_TOO_LARGE)
        return chunk

    def seek(self, position: int) -> None:
        self.read(position - self.tell())

    def tell(self) -> int:
        return self._budget - self._left


class _Header(tarfile.TarInfo):
    """A header that must be right: ``tarfile`` takes a broken one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            raise ArchiveError(f"is damaged: {error}") from error
