"""What a fork takes along from the run it branches off: a commit, and the files that belong to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emloop._state.commit import Commit, write_commit
from emloop._support.files import open_inside, sync, write_new
from emloop.errors import RunDirError

from .beginnings import is_mirror

__all__ = ["copy_commit"]


def copy_commit(
    commit: Commit, origin: Path, directory: Path, files: Iterable[str] = ()
) -> tuple[int, Sequence[Mapping[str, Any]]]:
    """Copy a commit into a new run directory, with the files that only grow, as long as they were then, and the saved
    models and program of the run.

    Args:
        commit: The commit.
        origin: The run it belongs to.
        directory: The new run directory, without any of these files.
        files: Names of further files that belong to the commit.

    Returns:
        The commit's number, and what it says of the files that only grow.

    Raises:
        RunDirError: If a file of the run cannot be copied, or is shorter than the commit says.
        CheckpointError: If the commit is damaged.
    """
    for record in commit.info["appended"]:
        try:
            _copy_beginning(origin, directory, record["name"], record["bytes"])
        except RunDirError:
            if not is_mirror(record):  # the new run says what it lacks when it begins
                raise
    for path in sorted(origin.iterdir()):
        if path.is_dir() and not path.is_symlink() and (path.name.startswith("model_") or path.name == "program"):
            shutil.copytree(path, directory / path.name, symlinks=True)
    for name in files:
        _copy_file(origin, directory, name)
    components = {component: commit.load(component) for component in commit.components}
    write_commit(directory / commit.path.parent.name, commit.seq, components, commit.info)
    return commit.seq, commit.info["appended"]


def _copy_beginning(origin: Path, directory: Path, name: str, size: int) -> None:
    """Copy the first bytes of a file to the same name elsewhere; neither name may lead out of its directory."""
    try:
        with os.fdopen(open_inside(origin, name), "rb") as file:
            content = file.read(size)
    except (OSError, ValueError) as error:
        raise RunDirError(f"{origin}: cannot copy {name!r}: {error}") from error
    if len(content) < size:
        raise RunDirError(f"{origin / name}: has {len(content)} bytes, the commit says {size}")
    target = directory / name
    target.parent.mkdir(parents=True, exist_ok=True)
    write_new(target, content)


def _copy_file(origin: Path, directory: Path, name: str) -> None:
    """Copy a file that may be large, unless it is there already; its name may not lead out, either."""
    target = directory / name
    try:
        with os.fdopen(open_inside(origin, name), "rb") as file:
            if target.exists():
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy)
                copy.flush()
                sync(copy.fileno())
    except (OSError, ValueError) as error:
        raise RunDirError(f"{origin}: cannot copy {name!r}: {error}") from error
