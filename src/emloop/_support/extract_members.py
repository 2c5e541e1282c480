"""Reading the members of zip and tar files, one after the other, with everything refused that is no file or folder.

What an archive claims about itself is not believed: not the suffix of its compression, not sizes, not that it is
complete. Whatever the standard library raises about a damaged one comes out as an ``ArchiveError``.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, Protocol, cast

from emloop.errors import ArchiveError

from .extract_names import readable

__all__ = ["Member", "archive_kind", "members"]

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


_MAGIC: dict[bytes, Callable[[IO[bytes]], _Readable]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}

_READ = 1 << 18  # bytes, at once
_LONGEST_HEADERS = 4 << 20  # bytes between two members of a tar
_ENCRYPTED = 0x1
_LOCAL_HEADER = 30  # bytes, at least
_BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A file or folder of an archive.

    Args:
        name: Its name there, unchecked.
        is_folder: Whether it is a folder.
        size: Number of bytes, as the archive has it.
        read: Returns the next bytes of it, at most as many as asked for; empty at its end. To be read before the next
            member.
    """

    name: str
    is_folder: bool
    size: int
    read: Callable[[int], bytes]


def archive_kind(name: str) -> str | None:
    """``zip`` or ``tar``, by the end of a file's name; ``None`` where that tells of neither."""
    lowered = name.lower()
    if lowered.endswith(".zip"):
        return "zip"
    return "tar" if lowered.endswith(_TAR_SUFFIXES) else None


def members(file: IO[bytes], kind: str, spend: Callable[[int], None]) -> Iterator[Member]:
    """The members of an archive, in its order.

    Args:
        file: The archive.
        kind: What :func:`archive_kind` says it is.
        spend: Called with numbers of bytes that come out of the archive, headers included, to stop what is too much.

    Raises:
        ArchiveError: If it is damaged, or holds what is neither a file nor a folder.
    """
    return _zip_members(file, spend) if kind == "zip" else _tar_members(file, spend)


@contextmanager
def _understood() -> Generator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except _DAMAGE as error:
        raise ArchiveError(f"is damaged: {error or type(error).__name__}") from error
    except OSError as error:
        # Decompressors complain about content without a number, and a wrong offset is an invalid argument.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(f"is damaged: {error}") from error


_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def _zip_members(file: IO[bytes], spend: Callable[[int], None]) -> Iterator[Member]:
    with _understood():
        archive = zipfile.ZipFile(file)
    with archive:
        infos = archive.infolist()
        _refuse_overlaps(infos, archive.start_dir)
        for info in infos:
            spend(info.file_size)
        for info in infos:
            _check_zip_info(info)
            yield from _zip_member(archive, info)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[Member]:
    # The name as it stands there: ``filename`` ends at a zero byte.
    name = info.orig_filename
    if _is_folder(info):
        yield Member(name, True, 0, lambda _: b"")
        return
    with _understood():
        content = archive.open(info)

    def read(size: int) -> bytes:
        with _understood():
            return content.read(size)

    with content:
        yield Member(name, False, info.file_size, read)


def _check_zip_info(info: zipfile.ZipInfo) -> None:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFDIR if _is_folder(info) else stat.S_IFREG):
        raise _no_file(info.orig_filename)
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"{readable(info.orig_filename)} is encrypted; unpack it yourself")


def _is_folder(info: zipfile.ZipInfo) -> bool:
    # ``is_dir`` fails for an empty name.
    return info.filename.endswith("/")


def _refuse_overlaps(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse members that share their data: so a small archive could grow without end."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in ordered[1:]), end]
    for info, following in zip(ordered, ends, strict=False):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > following:
            raise ArchiveError(f"is damaged: {readable(info.orig_filename)} overlaps with what follows")


def _tar_members(file: IO[bytes], spend: Callable[[int], None]) -> Iterator[Member]:
    stream = _Decompressed(file, spend)
    # Of a stream nothing is used but ``read``.
    fileobj = cast("IO[bytes]", stream)
    with _understood(), stream.bounded():
        archive = tarfile.open(fileobj=fileobj, mode="r|", bufsize=_READ, tarinfo=_Header)  # noqa: SIM115 - owns nothing
    while True:
        with _understood(), stream.bounded():
            info = archive.next()
        if info is None:
            return
        # Or it would keep them all; nothing else looks there, since links are refused. The stubs do not know of it.
        archive.members.clear()  # type: ignore[attr-defined]
        if not (info.isdir() or info.isreg()) or info.issparse():
            raise _no_file(info.name)
        yield _tar_member(archive, info)


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    content = archive.extractfile(info)
    left = info.size

    def read(size: int) -> bytes:
        nonlocal left
        if content is None:
            return b""
        with _understood():
            chunk = content.read(min(size, left))
        if left and not chunk:
            raise ArchiveError(f"is damaged: {readable(info.name)} is cut off")
        left -= len(chunk)
        return chunk

    return Member(info.name, info.isdir(), info.size, read)


class _Decompressed:
    """The bytes of a tar, decompressed, whatever its name says of how it is compressed.

    Args:
        file: The archive.
        spend: Called with the number of bytes that were read.
    """

    def __init__(self, file: IO[bytes], spend: Callable[[int], None]) -> None:
        start = file.read(max(map(len, _MAGIC)))
        file.seek(0)
        opened = (decompress(file) for magic, decompress in _MAGIC.items() if start.startswith(magic))
        self._source = next(opened, cast("_Readable", file))
        self._spend = spend
        self._left: int | None = None

    def read(self, size: int) -> bytes:
        """The next bytes."""
        chunk = self._source.read(size)
        self._spend(len(chunk))
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                raise ArchiveError(f"is damaged: {_LONGEST_HEADERS} bytes of headers")
        return chunk

    @contextmanager
    def bounded(self) -> Generator[None]:
        """Let only so much be read inside as headers may take: they are kept in memory."""
        self._left = _LONGEST_HEADERS
        yield
        self._left = None


class _Header(tarfile.TarInfo):
    """A header that must be right: ``tarfile`` takes a broken one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read a header.

        Raises:
            ArchiveError: If it is neither one nor the mark of the end.
        """
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == _BLOCK and not any(buf):
                raise
            raise ArchiveError(f"is damaged: {error}") from error


def _no_file(name: str) -> ArchiveError:
    return ArchiveError(f"{readable(name)} is neither a file nor a folder, and only these are unpacked")
