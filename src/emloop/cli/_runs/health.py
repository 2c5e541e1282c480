"""What is wrong with a run, what of it can be saved, and what is safe to mend."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from emloop._run_dir.beginnings import accept_loss, checked, is_mirror
from emloop._run_dir.info import lost_origin, read_info
from emloop._run_dir.layout import current_config
from emloop._run_dir.summary import RunSummary
from emloop._state.commit import Commit, newest_commit
from emloop._state.lock import holder
from emloop._state.manifest import MANIFEST
from emloop._state.retention import delete_leftover
from emloop.constants import EL_CHECKPOINTS_DIR, EL_CONFIG_SOURCE_FILE, EL_RUN_FILE
from emloop.errors import CheckpointError, EmloopError, SavedModelError
from emloop.saved_models import find_saved, shelf_life

__all__ = ["Finding", "findings"]

_LEFTOVERS = (".tmp-", ".del-")
_LISTED = 5


class Finding(NamedTuple):
    """Something that is wrong with a run.

    Args:
        kind: ``lost``, ``locked``, ``torn``, ``tampered``, ``orphaned``, ``link`` or ``old``.
        what: What was found.
        advice: What can be saved, and how.
        mend: Puts it right, where that is safe; to be called with the run's lock held.
    """

    kind: str
    what: str
    advice: str
    mend: Callable[[], None] | None = None


def findings(run: RunSummary) -> Iterator[Finding]:
    """All that is wrong with a run; every byte of its newest commit and its saved models is read."""
    path = run.path
    if run.status == "running":
        who = holder(path) or {}
        named = " ".join(f"{word} {who[key]}" for key, word in (("pid", "process"), ("host", "on")) if key in who)
        yield Finding("locked", f"a process works on it: {named or 'unknown'}", "wait for it to end, or stop it")
        return
    yield from _links(path)
    if run.problem:
        yield Finding("torn", run.problem, "a resume needs run.json and config.yaml, and writes trace.yaml anew")
    yield from _config(path)
    try:
        commit, rejected = newest_commit(path / EL_CHECKPOINTS_DIR, set_aside=False)
    except (EmloopError, OSError) as error:
        commit, rejected = None, [(EL_CHECKPOINTS_DIR, str(error))]
    sound = f"commit {commit.seq} is sound" if commit else "no commit is sound"
    for name, why in rejected:
        yield Finding("tampered", f"commit {name} cannot be used: {why}", f"{sound}: emloop resume {path}")
    if run.kind == "training" and run.status == "lost":
        kept = f"commit {commit.seq}, after epoch {commit.info.get('epoch')}" if commit else "nothing: it begins anew"
        lost = None
        with suppress(EmloopError):
            lost = None if commit else lost_origin(read_info(path), path)
        advice = f"nothing: {lost}" if lost else f"{kept}: emloop resume {path}"
        yield Finding("lost", "its process died without a word", f"what is kept: {advice}")
    yield from _appended(path, commit)
    yield from _saved_models(path)
    leftovers = [entry for folder in (path, *_folders(path)) for entry in _entries(folder, *_LEFTOVERS)]
    if leftovers:
        names = [str(entry.relative_to(path)) for entry in leftovers]
        shown = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        yield Finding("orphaned", f"a killed process left {shown}", "no part of the run", partial(_delete, leftovers))


def _entries(folder: Path, *beginnings: str) -> list[Path]:
    try:
        return [entry for entry in sorted(folder.iterdir()) if entry.name.startswith(beginnings or "")]
    except OSError:
        return []


def _folders(run: Path) -> list[Path]:
    """Where a run keeps directories of its own: checkpoints and saved models."""
    names = (EL_CHECKPOINTS_DIR, "model_")
    return [entry for entry in _entries(run, *names) if entry.is_dir() and not entry.is_symlink()]


def _delete(leftovers: list[Path]) -> None:
    for path in leftovers:
        delete_leftover(path)


def _links(run: Path) -> Iterator[Finding]:
    for entry in _entries(run):
        mode = entry.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a directory"
            yield Finding("link", f"{entry.name} is {what}", "a run follows none: put what is meant in its place")


def _config(run: Path) -> Iterator[Finding]:
    current = current_config(run)
    if os.path.lexists(run / EL_RUN_FILE) and not os.path.lexists(current):
        source = f" (as written: {EL_CONFIG_SOURCE_FILE})" if (run / EL_CONFIG_SOURCE_FILE).is_file() else ""
        again = f"give it again{source}: emloop train CONFIG -o {run.parent} --output_dir {run.name} --auto-resume"
        yield Finding("torn", f"{current.name} is gone", again)


def _appended(run: Path, commit: Commit | None) -> Iterator[Finding]:
    """Files that only grow, and no longer begin with what was committed."""
    appended = commit.info.get("appended") if commit else None
    for record in appended if isinstance(appended, list) else ():
        try:
            checked(run, record)
        except CheckpointError as error:
            if not is_mirror(record):
                advice = "a resume refuses it; --fix lets the run go on with what is left of the file"
                is_whole = isinstance(record, dict) and {"name", "bytes", "crc32"} <= record.keys()
                mend = partial(accept_loss, run, record) if is_whole else None
                yield Finding("tampered", str(error), advice, mend)


def _saved_models(run: Path) -> Iterator[Finding]:
    for folder in _folders(run):
        if folder.name == EL_CHECKPOINTS_DIR:
            continue
        if not os.path.lexists(folder / MANIFEST):
            if _entries(folder, "model-"):
                yield Finding("torn", f"{folder.name} was never saved to the end", "the next save replaces it")
            continue
        try:
            saved = find_saved(folder)
            saved.tree()
            has_program = saved.program() is not None
        except (SavedModelError, OSError) as error:
            yield Finding("tampered", str(error), f"a resume saves it anew: emloop resume {run}")
            continue
        extra = saved.manifest["extra"]
        why = shelf_life(extra.get("versions", {}), extra.get("until")) if has_program else None
        if why is not None:
            yield Finding("old", f"the program of {folder.name}: {why}", f"make it anew: emloop upgrade {run}")
