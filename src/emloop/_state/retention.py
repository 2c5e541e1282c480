"""Removing checkpoints and leftovers; never before a new checkpoint is committed, to make room for it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from emloop._support.files import own_directory

from .commit import Commit, checkpoint_names
from .manifest import MANIFEST

__all__ = ["clean_leftovers", "delete_commits", "delete_leftover"]

_LEFTOVERS = (".tmp-", ".del-")

_logger = logging.getLogger(__name__)


def delete_commits(commits: Iterable[Commit]) -> None:
    """Delete checkpoints. One that cannot be deleted stays, with a warning.

    Args:
        commits: Which; none that may still be needed. The caller holds the run's lock.
    """
    for commit in commits:
        # Hide it first: a kill halfway through deleting must not leave half a checkpoint under its name. That is not
        # synced, so a power cut may bring the name back; then it has no manifest, and clean_leftovers knows it by that.
        doomed = commit.path.with_name(f".del-{commit.path.name}-{uuid4().hex[:8]}")
        try:
            commit.path.rename(doomed)
            (doomed / MANIFEST).unlink(missing_ok=True)
        except OSError as error:
            _logger.warning("An old checkpoint cannot be deleted: %s", error)
            continue
        delete_leftover(doomed)


def clean_leftovers(checkpoints: Path, newest: int = 0) -> None:
    """Delete what a killed process left half written or half deleted.

    Args:
        checkpoints: Directory of the run's checkpoints, which need not exist; the caller holds the run's lock.
        newest: Number of the newest intact checkpoint, if any.

    Raises:
        OSError: If the directory is a link, or cannot be read.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        own_directory(checkpoints)
        for path in list(checkpoints.iterdir()):
            if path.name.startswith(_LEFTOVERS):
                delete_leftover(path)
    for name in checkpoint_names(checkpoints):
        if int(name) < newest and not os.path.lexists(checkpoints / name / MANIFEST):
            delete_leftover(checkpoints / name)


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
