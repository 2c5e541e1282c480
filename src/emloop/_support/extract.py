"""Unpacking an archive that somebody else has made: regular files and folders only, inside of one folder, all or none.

Members go to a folder of their own first. When all of them are whole and durable, they move to where they belong, where
nothing that differs is ever written over.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import IO

from emloop.errors import ArchiveError

from .extract_members import Member, archive_kind, members
from .extract_names import Names
from .files import fsync_dir

__all__ = ["Limits", "archive_kind", "extract"]

_CHUNK = 1 << 20
_UNSUSPICIOUS = 100 << 20


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold.

    Args:
        names: Number of files and folders.
        size: Number of bytes, unpacked.
        ratio: Times its own size, if that is more than 100 MiB.
    """

    names: int = 3_000_000
    size: int = 1 << 40
    ratio: int = 250


def extract(archive: Path, target: Path, limits: Limits = Limits()) -> int:
    """Unpack a zip or tar file, so that either all of it is there in the end or nothing.

    Permissions, owners and times are not restored.

    Args:
        archive: The archive; its name tells which kind it is, see :func:`archive_kind`.
        target: Folder to unpack into, which must exist. A folder that is there already is added to.
        limits: How much the archive may hold.

    Returns:
        Number of files.

    Raises:
        ArchiveError: If it is damaged, too large, holds what must not be unpacked, or a file that is there already with
            other content. Nothing was changed then.
        OSError: If a file cannot be written.
    """
    stage = target / f".{archive.name}.extracting"
    _remove(stage)
    stage.mkdir(mode=0o700)
    try:
        try:
            count = _unpack(archive, stage, limits)
            _refuse_conflicts(stage, target)
        except ArchiveError as error:
            raise ArchiveError(f"{archive}: {error}") from error.__cause__
        _make_durable(stage)
        _move(stage, target)
    finally:
        _remove(stage)
    return count


def _unpack(archive: Path, stage: Path, limits: Limits) -> int:
    names, count = Names(limits.names), 0
    with archive.open("rb") as file:
        budget = _Budget(limits, os.fstat(file.fileno()).st_size)
        for member in members(file, archive_kind(archive.name) or "", budget.spend):
            path = stage / names.add(member.name, is_folder=member.is_folder)
            if member.is_folder:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as content:
                    _copy(member, content)
                count += 1
    return count


def _copy(member: Member, content: IO[bytes]) -> None:
    while chunk := member.read(_CHUNK):
        content.write(chunk)


class _Budget:
    """Bytes that may still come out of an archive.

    Args:
        limits: How much it may hold.
        size: Its own size.
    """

    def __init__(self, limits: Limits, size: int) -> None:
        self._limits = limits
        self._suspicious = max(limits.ratio * size, _UNSUSPICIOUS)
        self._spent = 0

    def spend(self, size: int) -> None:
        """Count bytes.

        Raises:
            ArchiveError: If they are too many.
        """
        self._spent += size
        if self._spent > self._limits.size:
            raise ArchiveError(f"holds more than {self._limits.size} bytes; unpack it yourself")
        if self._spent > self._suspicious:
            raise ArchiveError(
                f"holds more than {self._limits.ratio} times its own size; unpack it yourself if you trust it"
            )


def _refuse_conflicts(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        wanted = target / path.name
        if not os.path.lexists(wanted):
            continue
        if path.is_dir() and wanted.is_dir():
            _refuse_conflicts(path, wanted)
        elif not (path.is_file() and wanted.is_file() and cmp(path, wanted, shallow=False)):
            raise ArchiveError(f"would replace {wanted}, which is something else; move that away")


def _make_durable(folder: Path) -> None:
    # All at once takes a third of the time, but only the calls for single files report what went wrong.
    os.sync()
    for root, _, files in os.walk(folder):
        for name in files:
            descriptor = os.open(Path(root, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_dir(root)


def _move(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        wanted = target / path.name
        if not os.path.lexists(wanted):
            path.rename(wanted)
        elif path.is_dir():
            _move(path, wanted)
    fsync_dir(target)


def _remove(folder: Path) -> None:
    if os.path.lexists(folder):
        shutil.rmtree(folder)
