"""Run directories among others: making, recognising and finding them."""

import contextlib
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from operator import attrgetter
from pathlib import Path, PurePath
from typing import NamedTuple

from emloop import constants
from emloop._support.files import fsync_dir
from emloop._support.names import random_name
from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError, Problem, RunDirError

from .info import read_info
from .trace import read_trace

LATEST = "@"

TEMPORARY = ".tmp-"
"""Beginning of the names of files that are being written."""

_LOCK_FILES = frozenset({".lock", "holder.json"})

DESCRIPTIONS = _LOCK_FILES | {
    constants.EL_ATTEMPTS_FILE,
    constants.EL_DATA_FILE,
    constants.EL_ENVIRONMENT_FILE,
    constants.EL_LOG_FILE,
    constants.EL_LOSSES_FILE,
    constants.EL_PATCH_FILE,
    constants.EL_RUN_FILE,
    constants.EL_STATUS_FILE,
    constants.EL_TRACE_FILE,
}
"""Files that describe a run, besides its configurations; all others are results."""

_ATTEMPT_CONFIG = re.compile(r"config\.attempt-([1-9]\d*)\.yaml")
_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^\w.+-]+")
_LONGEST = 120
"""Bytes of a model's name that are kept: file systems take names of 255 bytes, and something is appended."""
_LISTED = 10
"""Number of names that an error shows at most."""

_made: dict[tuple[int, int], Path] = {}
"""Device and inode of every run directory that this process has made, and its absolute path."""


def create_run_dir(root: Path | str, *, name: str | None, model_name: str) -> Path:
    """Make a new, empty run directory; no two processes are ever given the same new one.

    Args:
        root: Directory of runs; made with its parents if it is missing.
        name: Its name under the root, which may have several parts. An empty directory of that name is taken as it is,
            and so is one that a killed process has left on the point of creating a run.
            ``None``: a name after ``EMLOOP_OUTPUT_DIR_FORMAT``; if taken, with ``_1``, ``_2``, … appended.
        model_name: Value of the template's ``{model_name}``; made fit for a file name.

    Returns:
        The directory: ``root`` joined with the name.

    Raises:
        RunDirError: If the name leads out of the root, is taken by something that is not an empty directory, or the
            directory cannot be made.
        ConfigError: If the template is wrong.
    """
    root = Path(root)
    numbered = name is None
    name = _new_name(model_name) if name is None else name
    path = PurePath(name)
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or ".." in path.parts:
        raise RunDirError(f"{name!r} leads out of {root}; to put runs elsewhere, use --output_root")
    if not path.parts or not name.isprintable():
        raise RunDirError(f"{name!r} is no name for a run directory")
    directory = root / path
    try:
        _make_directories(directory.parent)
        return make_numbered(directory, _make) if numbered else _make_named(directory)
    except RunDirError:
        raise
    except OSError as error:
        raise RunDirError(f"{directory}: cannot make this run directory: {error}") from error


def make_numbered(directory: Path, make: Callable[[Path], None] = Path.mkdir) -> Path:
    """Make a directory, with ``_1``, ``_2``, … appended to its name if that is taken."""
    candidate, taken = directory, 0
    while True:
        try:
            make(candidate)
        except FileExistsError:
            taken += 1
            candidate = directory.with_name(f"{directory.name}_{taken}")
        else:
            return candidate


def made_here(directory: Path) -> bool:
    """Whether this process has made the run directory."""
    status = directory.stat()
    # The path as well, because inodes of deleted directories are used again.
    return _made.get((status.st_dev, status.st_ino)) == directory.absolute()


def safe_name(text: str) -> str:
    """The text as part of a file name: no separators, no white space, no leading dot or dash, not too long."""
    name = _UNSAFE.sub("_", text).encode()[:_LONGEST].decode(errors="ignore").lstrip(".-")
    return name or "Unnamed"


def is_run_dir(directory: Path) -> bool:
    """Whether a directory is a run of ours, however broken.

    A run has a ``run.json``; or, as emloop 0.2 left it, a ``config.yaml`` beside a trace or a log; or nothing but a
    lock, if its process was killed on the point of creating it.
    """
    if os.path.lexists(directory / constants.EL_RUN_FILE):
        return True
    if os.path.lexists(directory / constants.EL_CONFIG_FILE):
        return any(os.path.lexists(directory / name) for name in (constants.EL_TRACE_FILE, constants.EL_LOG_FILE))
    try:
        return os.path.lexists(directory / ".lock") and only_locked(directory)
    except OSError:
        return False


def only_locked(directory: Path) -> bool:
    """Whether a directory holds nothing but what a process leaves there before it creates a run."""
    return all(entry.name in _LOCK_FILES or entry.name.startswith(TEMPORARY) for entry in directory.iterdir())


def iter_runs(root: Path, *, recursive: bool = False) -> Iterator[Path]:
    """The run directories in a directory, sorted by name, without hidden and unreadable ones.

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
    """Find the run that somebody means.

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
    if _is_config_of_run(path):
        path = path.parent
    if spec and is_run_dir(path):
        return path
    runs: dict[str, Path] = {}
    with contextlib.suppress(RunDirError):
        runs = {str(run.relative_to(root)): run for run in iter_runs(root, recursive=True)}
    matches = [name for name in runs if spec and name.startswith(spec)]
    if spec in runs or len(matches) == 1:
        return runs[spec if spec in runs else matches[0]]
    if matches:
        raise RunDirError(f"{spec!r} is the beginning of {len(matches)} runs in {root}: {_some(matches)}")
    there = f"runs there: {_some(list(runs))}" if runs else "there are no runs there"
    hint = "".join(f"; {text}" for text in did_you_mean(spec, runs))
    raise RunDirError(f"{spec!r} is neither a run directory nor the beginning of a run's name in {root}{hint}; {there}")


