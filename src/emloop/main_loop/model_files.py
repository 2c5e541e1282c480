"""Commits of a model that has no state tree: by its own ``save``.

Each commit takes the first numbered name that no kept commit needs, so that none of their files is overwritten. The
path that ``save`` returned may be a file, a directory or the common prefix of several files' names; all of them are
made durable, and their hashes recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emloop._support.files import fsync_dir, sha256_of, sync
from emloop.errors import CannotResumeError
from emloop.types import StateTree

__all__ = ["restoring_from", "save_by_model", "saved_files", "saved_path"]

logger = logging.getLogger(__name__)


def save_by_model(model: Any, seq: int, directory: Path, slot: int) -> StateTree:
    """Let a model save itself.

    Args:
        model: Model with ``save``.
        seq: Number of the coming commit.
        directory: The run directory, to which the recorded paths are relative.
        slot: Number in the name of what is saved.

    Returns:
        ``saved``: the path, or ``None`` if nothing was saved below the run directory; ``files``: name → SHA-256.
    """
    returned = model.save(f"checkpoint-{slot}")
    path, root = Path(returned).absolute() if isinstance(returned, (str, Path)) else None, directory.absolute()
    found = () if path is None else path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    files = sorted(file for file in found if file.is_file())
    if path is None or not files or not path.is_relative_to(root):
        logger.log(
            logging.WARNING if seq == 1 else logging.DEBUG,
            "%s.save returned %r, where nothing was saved below %s: the model will not be resumed. "
            "Give it state_dict and load_state_dict, or let save write into log_dir and return the path",
            type(model).__name__,
            returned,
            directory,
        )
        return {"saved": None, "files": {}}
    for file in files:
        with file.open("rb") as opened:
            sync(opened.fileno())
    fsync_dir(path.parent)
    return {
        "saved": path.relative_to(root).as_posix(),
        "files": {file.relative_to(root).as_posix(): sha256_of(file) for file in files},
    }


def saved_path(state: StateTree, directory: Path) -> Path | None:
    """Where a model saved itself for a commit; ``None`` if the commit holds a state tree instead.

    Raises:
        CannotResumeError: If it saved nothing, or a file has changed since.
    """
    if not _is_saved(state):
        return None
    if state["saved"] is None:
        raise CannotResumeError("the model saved nothing to resume from; give it state_dict and load_state_dict")
    for name, digest in state["files"].items():
        file = directory / name
        if not file.is_file() or sha256_of(file) != digest:
            raise CannotResumeError(f"{file} is not what the commit recorded; the model cannot be restored from it")
    return directory / str(state["saved"])


def saved_files(state: StateTree) -> list[str]:
    """Names of the files that a model saved for a commit, relative to the run directory; none if it holds a tree."""
    return list(state["files"]) if _is_saved(state) else []


@contextmanager
def restoring_from(saved: Path | None) -> Generator[None]:
    """Note on an exception of a model's constructor that it was given what the model's own ``save`` had returned."""
    try:
        yield
    except Exception as error:
        if saved is not None:
            error.add_note(
                f"to go on with the run, the model was given as restore_from what its save had returned: {saved}; "
                "it has to accept that, or to offer state_dict and load_state_dict"
            )
        raise


def _is_saved(state: StateTree) -> bool:
    return isinstance(state, dict) and set(state) == {"saved", "files"}
