"""Write files that are whole and durable or absent, and read files without following links.

Errors are plain ``OSError`` s that name the path; callers say what they mean to the user. A failed ``fsync`` is never
retried on the same file: the kernel may have dropped the data and report success the second time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

if sys.platform == "darwin":
    import fcntl

__all__ = [
    "atomic_write",
    "fsync_dir",
    "has_above",
    "leads_out",
    "linking_copy",
    "open_file",
    "open_inside",
    "own_directory",
    "read_small",
    "sha256_of",
    "sync",
    "write_all",
    "write_new",
]

_CHUNK = 16 << 20  # bytes; macOS refuses to write 2 GiB at once

_LARGE = 1 << 20  # bytes; a millisecond of hashing

_SMALL = 16 << 20  # bytes; no description of a run or a model comes near

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # without the last, a pipe would wait for its writer
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP)


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Replace a file's content; readers, and the disk after a crash, have all of the old or all of the new one.

    Args:
        path: The file; a link is replaced, not followed.
        data: New content; text is written as UTF-8.

    Raises:
        OSError: If it cannot be written; the old file is untouched, unless only the last ``fsync`` failed.
    """
    path = Path(path)
    # Without the file's own name, which may be as long as names can be.
    temporary = path.with_name(f".tmp-{os.getpid()}-{uuid4().hex[:12]}")
    write_new(temporary, [data.encode() if isinstance(data, str) else data])
    try:
        with _naming(path):
            temporary.replace(path)
    except BaseException:
        _discard(temporary)
        raise
    fsync_dir(path.parent)


def write_new(path: Path | str, parts: Iterable[bytes | memoryview]) -> str:
    """Write a file that must not exist yet, and return once its content is durable.

    Its name is durable only after :func:`fsync_dir` of the directory.

    Args:
        path: The file.
        parts: Its content, one after the other.

    Returns:
        SHA-256 of the content, hexadecimal.

    Raises:
        OSError: If it exists or cannot be written; nothing is left behind.
    """
    path = Path(path)
    descriptor = os.open(path, _CREATE, 0o666)
    try:
        with _naming(path):
            try:
                digest = _Sha256()
                for part in parts:
                    view = memoryview(part)
                    for start in range(0, len(view), _CHUNK):
                        chunk = view[start : start + _CHUNK]
                        digest.update(chunk)
                        write_all(descriptor, chunk)
                sync(descriptor)
            finally:
                os.close(descriptor)
    except BaseException:
        _discard(path)
        raise
    return digest.hexdigest()


class _Sha256:
    """SHA-256 of parts; from the first large one on, a thread hashes them, beside whatever writes them."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._beside: ThreadPoolExecutor | None = None

    def update(self, part: memoryview) -> None:
        """Add a part, which must not change before :meth:`hexdigest`."""
        if self._beside is None and len(part) >= _LARGE:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - short commands write nothing large

            self._beside = ThreadPoolExecutor(1)
        if self._beside is None:
            self._digest.update(part)
        else:
            self._beside.submit(self._digest.update, part)

    def hexdigest(self) -> str:
        """The digest, once all parts are in it."""
        if self._beside is not None:
            self._beside.shutdown()
        return self._digest.hexdigest()


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, in as many calls as it takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(descriptor: int) -> None:
    """Return once everything written to a file is on the disk itself."""
    if sys.platform == "darwin":
        # macOS's fsync stops at the drive's cache.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _NO_FSYNC:
                raise
        else:
            return
    os.fsync(descriptor)


def fsync_dir(path: Path | str) -> None:
    """Return once the names in a directory are durable."""
    descriptor = os.open(path, _FOLDER)
    try:
        with _naming(path):
            os.fsync(descriptor)
    except OSError as error:
        # Some network file systems make names durable themselves and refuse the call.
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(descriptor)


def open_inside(directory: Path | str, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file below a directory without following any link on the way.

    Args:
        directory: Where to start; links may lead to it.
        name: Relative path with ``/`` between its parts.
        flags: How to open; the file is never created.

    Returns:
        A file descriptor; the caller closes it.

    Raises:
        ValueError: If the name is absolute, or has a part that is empty, ``.`` or ``..``.
        OSError: If there is no such regular file: ``ENOENT``, ``ENOTDIR`` or ``ELOOP`` (a link), ``EINVAL`` (a pipe,
            a device, a directory).
    """
    *folders, last = name.split("/")
    if "\0" in name or not {"", ".", ".."}.isdisjoint([*folders, last]):
        raise ValueError(f"{name!r} is no name of a file inside {directory}")
    flags |= _READ
    path = Path(directory, name)
    with _naming(path):
        descriptor = _open_below(directory, folders, last, flags) if folders else os.open(path, flags)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def open_file(path: Path | str) -> tuple[int, int]:
    """Open a regular file to read; a link in the last place is not followed.

    Not :func:`open_inside`, which takes as long again: a listing opens thousands of these.

    Returns:
        Its descriptor, and its size.

    Raises:
        OSError: If it is missing or no regular file.
    """
    descriptor = os.open(path, _READ)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return descriptor, status.st_size


def read_small(path: Path | str) -> bytes:
    """Read a file that somebody may have tampered with or a crash may have torn; rows appended meanwhile are left out.

    Raises:
        OSError: If it is missing, no regular file (links are not followed), or larger than 16 MiB.
    """
    descriptor, size = open_file(path)
    try:
        if size > _SMALL:
            raise OSError(f"larger than {_SMALL} bytes")
        # Asking for as much as is allowed would reserve that much for every file.
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def has_above(directory: str, name: str) -> bool:
    """Whether a directory, or one above it, has an entry of a name."""
    place = Path(os.path.realpath(directory))
    return any(os.path.lexists(above / name) for above in (place, *place.parents))


def leads_out(directory: str | os.PathLike[str], path: str | os.PathLike[str]) -> bool:
    """Whether a path, taken from a directory, ends outside of it, be it by ``..`` or by a link."""
    root = os.path.realpath(directory)
    return not Path(os.path.realpath(Path(root, path))).is_relative_to(root)


def linking_copy() -> Callable[[str, str], object]:
    """What ``shutil.copytree`` copies files by: those that are one file under several names remain so."""
    copies: dict[tuple[int, int], str] = {}

    def copy(source: str, target: str) -> None:
        status = os.lstat(source)
        first = copies.setdefault((status.st_dev, status.st_ino), target)
        if first != target:
            with contextlib.suppress(OSError):  # there are no links, or no more of them
                os.link(first, target)
                return
        shutil.copy2(source, target)

    return copy


def own_directory(path: Path) -> None:
    """Refuse a link where a directory of our own should be, so that what is deleted or replaced in it is ours.

    Raises:
        OSError: If it is a link (``ELOOP``), or something else that is no directory (``ENOTDIR``).
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, "is a link, and links are not followed here", os.fspath(path))
        if not stat.S_ISDIR(mode):
            raise OSError(errno.ENOTDIR, "is no directory", os.fspath(path))


def _open_below(directory: Path | str, folders: list[str], last: str, flags: int) -> int:
    folder = os.open(directory, _FOLDER)
    try:
        for part in folders:
            outer = folder
            folder = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)
            os.close(outer)
        return os.open(last, flags, dir_fd=folder)
    finally:
        os.close(folder)


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _naming(path: Path | str) -> Iterator[None]:
    """Make errors of calls that know only a descriptor, or a part of the path, name the whole path."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
