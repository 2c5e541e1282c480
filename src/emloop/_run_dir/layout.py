"""Where run directories are: making a new one, telling one from other directories, finding one."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import attrgetter
from pathlib import Path, PurePath

from emloop._support.files import fsync_dir
from emloop._support.suggest import did_you_mean
from emloop.constants import EL_ATTEMPTS_FILE, EL_CONFIG_FILE, EL_LOG_FILE, EL_RUN_FILE, EL_TRACE_FILE
from emloop.errors import RunDirError

from .info import read_info
from .naming import new_name
from .trace import read_trace

__all__ = [
    "DESCRIPTIONS",
    "ENVIRONMENT_FILE",
    "PATCH_FILE",
    "TEMPORARY",
    "create_run_dir",
    "current_config",
    "find_run",
    "is_run_dir",
    "iter_runs",
    "made_here",
    "only_locked",
]

LATEST = "@"

TEMPORARY = ".tmp-"
"""How the names of files begin that are being written."""

ENVIRONMENT_FILE = "environment.txt"
PATCH_FILE = "code.patch"

_LOCK_FILES = frozenset({".lock", "holder.json"})

DESCRIPTIONS = frozenset(
    {EL_ATTEMPTS_FILE, EL_LOG_FILE, EL_RUN_FILE, EL_TRACE_FILE, ENVIRONMENT_FILE, PATCH_FILE, *_LOCK_FILES}
)
"""Files that tell of a run, beside its configurations; what else there is are results."""

_ATTEMPT_CONFIG = re.compile(r"config\.attempt-([1-9]\d*)\.yaml")
_LISTED = 10
"""How many names an error shows at most."""

_made: dict[tuple[int, int], Path] = {}
"""Device and inode of every run directory that this process has made, and its absolute path."""


def create_run_dir(root: Path | str, *, name: str | None, model_name: str) -> Path:
    """Make a new, empty run directory; no two processes are ever given the same new one.

    Args:
        root: Where run directories live; made with its parents if it is missing.
        name: Its name under the root, which may have several parts; an empty directory of that name is taken as it is,
            and so is one where a process was killed that had just begun to create a run.
            ``None``: a name after ``EMLOOP_OUTPUT_DIR_FORMAT``; if taken, with ``_1``, ``_2``, … appended.
        model_name: What the template's ``{model_name}`` stands for; made fit for a file name.

    Returns:
        The directory: ``root`` joined with the name.

    Raises:
        RunDirError: If the name leads out of the root, is taken by something that is not an empty directory, or the
            directory cannot be made.
        ConfigError: If the template is wrong.
    """
    directory = _below(Path(root), new_name(model_name) if name is None else name)
    try:
        _make_directories(directory.parent)
        return _make_numbered(directory) if name is None else _make_named(directory)
    except RunDirError:
        raise
    except OSError as error:
        raise RunDirError(f"{directory}: cannot make this run directory: {error}") from error


def made_here(directory: Path) -> bool:
    """Whether this process has made the run directory."""
    status = directory.stat()
    # The path as well, because inodes of deleted directories are used again.
    return _made.get((status.st_dev, status.st_ino)) == directory.absolute()


def is_run_dir(directory: Path) -> bool:
    """Whether a directory is a run of ours, however broken.

    That is: it has a ``run.json``; or, as emloop 0.2 left it, a ``config.yaml`` beside a trace or a log; or nothing
    but a lock, which is where a process was killed that had just begun to create the run.
    """
    if _exists(directory / EL_RUN_FILE):
        return True
    if _exists(directory / EL_CONFIG_FILE):
        return _exists(directory / EL_TRACE_FILE) or _exists(directory / EL_LOG_FILE)
    try:
        return _exists(directory / ".lock") and only_locked(directory)
    except OSError:
        return False


def only_locked(directory: Path) -> bool:
    """Whether there is nothing in a directory but what a process leaves that wants to create a run in it."""
    return all(entry.name in _LOCK_FILES or entry.name.startswith(TEMPORARY) for entry in directory.iterdir())


def iter_runs(root: Path, *, recursive: bool = False) -> Iterator[Path]:
    """The run directories in a directory, sorted by name; hidden ones and what cannot be read are left out.

    Args:
        root: Where to look; not itself taken for a run.
        recursive: Whether to look into directories that are no runs, too, except through links.

    Raises:
        RunDirError: If the root is not a directory.
    """
    try:
        entries = _entries(root)
    except OSError as error:
        raise RunDirError(f"{root}: cannot look for runs there: {error.strerror}") from error
    yield from _runs_among(entries, recursive=recursive)


def find_run(spec: str, root: Path | str) -> Path:
    """The run that somebody means.

    Args:
        spec: Path of a run directory or of a ``config.yaml`` in one; or the beginning of a run's name under the root;
            or ``@`` for the latest training under the root.
        root: Where runs are looked for.

    Raises:
        RunDirError: If there is no such run, or more than one; lists those that there are.
    """
    root = Path(root)
    if spec == LATEST:
        return _latest_training(root)
    path = Path(spec)
    if path.name == EL_CONFIG_FILE or _ATTEMPT_CONFIG.fullmatch(path.name):
        path = path.parent
    if spec and is_run_dir(path):
        return path
    runs = {str(run.relative_to(root)): run for run in iter_runs(root, recursive=True)} if _is_directory(root) else {}
    matches = [name for name in runs if spec and name.startswith(spec)]
    if spec in runs or len(matches) == 1:
        return runs[spec if spec in runs else matches[0]]
    if matches:
        raise RunDirError(f"{spec!r} is the beginning of {len(matches)} runs in {root}: {_some(matches)}")
    there = f"runs there: {_some(list(runs))}" if runs else "there are no runs there"
    hint = "".join(f"; {text}" for text in did_you_mean(spec, runs))
    raise RunDirError(f"{spec!r} is neither a run directory nor the beginning of a run's name in {root}{hint}; {there}")


def current_config(directory: Path, attempt: int | None = None) -> Path:
    """The configuration that a run is in: ``config.attempt-N.yaml`` with the largest ``N``, else ``config.yaml``.

    Args:
        directory: The run directory.
        attempt: Which attempt's configuration is meant instead; later ones do not count.
    """
    with os.scandir(directory) as entries:
        # Most names are none, and a pattern takes longer to say so.
        names = [entry.name for entry in entries if entry.name.startswith("config.attempt-")]
    attempts = [match for name in names if (match := _ATTEMPT_CONFIG.fullmatch(name))]
    if attempt is not None:
        attempts = [match for match in attempts if int(match[1]) <= attempt]
    return directory / (max(attempts, key=lambda match: int(match[1]))[0] if attempts else EL_CONFIG_FILE)


def _below(root: Path, name: str) -> Path:
    path = PurePath(name)
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or ".." in path.parts:
        raise RunDirError(f"{name!r} leads out of {root}; to put runs elsewhere, use --output_root")
    if not path.parts or not name.isprintable():
        raise RunDirError(f"{name!r} is no name for a run directory")
    return root / path


def _make_numbered(directory: Path) -> Path:
    candidate, taken = directory, 0
    while True:
        try:
            _make(candidate)
        except FileExistsError:
            taken += 1
            candidate = directory.with_name(f"{directory.name}_{taken}")
        else:
            return candidate


def _make_named(directory: Path) -> Path:
    try:
        _make(directory)
    except FileExistsError:
        if not directory.is_dir():
            raise RunDirError(f"{directory} exists and is not a directory; choose another name") from None
        if not only_locked(directory):
            way_out = f"or go on with it: emloop resume {directory}" if is_run_dir(directory) else "or empty it"
            raise RunDirError(f"{directory} exists and is not empty; choose another name, {way_out}") from None
    return directory


def _make(directory: Path) -> None:
    directory.mkdir()
    status = directory.stat()
    _made[status.st_dev, status.st_ino] = directory.absolute()
    fsync_dir(directory.parent)


def _make_directories(directory: Path) -> None:
    """Like ``mkdir(parents=True, exist_ok=True)``, but the new directories survive a power cut."""
    if not directory.is_dir():
        _make_directories(directory.parent)
        directory.mkdir(exist_ok=True)
        fsync_dir(directory.parent)


def _entries(directory: Path | str) -> list[os.DirEntry[str]]:
    # Unlike paths, entries know without asking whether they are directories.
    with os.scandir(directory) as found:
        return sorted(found, key=attrgetter("name"))


def _runs_among(entries: Iterable[os.DirEntry[str]], *, recursive: bool) -> Iterator[Path]:
    for entry in entries:
        if entry.name.startswith(".") or not _is_directory(entry):
            continue
        path = Path(entry.path)
        if is_run_dir(path):
            yield path
        elif recursive and not entry.is_symlink():
            with contextlib.suppress(OSError):
                yield from _runs_among(_entries(path), recursive=True)


def _latest_training(root: Path) -> Path:
    begun = [(begin, run) for run in iter_runs(root, recursive=True) if (begin := _training_begin(run)) is not None]
    if not begun:
        raise RunDirError(f"there is no training in {root}; give the path of a run")
    return max(begun)[1]


def _training_begin(run: Path) -> datetime | None:
    """When a training was created; ``None`` for an evaluation, and for what is too broken to say."""
    if not _exists(run / EL_RUN_FILE):
        return read_trace(run).begin
    try:
        info = read_info(run)
    except RunDirError:
        return None
    return info.created if info.kind == "training" else None


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return f"{shown}, and {len(names) - _LISTED} more" if len(names) > _LISTED else shown


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def _is_directory(path: Path | os.DirEntry[str]) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
