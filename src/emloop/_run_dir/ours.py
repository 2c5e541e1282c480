"""Whether a directory is a run of ours, beyond doubt: whoever deletes must be surer than whoever lists.

``run.json`` is written before anything else and never torn, so a directory with a valid one is ours with everything in
it. Without one it is ours only if it is a whole training of emloop 0.2, or holds nothing but files that only describe a
run, which is how both versions leave one that broke while it was made.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from emloop._yaml import quick as yaml_quick
from emloop.constants import (
    EL_CONFIG_FILE,
    EL_CONFIG_SOURCE_FILE,
    EL_LOG_FILE,
    EL_METRICS_FILE,
    EL_RUN_FILE,
    EL_TRACE_FILE,
)
from emloop.errors import ConfigError, RunDirError

from .info import read_info
from .layout import DESCRIPTIONS, TEMPORARY
from .reading import read_small

__all__ = ["is_ours"]

_LOCK = ".lock"
_DESCRIPTIONS = DESCRIPTIONS | {EL_CONFIG_FILE, EL_CONFIG_SOURCE_FILE, EL_METRICS_FILE}
_OLD_TRAINING = (EL_CONFIG_FILE, EL_LOG_FILE, EL_TRACE_FILE)
_TRACE_KEYS = frozenset({"train_begin", "train_end", "epochs_done", "exit_status"})


def is_ours(directory: Path) -> bool:
    """Whether everything in a directory belongs to a run of ours; never so for a link."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    try:
        read_info(directory)
    except RunDirError:
        return not _is_described_by_others(directory) and (_is_old_training(directory) or _only_describes(directory))
    return True


def _is_described_by_others(directory: Path) -> bool:
    """Whether ``run.json`` says something, but not what we would say: another program's, or a newer emloop's."""
    try:
        json.loads(read_small(directory / EL_RUN_FILE))
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _is_old_training(directory: Path) -> bool:
    if not all(_size(directory / name) is not None for name in _OLD_TRAINING):
        return False
    try:
        trace = yaml_quick.load(read_small(directory / EL_TRACE_FILE), EL_TRACE_FILE)
    except (OSError, ConfigError):
        return False
    # An empty trace is one that a crash has torn.
    return trace is None or (isinstance(trace, Mapping) and not _TRACE_KEYS.isdisjoint(_texts(trace)))


def _only_describes(directory: Path) -> bool:
    try:
        names = {entry.name for entry in directory.iterdir()}
    except OSError:
        return False
    if not all(name in _DESCRIPTIONS or name.startswith(TEMPORARY) for name in names):
        return False
    if any(_size(directory / name) is None for name in names):
        return False
    if _LOCK in names:
        return _size(directory / _LOCK) == 0
    return EL_RUN_FILE not in names and {EL_CONFIG_FILE, EL_LOG_FILE} <= names


def _size(path: Path) -> int | None:
    """Bytes of a regular file; ``None`` for anything else."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _texts(keys: Iterable[object]) -> set[str]:
    return {key for key in keys if isinstance(key, str)}
