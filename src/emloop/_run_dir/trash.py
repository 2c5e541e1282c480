"""A trash beside the runs, and what may be put there.

What was pruned lies in ``.trash/<time>/<name>``, from where a run comes back by being moved back. Each batch holds a
list of its content. Only what is on the list is ever deleted, so that whatever else somebody puts there stays.

Who deletes must be surer than who lists. ``run.json`` is written before anything else and never torn, so a directory
with a valid one is ours with everything in it. Without one it is ours only if it is a whole training of emloop 0.2, or
holds nothing but files that describe a run, as both versions leave one that broke at its creation.
"""

import contextlib
import json
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath

from emloop import _yaml, constants
from emloop._support.files import atomic_write, read_small
from emloop.errors import ConfigError, RunDirError

from .info import read_info
from .layout import DESCRIPTIONS, TEMPORARY, make_numbered

_TRASH = ".trash"
_LIST = ".pruned.json"
_LOCK = ".lock"
_CONFIGS = {constants.EL_CONFIG_FILE, constants.EL_CONFIG_COPY_FILE, constants.EL_CONFIG_SOURCE_FILE}
_OLD_TRAINING = (constants.EL_CONFIG_FILE, constants.EL_LOG_FILE, constants.EL_TRACE_FILE)
_TRACE_KEYS = ("train_begin", "train_end", "epochs_done", "exit_status")


def is_ours(directory: Path) -> bool:
    """Whether everything in a directory belongs to a run of ours; never so for a link."""
    if not _is_directory(directory):
        return False
    try:
        read_info(directory)
    except RunDirError:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            # What says something else is another program's, or a newer emloop's.
            json.loads(read_small(directory / constants.EL_RUN_FILE))
            return False
        return _is_old_training(directory) or _only_describes(directory)
    return True


def _is_old_training(directory: Path) -> bool:
    if any(_size(directory / name) is None for name in _OLD_TRAINING):
        return False
    try:
        trace = _yaml.load(read_small(directory / constants.EL_TRACE_FILE), constants.EL_TRACE_FILE)
    except (OSError, ConfigError):
        return False
    # An empty trace is one that a crash has torn.
    return trace is None or (isinstance(trace, Mapping) and any(key in trace for key in _TRACE_KEYS))


def _only_describes(directory: Path) -> bool:
    try:
        names = {entry.name for entry in directory.iterdir()}
    except OSError:
        return False
    known = {*DESCRIPTIONS, *_CONFIGS, constants.EL_METRICS_FILE, constants.EL_STEPS_FILE}
    if not all(name in known or name.startswith(TEMPORARY) for name in names):
        return False
    if any(_size(directory / name) is None for name in names):
        return False
    if _LOCK in names:
        return _size(directory / _LOCK) == 0
    return constants.EL_RUN_FILE not in names and {constants.EL_CONFIG_FILE, constants.EL_LOG_FILE} <= names


def _size(path: Path) -> int | None:
    """Bytes of a regular file; ``None`` for anything else."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


class Batch:
    """What one command has put into the trash.

    Args:
        directory: Its directory, ``.trash/<time>`` below the directory of runs.
        names: Names of runs, and of directories in runs as ``run/part``; not all of them need be there (any more).
    """

    def __init__(self, directory: Path, names: Iterable[str]) -> None:
        self.directory = directory
        self.names = list(names)

    def put(self, path: Path, name: str) -> Path:
        """Move a directory into the trash.

        Args:
            path: The directory.
            name: Its name in the batch.

        Returns:
            Its new path.

        Raises:
            OSError: If it cannot be moved; then it is where it was.
        """
        target = self.directory / name
        target.parent.mkdir(exist_ok=True)
        return path.rename(target)

    def content(self) -> Iterator[Path]:
        """The directories that are there."""
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
        """Remove the leftovers of a batch whose content is gone."""
        if any(self.content()):
            return
        (self.directory / _LIST).unlink(missing_ok=True)
        _remove_if_empty(self.directory)
        _remove_if_empty(self.directory.parent)


def new_batch(root: Path, names: Iterable[str], now: datetime) -> Batch:
    """Begin a batch; its list is durable when this returns.

    Args:
        root: The directory of runs.
        names: Names of what will be put into it.
        now: The time to call it after.

    Raises:
        RunDirError: If it cannot be made.
    """
    trash = root / _TRASH
    if trash.is_symlink():
        raise RunDirError(f"{trash}: is a link; remove it, so that the trash can be here")
    try:
        trash.mkdir(exist_ok=True)
        batch = Batch(make_numbered(trash / f"{now:%Y%m%d-%H%M%S}"), names)
        atomic_write(batch.directory / _LIST, json.dumps({"pruned": batch.names}, indent=2) + "\n")
    except OSError as error:
        raise RunDirError(f"{trash}: cannot be made or written to: {error}") from error
    return batch


def batches(root: Path) -> Iterator[Batch]:
    """The batches in the trash of a directory of runs, oldest first; anything else there is left out."""
    trash = root / _TRASH
    if not _is_directory(trash):
        return
    for directory in sorted(trash.iterdir()):
        if _is_directory(directory) and (names := _listed(directory)) is not None:
            yield Batch(directory, names)


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
    """Whether a path is itself a directory, no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()
