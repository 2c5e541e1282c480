"""Which checkpoints are kept. Called only after a new one is committed: room is never made by deleting first."""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path
from uuid import uuid4

from emloop._support.files import fsync_dir, own_directory
from emloop.errors import ConfigError

from .commit import list_commits

__all__ = ["clean_leftovers", "delete_leftover", "retain"]

_LEFTOVERS = (".tmp-", ".del-")

_logger = logging.getLogger(__name__)


def retain(checkpoints: Path, keep: int = 2) -> None:
    """Delete all but the newest checkpoints. One that cannot be deleted stays, with a warning.

    Args:
        checkpoints: Directory of the run's checkpoints; the caller holds the run's lock.
        keep: Number of valid ones to keep; damaged ones neither count nor are touched.

    Raises:
        ConfigError: If ``keep`` is less than two: a single flipped bit could then cost the whole run.
    """
    if keep < 2:
        raise ConfigError.about("keep", f"expected at least 2 checkpoints, got {keep}")
    for commit in list_commits(checkpoints)[keep:]:
        # Hide it first: a crash halfway through deleting must not leave half a checkpoint under its name.
        doomed = checkpoints / f".del-{commit.path.name}-{uuid4().hex[:8]}"
        try:
            commit.path.rename(doomed)
        except OSError as error:
            _logger.warning("An old checkpoint cannot be deleted: %s", error)
            continue
        # Should its old name come back after a crash, it is damaged, and older than what is resumed from.
        with contextlib.suppress(OSError):
            fsync_dir(checkpoints)
        delete_leftover(doomed)


def clean_leftovers(checkpoints: Path) -> None:
    """Delete what a killed process left half written or half deleted.

    Args:
        checkpoints: Directory of the run's checkpoints, which need not exist; the caller holds the run's lock.

    Raises:
        OSError: If the directory is a link, or cannot be read.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        own_directory(checkpoints)
        for path in list(checkpoints.iterdir()):
            if path.name.startswith(_LEFTOVERS):
                delete_leftover(path)


def delete_leftover(path: Path) -> None:
    """Delete a file, a link or a directory with all its contents; failing to do so is only worth a warning."""
    for is_last in (False, True):  # an error that does not last leaves nothing behind
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            if is_last:
                _logger.warning("A leftover cannot be deleted: %s", error)
        else:
            return
