"""The one way to write files that only grow: logs, CSV tables, metrics.

Rows go to the file unbuffered and whole. They become durable with the run's next commit, which records the length of
every such file; a resumed run cuts each back to that length, so that no row is lost or doubled. Outside of a run the
same call gives a plain append-only file.

A path has one :class:`AppendFile`, however often it is opened. Files below the directory of an :class:`AppendFiles`
belong to it and are part of what it commits, also after they are closed.

A *mirror* is a file that shows to another program what the run holds anyway. It is committed and cut back like the
others, but no commit and no resume fails because of it: where it is gone or damaged, it begins anew. What is cut off it
is not kept.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emloop._support.files import fsync_dir, open_inside, sync
from emloop.errors import CheckpointError, RunDirError

from .beginnings import APPEND, NOTHING, Prefix, checked, cut, explained, extend, is_mirror

_logger = logging.getLogger(__name__)

_guard = threading.RLock()  # for what follows, and for opening and closing
_files: dict[Path, AppendFile] = {}  # every open one, by its path with links resolved
_runs: list[AppendFiles] = []


def open_append(path: Path | str, *, mirror: bool = False) -> AppendFile:
    """Open a file for adding to its end; it is created if need be, its directory is not.

    Args:
        path: The file.
        mirror: Whether the run can do without it; whoever opens it first decides.

    Raises:
        RunDirError: If it cannot be opened, is a link, or is reached through a link that leads out of the run.
    """
    path = Path(path)
    # Only the way there is resolved: a link in the place of the file itself is refused.
    real = Path(os.path.realpath(path.parent), path.name)
    with _guard, explained(path):
        run = _run_of(path, real)
        file = _files.get(real)
        if file is None or (run is None and not file.is_in_place()):
            file = _files[real] = AppendFile(real, run, run.adopt(real, mirror=mirror) if run else NOTHING)
        file.users += 1
    return file


class AppendFile:
    """A file to which whole rows are added; also fit to be a logging handler's stream or a CSV writer's file.

    Made by :func:`open_append`. Workers forked later may write to it as well.

    Args:
        path: Where it is, links resolved.
        run: The run to which it belongs, if any.
        known: The part of it that earlier commits hold.
    """

    def __init__(self, path: Path, run: AppendFiles | None, known: Prefix) -> None:
        self.path = path
        self.run = run
        self.users = 0
        self._known = known
        self._descriptor = os.open(path, APPEND, 0o666)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):  # a pipe takes some rows, and then waits for a reader
            os.close(self._descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        self._identity = _identity(status)

    def write(self, content: str | bytes) -> int:
        """Add text, as a rule whole lines, or bytes, in one piece; it is durable after the next commit.

        Returns:
            Number of characters or bytes, like any stream.

        Raises:
            RunDirError: If it is closed, was removed, or cannot be written; then no part of the content remains.
        """
        data = memoryview(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
        with self._in_use():
            rest = data
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except BaseException:
                if len(rest) < len(data):  # cut off the part of the row that did fit, before the descriptor's offset
                    with contextlib.suppress(OSError):
                        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
                        os.ftruncate(self._descriptor, end - len(data) + len(rest))
                raise
        return len(content)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    @property
    def position(self) -> int:
        """Length of the file in bytes: 0 as long as it needs a header.

        Raises:
            RunDirError: If it is closed or was removed.
        """
        with self._in_use():
            return os.fstat(self._descriptor).st_size

    @property
    def length(self) -> int:
        """Length of the open file in bytes, wherever it is."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Give the file back; with the last of those who opened it, it is closed.

        Raises:
            RunDirError: If what was written cannot be kept.
        """
        with _guard:
            self.users -= 1
            if self.users <= 0:
                self.shut()

    def shut(self) -> None:
        """Close the file for all who opened it.

        Raises:
            RunDirError: As :meth:`close`.
        """
        with _guard:
            if self._descriptor < 0:
                return
            try:
                if self.run:
                    self.run.settle(self)
            finally:
                descriptor, self._descriptor = self._descriptor, -1
                if _files.get(self.path) is self:
                    del _files[self.path]
                with explained(self.path):
                    os.close(descriptor)

    def settle(self, length: int | None = None) -> Prefix:
        """Make durable what was written so far, or at least so many bytes, and say what that is.

        Raises:
            RunDirError: If it cannot be synced, was removed or has become shorter.
        """
        with self._in_use():
            end = os.fstat(self._descriptor).st_size
            known = self._known
            if end < max(known.length, length or 0):
                raise RunDirError(f"{self.path}: another program cut it from {known.length} to {end} bytes")
            # Read from the file, because workers may have written to it too.
            asked = end if length is None else length
            settled = extend(known if known.length <= asked else NOTHING, self._descriptor, asked)
            if asked >= known.length:
                self._known = settled
            sync(self._descriptor)
        return settled

    def is_in_place(self) -> bool:
        """Whether the path still leads to this file."""
        try:
            return _identity(self.path.lstat()) == self._identity
        except (FileNotFoundError, NotADirectoryError):
            return False

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        with explained(self.path):
            if self._descriptor < 0:
                raise RunDirError(f"{self.path}: is closed; open it again with open_append")
            if not self.is_in_place():
                raise RunDirError(f"{self.path}: was removed or replaced while in use")
            yield


class AppendFiles:
    """The append-only files of a run that is being worked on, from now until :meth:`close`.

    Args:
        directory: The run directory.
    """

    def __init__(self, directory: Path) -> None:
        self.named = _as_named(directory)
        self.directory = Path(os.path.realpath(directory))
        self._known: dict[str, Prefix] = {}
        self._mirrors: set[str] = set()
        self._restored = False
        self._unsynced: set[Path] = set()  # directories with names that may not be durable yet
        with _guard:
            _runs.append(self)

    def restore(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Bring the run's files back to what a commit recorded; to be called before any is opened.

        What is cut off is added to the file of the same name under ``discarded/``. A file that is not recorded, because
        it was first opened after the commit, is moved there when it is opened again. Nothing is changed unless all
        files hold what was committed.

        Args:
            records: What :meth:`committed` returned for that commit.

        Raises:
            CheckpointError: If a file that is no mirror is missing, shorter than committed or different; names it.
            RunDirError: If a file cannot be cut.
        """
        known: dict[str, Prefix] = {}
        for record in records:
            try:
                name, prefix = checked(self.directory, record)
            except CheckpointError as error:
                if not is_mirror(record):
                    way_out = f"to go on with what is left: emloop doctor {self.named} --fix"
                    raise CheckpointError(f"{error}; {way_out}") from error
                _logger.warning("%s; it begins anew", error)
                continue
            known[name] = prefix
            if is_mirror(record):
                self._mirrors.add(name)
        for name, prefix in known.items():
            cut(self.directory, name, prefix.length, keeps=name not in self._mirrors)
        self._known = known
        self._restored = True

    def adopt(self, path: Path, *, mirror: bool) -> Prefix:
        """Take in a file that is about to be opened; returns what commits hold of it."""
        name = path.relative_to(self.directory).as_posix()
        if mirror and not os.path.lexists(path):
            self._known.pop(name, None)
        if name not in self._known:
            if mirror:
                self._mirrors.add(name)
            if self._restored and os.path.lexists(path):
                cut(self.directory, name, 0, keeps=not mirror)
            self._known[name] = NOTHING
            self._unsynced.update(parent for parent in path.parents if parent.is_relative_to(self.directory))
        return self._known[name]

    def settle(self, file: AppendFile, length: int | None = None) -> None:
        """Make a file durable and remember its length.

        Raises:
            RunDirError: As :meth:`AppendFile.settle`.
        """
        name = self._name_of(file)
        try:
            self._known[name] = file.settle(length)
        except RunDirError:
            if name in self._mirrors:
                self._known[name] = NOTHING  # nobody knows what is left of it
            raise

    def lengths(self) -> dict[str, int]:
        """Length of every file in bytes at this moment, by name; for :meth:`committed`."""
        with _guard, explained(self.directory):
            known = {name: prefix.length for name, prefix in self._known.items()}
            return known | {self._name_of(file): file.length for file in self._open()}

    def committed(self, lengths: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
        """Make all files durable, and say what they hold, for the commit that is about to be written.

        Args:
            lengths: What :meth:`lengths` returned when the state of the commit was taken; by default as long as they
                are now. Rows may be added meanwhile.

        Returns:
            ``name``, ``bytes`` and ``crc32`` of every file, and whether it is a ``mirror``, by name; without those that
            were closed and then removed.

        Raises:
            RunDirError: If one that is no mirror cannot be synced or was removed while open; names it.
        """
        if lengths is None:
            lengths = self.lengths()
        with _guard:
            for file in self._open():
                name = self._name_of(file)
                if name not in lengths:
                    continue
                try:
                    self.settle(file, lengths[name])
                except RunDirError as error:
                    if name not in self._mirrors:
                        raise
                    _logger.warning("%s; a resume begins it anew", error)
            while self._unsynced:
                # A directory that is gone holds no names.
                with explained(self.directory), contextlib.suppress(FileNotFoundError):
                    fsync_dir(next(iter(self._unsynced)))
                self._unsynced.pop()
            self._known = {
                name: prefix for name, prefix in self._known.items() if os.path.lexists(self.directory / name)
            }
            return [
                {"name": name, "bytes": prefix.length, "crc32": prefix.crc32}
                | ({"mirror": True} if name in self._mirrors else {})
                for name, prefix in sorted(
                    (name, self._beginning(name, prefix, lengths[name]))
                    for name, prefix in self._known.items()
                    if name in lengths
                )
            ]

    def _open(self) -> list[AppendFile]:
        return [file for file in _files.values() if file.run is self]

    def _name_of(self, file: AppendFile) -> str:
        return file.path.relative_to(self.directory).as_posix()

    def _beginning(self, name: str, known: Prefix, length: int) -> Prefix:
        """The first bytes of a file of which more is known, since it was closed meanwhile."""
        if known.length <= length:
            return known
        with explained(self.directory / name), os.fdopen(open_inside(self.directory, name), "rb") as file:
            return extend(NOTHING, file.fileno(), length)

    def close(self) -> None:
        """Close all files that are open; ends the run's claim on its directory.

        A file that can no longer be synced costs a warning only: what a resume needs of it was committed before.
        """
        with _guard:
            if self in _runs:
                _runs.remove(self)
            for file in self._open():
                try:
                    file.shut()
                except RunDirError as error:
                    # Of a directory that was moved or deleted, the run itself speaks.
                    level = logging.WARNING if self.directory.is_dir() else logging.DEBUG
                    _logger.log(level, "Rows since the last commit may be lost: %s", error)


def _run_of(path: Path, real: Path) -> AppendFiles | None:
    """The innermost run whose directory holds the file."""
    for run in sorted(_runs, key=lambda run: len(run.directory.parts), reverse=True):
        if real.is_relative_to(run.directory):
            return run
        if _as_named(path).is_relative_to(run.named):
            raise RunDirError(f"{path}: a link leads out of the run, to {real}; remove the link")
    return None


def _as_named(path: Path) -> Path:
    """The path from the root, links as they are."""
    return Path(os.path.normpath(path.absolute()))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