class Restorable(NamedTuple):
    """Something that a model can be restored from, and the configuration that belongs to it.

    Args:
        path: What the model is given as ``restore_from``.
        config: The configuration's file, if there is one.
    """

    path: Path
    config: Path | None


def find_restorable(spec: str | Path, root: Path | str | None = None) -> Restorable:
    """Find what somebody wants a model to be restored from.

    That is a run, a checkpoint, a saved or an exported model, a directory with a ``config.yaml`` and a model, as models
    are shipped, a configuration in such a directory, or a file that the model's own ``save`` wrote. The configuration
    is that of the run around it, or the ``config.yaml`` in or beside it.

    Args:
        spec: Its path, or the beginning of a run's name under the root, or ``@`` for the latest training there.
        root: Where runs are looked for; ``None`` if only a path is meant.

    Raises:
        RunDirError: If there is no such thing.
    """
    path = Path(spec)
    if root is not None and not (path.exists() or _is_prefix(path)):
        path = find_run(str(spec), root)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return Restorable(path.parent, current_config(path.parent) if _is_config_of_run(path) else path)
    for directory in (path, path.parent):
        if is_run_dir(directory):
            return Restorable(path, current_config(directory))
        if (directory / constants.EL_CONFIG_FILE).is_file():
            return Restorable(path, directory / constants.EL_CONFIG_FILE)
    run = path.parent.parent
    return Restorable(path, current_config(run) if is_run_dir(run) else None)


def _is_config_of_run(path: Path) -> bool:
    is_named_so = path.name == constants.EL_CONFIG_FILE or _ATTEMPT_CONFIG.fullmatch(path.name)
    return bool(is_named_so) and is_run_dir(path.parent)


def _is_prefix(path: Path) -> bool:
    """Whether the names of several files begin so, as those of a checkpoint of TensorFlow do."""
    return bool(path.name) and any(path.parent.glob(f"{glob.escape(path.name)}.*"))


def current_config(directory: Path, attempt: int | None = None) -> Path:
    """The present configuration of a run: ``config.attempt-N.yaml`` with the largest ``N``, else ``config.yaml``.

    Args:
        directory: The run directory.
        attempt: Look for the configuration of this attempt instead; later ones do not count.
    """
    with os.scandir(directory) as entries:
        # Few names begin so, and the pattern takes longer to say no.
        names = [entry.name for entry in entries if entry.name.startswith("config.attempt-")]
    numbers = [int(match[1]) for name in names if (match := _ATTEMPT_CONFIG.fullmatch(name))]
    latest = max((number for number in numbers if attempt is None or number <= attempt), default=None)
    return directory / (constants.EL_CONFIG_FILE if latest is None else f"config.attempt-{latest}.yaml")


def _new_name(model_name: str) -> str:
    """Fill in the template of names; another call may return another name.

    The template may use ``{model_name}``, ``{random_name}`` and ``{timestamp}`` (local time, to the second).
    """
    template = os.environ.get(constants.EL_OUTPUT_DIR_FORMAT_VARIABLE) or constants.EL_DEFAULT_OUTPUT_DIR_FORMAT
    fields = {
        "model_name": safe_name(model_name),
        "random_name": random_name(),
        "timestamp": datetime.now().astimezone().strftime("%Y-%m-%d-%H-%M-%S"),
    }

    def wrong(message: str, *hints: str) -> ConfigError:
        hints = (*hints, "it may use {model_name}, {random_name} and {timestamp}")
        return ConfigError(Problem(message, path=constants.EL_OUTPUT_DIR_FORMAT_VARIABLE, hints=hints))

    # Not str.format: its fields reach attributes, and the template comes from the environment.
    for name in _FIELD.findall(template):
        if name not in fields:
            raise wrong(f"unknown field {{{name}}} in {template!r}", *did_you_mean(name, fields))
    if re.search("[{}]", _FIELD.sub("", template)):
        raise wrong(f"a brace without its partner in {template!r}")
    return _FIELD.sub(lambda match: fields[match[1]], template)


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
        with contextlib.suppress(OSError):
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if is_run_dir(path := Path(entry.path)):
                yield path
            elif recursive and not entry.is_symlink():
                yield from _runs_among(_entries(path), recursive=True)


def _latest_training(root: Path) -> Path:
    begun = [(begin, run) for run in iter_runs(root, recursive=True) if (begin := _training_begin(run)) is not None]
    if not begun:
        raise RunDirError(f"there is no training in {root}; give the path of a run")
    return max(begun)[1]


def _training_begin(run: Path) -> datetime | None:
    """When a training was created; ``None`` for an evaluation, and for what is too broken to say."""
    if not os.path.lexists(run / constants.EL_RUN_FILE):
        return read_trace(run).begin
    try:
        info = read_info(run)
    except RunDirError:
        return None
    return info.created if info.kind == "training" else None


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return f"{shown}, and {len(names) - _LISTED} more" if len(names) > _LISTED else shown
