"""A file of arrays that do not change, such as a frozen base: kept once in a run, however often they are saved.

It is named by its content. Where a checkpoint or a saved model of the run has it already, the new one gets a hard link:
so each is complete wherever it is copied, and deleting one takes nothing from another. No file of ours is ever changed
in place. Both are compared, byte by byte, since nobody vouches for arrays: that takes a tenth of what writing and
hashing take. Where links are impossible, the arrays are written again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from emloop._support.files import open_file, sync, write_new
from emloop.constants import EL_CHECKPOINTS_DIR

from .array_file import Arrays, file_parts, file_size
from .manifest import FileRecord

__all__ = ["FROZEN", "KeptOnce"]

FROZEN = "frozen-"
"""How the names of these files begin."""

_CHUNK = 1 << 20  # bytes

_digests: dict[tuple[int, ...], str] = {}
"""What tells that a file is still the one that this process has seen → SHA-256; it is durable."""


class KeptOnce:
    """Arrays, and the file that holds them.

    Args:
        arrays: Name → array; they must not change before :meth:`put`.
        run: Directory with checkpoints and saved models, which may hold the same.
    """

    def __init__(self, arrays: Arrays, run: Path) -> None:
        self._arrays = arrays
        self._there = next(filter(self._is_at, _candidates(run)), None)

    @property
    def missing(self) -> int:
        """Bytes that have to be written."""
        return 0 if self._there else file_size(self._arrays)

    def put(self, directory: Path) -> FileRecord:
        """Have the file in a directory, durably; its name is so after the directory's next sync."""
        aside = directory / f".tmp-{os.getpid()}-{uuid4().hex[:12]}"
        try:
            self._make(aside)
            status = aside.lstat()
            digest = _digests[_key(status)]
            target = directory / f"{FROZEN}{digest[:16]}.safetensors"
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)  # it is still there if both are names of one file
        return FileRecord(target.name, status.st_size, digest)

    def _make(self, path: Path) -> None:
        if self._there is not None:
            with suppress(OSError):  # it has gone meanwhile, or this file system has no links, or no more of them
                os.link(self._there, path)
                if _key(path.lstat()) in _digests:
                    return
                path.unlink()
        digest = write_new(path, file_parts(self._arrays))
        _digests[_key(path.lstat())] = digest

    def _is_at(self, path: Path) -> bool:
        """Whether a file holds these arrays; it is durable then, and its hash known."""
        try:
            descriptor, size = open_file(path)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb") as file:
            if size != file_size(self._arrays):
                return False
            for part in file_parts(self._arrays):
                for start in range(0, len(part), _CHUNK):
                    chunk = bytes(part[start : start + _CHUNK])
                    if file.read(len(chunk)) != chunk:
                        return False
            key = _key(os.fstat(descriptor))
            if key not in _digests:
                sync(descriptor)  # somebody may have copied it to there
                file.seek(0)
                _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
            return True


def _candidates(run: Path) -> Iterator[Path]:
    """Files of a run that may hold the same; one of those that are the same file."""
    seen = set()
    for place in ("model_*", f"{EL_CHECKPOINTS_DIR}/[!.]*"):
        for path in run.glob(f"{place}/{FROZEN}*.safetensors"):
            with suppress(OSError):
                status = path.lstat()
                if not path.parent.is_symlink() and (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    yield path


def _key(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
