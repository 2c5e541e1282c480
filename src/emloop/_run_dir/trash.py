"""A trash beside the runs: ``.trash/<time>/<name>``, from which a run comes back by being moved back.

Each batch holds a list of what was put into it. Only what stands there is ever deleted, so that a directory that
happens to have the name of ours, or that somebody has put into it, stays.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath

from emloop._support.files import atomic_write
from emloop.errors import RunDirError

from .reading import read_small

__all__ = ["Batch", "batches", "new_batch"]

_TRASH = ".trash"
_LIST = ".pruned.json"


class Batch:
    """What one command has put into the trash.

    Args:
        directory: Its directory, ``.trash/<time>`` below the directory of runs.
        names: What belongs to it: names of runs, and of directories in runs as ``run/part``; not all of it need be
            there (any more).
    """

    def __init__(self, directory: Path, names: Iterable[str]) -> None:
        self.directory = directory
        self.names = list(names)

    def put(self, path: Path, name: str) -> Path:
        """Move a directory into the trash.

        Args:
            path: Where it is.
            name: Which of the names it has here.

        Returns:
            Where it is now.

        Raises:
            OSError: If it cannot be moved; then it is where it was.
        """
        target = self.directory / name
        target.parent.mkdir(exist_ok=True)
        return path.rename(target)

    def content(self) -> Iterator[Path]:
        """What is there of it."""
        for name in self.names:
            path = self.directory / name
            if all(map(_is_directory, (path.parent, path))):
                yield path

    def delete(self, path: Path) -> None:
        """Delete a part of its content for good.

        Raises:
            OSError: If not all of it can be deleted.
        """
        shutil.rmtree(path)
        if path.parent != self.directory:
            _remove_if_empty(path.parent)

    def close(self) -> None:
        """Remove what is left of a batch from which everything is gone."""
        if any(self.content()):
            return
        (self.directory / _LIST).unlink(missing_ok=True)
        _remove_if_empty(self.directory)
        _remove_if_empty(self.directory.parent)


def new_batch(root: Path, names: Iterable[str], now: datetime) -> Batch:
    """Begin a batch; the list of what will be put into it is durable when this returns.

    Args:
        root: The directory of runs.
        names: What will be put into it.
        now: What to call it.

    Raises:
        RunDirError: If it cannot be made.
    """
    trash = root / _TRASH
    if trash.is_symlink():
        raise RunDirError(f"{trash}: is a link; remove it, so that the trash can be here")
    try:
        trash.mkdir(exist_ok=True)
        batch = Batch(_make_new(trash / f"{now:%Y%m%d-%H%M%S}"), names)
        atomic_write(batch.directory / _LIST, json.dumps({"pruned": batch.names}, indent=2) + "\n")
    except OSError as error:
        raise RunDirError(f"{trash}: cannot be made or written to: {error}") from error
    return batch


def batches(root: Path) -> Iterator[Batch]:
    """The batches in the trash of a directory of runs, oldest first; whatever else is there is left out."""
    trash = root / _TRASH
    if not _is_directory(trash):
        return
    for directory in sorted(trash.iterdir()):
        if _is_directory(directory) and (names := _listed(directory)) is not None:
            yield Batch(directory, names)


def _make_new(directory: Path) -> Path:
    candidate, taken = directory, 0
    while True:
        try:
            candidate.mkdir()
        except FileExistsError:
            taken += 1
            candidate = directory.with_name(f"{directory.name}_{taken}")
        else:
            return candidate


def _listed(directory: Path) -> list[str] | None:
    try:
        names = json.loads(read_small(directory / _LIST))["pruned"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return [name for name in names if _is_name(name)] if isinstance(names, list) else None


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or "\0" in name:
        return False
    parts = PurePosixPath(name).parts
    return len(parts) in (1, 2) and "/".join(parts) == name and not {"..", "/"} & set(parts)


def _is_directory(path: Path) -> bool:
    """Whether it is a directory itself, no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()
