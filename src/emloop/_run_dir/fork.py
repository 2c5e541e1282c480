"""What a fork takes along from the run it branches off: a commit, and the files that belong to it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emloop._state.commit import Commit
from emloop._support.files import fsync_dir, write_new
from emloop.errors import RunDirError

__all__ = ["copy_commit"]


def copy_commit(commit: Commit, origin: Path, directory: Path) -> tuple[int, Sequence[Mapping[str, Any]]]:
    """Copy a commit into a new run directory, with the files that only grow, as long as they were then, and the saved
    models and program of the run.

    Args:
        commit: The commit.
        origin: The run it belongs to.
        directory: The new run directory, without any of these files.

    Returns:
        The commit's number, and what it says of the files that only grow.

    Raises:
        RunDirError: If a file of the run is shorter than the commit says.
    """
    for record in commit.info["appended"]:
        with (origin / record["name"]).open("rb") as file:
            content = file.read(record["bytes"])
        if len(content) < record["bytes"]:
            raise RunDirError(f"{origin / record['name']}: has {len(content)} bytes, the commit {record['bytes']}")
        target = directory / record["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        write_new(target, content)
    for path in sorted(origin.iterdir()):
        if path.is_dir() and not path.is_symlink() and (path.name.startswith("model_") or path.name == "program"):
            shutil.copytree(path, directory / path.name, symlinks=True)
    checkpoints = directory / commit.path.parent.name
    checkpoints.mkdir(exist_ok=True)
    shutil.copytree(commit.path, checkpoints / commit.path.name, symlinks=True)
    fsync_dir(checkpoints)
    fsync_dir(directory)
    return commit.seq, commit.info["appended"]
