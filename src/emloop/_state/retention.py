"""Which checkpoints stay. Only ever called after a new one is committed, so room is never made by deleting first."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from uuid import uuid4

from emloop._support.files import fsync_dir
from emloop.errors import ConfigError

from .commit import list_commits

__all__ = ["clean_leftovers", "retain"]

_LEFTOVERS = (".tmp-", ".del-")

_logger = logging.getLogger(__name__)


def retain(checkpoints: Path, keep: int = 2) -> None:
    """Delete all but the newest checkpoints. One that cannot be deleted stays, with a warning.

    Args:
        checkpoints: Directory of the run's checkpoints; the caller holds the run's lock.
        keep: How many valid ones stay; damaged ones neither count nor are touched.

    Raises:
        ConfigError: If fewer than two are to stay: then one flipped bit could cost the whole run.
    """
    if keep < 2:
        raise ConfigError(f"keep: expected at least 2 checkpoints, got {keep}")
    for commit in list_commits(checkpoints)[keep:]:
        # Out of sight first: a crash in the middle of deleting must not leave half a checkpoint under its name.
        doomed = checkpoints / f".del-{commit.path.name}-{uuid4().hex[:8]}"
        try:
            commit.path.rename(doomed)
            fsync_dir(checkpoints)
        except OSError as error:
            _logger.warning("An old checkpoint cannot be deleted: %s", error)
        else:
            _delete(doomed)


def clean_leftovers(checkpoints: Path) -> None:
    """Delete what a process that was killed left half written or half deleted.

    Args:
        checkpoints: Directory of the run's checkpoints, which need not exist; the caller holds the run's lock.
    """
    try:
        paths = list(checkpoints.iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        if path.name.startswith(_LEFTOVERS):
            _delete(path)


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        _logger.warning("A leftover cannot be deleted: %s", error)
