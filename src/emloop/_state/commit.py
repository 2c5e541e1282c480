"""Checkpoints: the one place where a run's state becomes durable.

A checkpoint is a directory ``checkpoints/00000012`` with a valid manifest; nothing else in there counts. It is written
under a temporary name, file by file, manifest last, everything synced; then renamed; then the rename is synced. A crash
at any instant leaves older checkpoints untouched and the new one whole or absent. *Committed* means that
:func:`write_commit` has returned.

::

    manifest.json        seq, info, components, files with sizes and hashes
    state.json           the components' states: "model", "streams/train" …
    state.safetensors    … and their arrays, if there are any
    frozen-3fa1c2d45d2ee94b.safetensors    … those of the model that do not change, which the run keeps once
    rows-00001.safetensors                 … the rows of another process of those that are cut among several
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import operator
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

from emloop._support.files import fsync_dir, own_directory, write_new
from emloop.errors import CheckpointError, StateError
from emloop.types import StateTree

from .array_file import Arrays, file_parts, file_size
from .kept_once import FROZEN, KeptOnce
from .manifest import MANIFEST, FileRecord, file_records, json_values, read_manifest, render_manifest, verify_files
from .strict_json import dump
from .tree import EncodedTree, encode_components, escape, read_tree, unquoted

__all__ = [
    "Commit",
    "checkpoint_names",
    "list_commits",
    "newest_commit",
    "open_commit",
    "write_commit",
    "write_encoded",
    "write_rows",
]

FORMAT, WITH_FROZEN, WITH_ROWS = 2, 3, 4
"""Versions of the checkpoint layout. Version 1, which had files of its own for every component, is read, too."""

_OWNER = "model"
"""The component whose lasting arrays are kept once; its saved models hold the same."""

STATE = "state.json"
ARRAYS = "state.safetensors"
ROWS = "rows-"

WriteRows: TypeAlias = Callable[[Path], Callable[[], Iterable[FileRecord]]]
"""Lets other processes begin to write their rows to a directory, and returns what waits for them."""

_NAME = re.compile(r"[0-9]{8,}")
_RESERVE = 1 << 20  # bytes to leave free beyond what a checkpoint needs

_LARGE = 64 << 20  # bytes

T = TypeVar("T")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Commit:
    """A checkpoint on disk.

    Args:
        path: Its directory.
        seq: Its number; later checkpoints of a run have larger ones.
        info: What :func:`write_commit` was given, as JSON values.
        files: Component → files with its skeleton, its arrays, and its lasting ones, if it has any.
        joined: Whether all components are in the same files.
        rows: Those with the rows of other processes, in order.
    """

    path: Path
    seq: int
    info: dict[str, Any]
    files: Mapping[str, tuple[FileRecord, FileRecord | None, FileRecord | None]] = field(repr=False)
    joined: bool = field(repr=False)
    rows: tuple[FileRecord, ...] = field(default=(), repr=False)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components, e.g. ``model`` and ``streams/train``."""
        return tuple(self.files)

    @property
    def bytes(self) -> int:
        """Size of all that it holds."""
        found = {file.name: file.bytes for files in (*self.files.values(), self.rows) for file in files if file}
        return sum(found.values())

    @property
    def own_bytes(self) -> int:
        """Size of what no other holds, too."""
        return self.bytes - sum(lasting.bytes for _, _, lasting in self.files.values() if lasting)

    def entry(self, key: str, kind: type[T]) -> T:
        """What ``info`` says, which may have been written by anybody.

        Args:
            key: A key of ``info``.
            kind: What it has to be.

        Raises:
            CheckpointError: If it is missing or something else.
        """
        found = self.info.get(key)
        if not isinstance(found, kind):
            raise CheckpointError(f"{self.path / MANIFEST}: info.{key}: expected {kind.__name__}, got {found!r:.50}")
        return found

    def load(self, component: str) -> StateTree:
        """Read the state of one component; every byte is verified before it is parsed.

        Raises:
            CheckpointError: If there is no such component, or its files are damaged.
        """
        if component not in self.files:
            raise CheckpointError(f"{self.path}: no state of {component!r}; there is {', '.join(self.files)}")
        skeleton, arrays, lasting = self.files[component]
        return self._read(skeleton, arrays, lasting, component if self.joined else None)

    def states(self) -> dict[str, StateTree]:
        """Read the states of all components, each file once; every byte is verified before it is parsed.

        Raises:
            CheckpointError: If files are damaged.
        """
        if not self.joined:
            return {component: self.load(component) for component in self.files}
        skeleton = next(iter(self.files.values()))[0]
        arrays, lasting = (next((files[n] for files in self.files.values() if files[n]), None) for n in (1, 2))
        found: Any = self._read(skeleton, arrays, lasting)
        if not isinstance(found, dict) or found.keys() != self.files.keys():
            raise CheckpointError(f"{self.path / skeleton.name}: not the states of {', '.join(self.files)}")
        return found

    def read_back(self) -> None:
        """Read everything as a resume would; what is large only to compare its hash, so that it takes no memory.

        Raises:
            CheckpointError: If a component cannot be read again.
        """
        if self.bytes < _LARGE:
            self.states()
        else:
            self.verify()

    def _read(
        self,
        skeleton: FileRecord,
        arrays: FileRecord | None,
        lasting: FileRecord | None,
        component: str | None = None,
    ) -> StateTree:
        try:
            rows = self.rows if component in (None, _OWNER) else ()
            return read_tree(self.path, skeleton, arrays, component, lasting, f"/{_OWNER}", rows)
        except StateError as error:
            raise CheckpointError(f"{self.path / skeleton.name}: {error}") from error

    def verify(self) -> None:
        """Read every file and compare its hash.

        Raises:
            CheckpointError: At the first damaged file; names it.
        """
        verify_files(self.path, read_manifest(self.path))


def write_commit(checkpoints: Path, seq: int, components: Mapping[str, StateTree], info: Mapping[str, Any]) -> Commit:
    """Make a state durable; once this returns, the checkpoint survives a power failure.

    Args:
        checkpoints: Directory of the run's checkpoints; created if missing.
        seq: Number of the checkpoint, larger than those before.
        components: Component, e.g. ``model`` or ``streams/train`` → its state.
        info: Whatever else a reader needs, as JSON values: epoch, lengths of append-only files …

    Raises:
        StateError: If a state cannot be stored; names component and place. Nothing was written.
        CheckpointError: As :func:`write_encoded`.
    """
    return write_encoded(checkpoints, seq, encode_components(components), info)


def write_encoded(
    checkpoints: Path, seq: int, encoded: EncodedTree, info: Mapping[str, Any], rows: WriteRows | None = None
) -> Commit:
    """Make an encoded state durable, as :func:`write_commit` does; the arrays must not change meanwhile.

    Args:
        checkpoints: As for :func:`write_commit`.
        seq: As well.
        encoded: What :func:`encode_components` returned.
        info: As for :func:`write_commit`.
        rows: What lets other processes write theirs, if they have any.

    Raises:
        StateError: If ``info`` is not JSON. Nothing was written.
        CheckpointError: If the checkpoint cannot be written, or already exists. Older checkpoints are untouched and
            nothing of this one remains, so it is safe to try again.
    """
    skeletons = encoded.skeleton
    arrays, lasting = encoded.divided(f"/{_OWNER}")
    owners = {place.split("/", 2)[1] for place in arrays}
    header: dict[str, Any] = {
        "format": WITH_ROWS if rows else WITH_FROZEN if lasting else FORMAT,
        "kind": "checkpoint",
        "seq": seq,
        "info": json_values(info),
        "components": {unquoted(key): escape(key) in owners for key in skeletons},
    }
    contents: dict[str, bytes | Arrays | KeptOnce] = {STATE: dump(skeletons)}
    if arrays:
        contents[ARRAYS] = arrays
    needed, final = 0, checkpoints / f"{seq:08d}"
    try:
        own_directory(checkpoints)
        if lasting:
            contents[FROZEN] = KeptOnce(lasting, checkpoints.parent)
        needed = sum(map(_size, contents.values())) * 11 // 10 + _RESERVE
        if not checkpoints.is_dir():
            checkpoints.mkdir()
            fsync_dir(checkpoints.parent)
        _require_space(checkpoints, needed)
        _clear_the_way(final)
        records = _write(final, contents, header, rows)
    except OSError as error:
        raise CheckpointError(_failure(final, needed, error)) from error
    return _commit(final, header, records)


def write_rows(directory: Path, number: int, model: StateTree) -> FileRecord:
    """Write what a process other than rank 0 has of a model's state, durably, into a commit that rank 0 makes.

    Args:
        directory: Where rank 0 writes the commit.
        number: The rank.
        model: The state, in which arrays that are cut are :class:`~.tree.Rows`.

    Raises:
        OSError: If it cannot be written.
    """
    rows = encode_components({_OWNER: model}).rows
    return _write_file(directory, f"{ROWS}{number:05d}.safetensors", rows)


def open_commit(path: Path) -> Commit:
    """Open a checkpoint after checking its manifest and file sizes; contents are verified when they are loaded.

    Raises:
        CheckpointError: If it is not a valid checkpoint; says why.
    """
    manifest = read_manifest(path)
    kind, version = manifest.get("kind"), manifest.get("format")
    if kind != "checkpoint" or version not in (1, FORMAT, WITH_FROZEN, WITH_ROWS):
        raise CheckpointError(
            f"{path / MANIFEST}: expected a checkpoint of format 1 to {WITH_ROWS}, got {kind} of format {version}"
        )
    try:
        return _commit(path, manifest, file_records(manifest))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / MANIFEST}: malformed manifest of a checkpoint: {error}") from error


def list_commits(checkpoints: Path) -> list[Commit]:
    """Valid checkpoints of a run as judged by :func:`open_commit`, newest first.

    Raises:
        OSError: If one cannot be read for reasons that say nothing about its validity, such as missing permission.
    """
    commits = []
    for name in checkpoint_names(checkpoints):
        with contextlib.suppress(CheckpointError):
            commits.append(_open_listed(checkpoints / name))
    return commits


def newest_commit(checkpoints: Path, *, set_aside: bool) -> tuple[Commit | None, list[tuple[str, str]]]:
    """Find the newest checkpoint whose every byte is intact.

    Args:
        checkpoints: Directory of the run's checkpoints.
        set_aside: Whether to rename damaged ones to ``.bad-<seq>``, as is due before going on with the run; requires
            the run's lock.

    Returns:
        The checkpoint, or ``None``; and the damaged ones that are newer, as pairs of name and reason.

    Raises:
        OSError: As :func:`list_commits`; or if a damaged one cannot be renamed.
    """
    rejected: list[tuple[str, str]] = []
    for name in checkpoint_names(checkpoints):
        try:
            commit = _open_listed(checkpoints / name)
            commit.verify()
        except CheckpointError as error:
            if not os.path.lexists(checkpoints / name):
                # Retention of a live run took it, so there are newer ones by now.
                return newest_commit(checkpoints, set_aside=set_aside)
            rejected.append((name, str(error)))
            if set_aside:
                _set_aside(checkpoints / name)
        else:
            return commit, rejected
    return None, rejected


def _require_space(directory: Path, needed: int) -> None:
    if _free_bytes(directory) < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _free_bytes(directory: Path) -> float:
    system = os.statvfs(directory)
    # Some network file systems do not know their size and report 0.
    return system.f_bavail * system.f_frsize if system.f_blocks else math.inf


def _clear_the_way(final: Path) -> None:
    """Set a damaged checkpoint of the same number aside.

    Raises:
        CheckpointError: If an intact one exists: two states cannot share a number.
    """
    if not os.path.lexists(final):
        return
    try:
        _open_listed(final).verify()
    except CheckpointError as error:
        _logger.warning("A damaged checkpoint is in the way and is set aside as %s: %s", _set_aside(final).name, error)
    else:
        raise CheckpointError("there is an intact checkpoint of this number")


def _write(
    final: Path, contents: Mapping[str, bytes | Arrays | KeptOnce], header: Mapping[str, Any], rows: WriteRows | None
) -> dict[str, FileRecord]:
    """The protocol: the order of these lines is what makes a checkpoint safe."""
    temporary = final.with_name(f".tmp-{final.name}-{os.getpid()}-{uuid4().hex[:8]}")
    try:
        temporary.mkdir()
        wait = None if rows is None else rows(temporary.absolute())
        try:
            files = [_write_file(temporary, name, content) for name, content in contents.items()]
        finally:
            others = () if wait is None else wait()  # also of a failed attempt, or the next would get its answers
        files += others
        records = {record.name: record for record in files}
        write_new(temporary / MANIFEST, [render_manifest(header, records.values())])
        fsync_dir(temporary)
        temporary.rename(final)
        try:
            fsync_dir(final.parent)
        except BaseException:
            # It may not survive a crash, so nobody may see it.
            with contextlib.suppress(OSError):
                final.rename(temporary)
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return records


def _write_file(directory: Path, name: str, content: bytes | Arrays | KeptOnce) -> FileRecord:
    if isinstance(content, KeptOnce):
        return content.put(directory)
    parts = [content] if isinstance(content, bytes) else file_parts(content)
    return FileRecord(name, _size(content), write_new(directory / name, parts))


def _size(content: bytes | Arrays | KeptOnce) -> int:
    """Bytes that have to be written."""
    if isinstance(content, KeptOnce):
        return content.missing
    return len(content) if isinstance(content, bytes) else file_size(content)


def _commit(path: Path, manifest: Mapping[str, Any], records: Mapping[str, FileRecord]) -> Commit:
    """The checkpoint that a manifest describes.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: If that is malformed.
    """
    joined, once = manifest["format"] != 1, next((name for name in records if name.startswith(FROZEN)), None)
    files = {}
    for component, found in manifest["components"].items():
        skeleton, arrays = (STATE, {False: None, True: ARRAYS}[found]) if joined else found
        names = (arrays, once if component == _OWNER else None)
        lists = [None if name is None else records[name] for name in names]
        files[component] = records[skeleton], lists[0], lists[1]
    rows = tuple(records[name] for name in sorted(records) if name.startswith(ROWS))
    return Commit(path, operator.index(manifest["seq"]), dict(manifest["info"].items()), files, joined, rows)


def checkpoint_names(checkpoints: Path) -> Iterator[str]:
    """Names of everything that looks like a checkpoint, newest first.

    Raises:
        CheckpointError: If the directory is a link, so that its checkpoints are somebody else's.
        OSError: If it cannot be read.
    """
    try:
        own_directory(checkpoints)
        names = [path.name for path in checkpoints.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise CheckpointError(f"{checkpoints}: {error.strerror}") from error
    yield from sorted(filter(_NAME.fullmatch, names), key=int, reverse=True)


def _open_listed(path: Path) -> Commit:
    """Open a checkpoint at its own place, where name and number must agree."""
    if path.is_symlink():
        raise CheckpointError(f"{path}: is a link")
    commit = open_commit(path)
    if path.name != f"{commit.seq:08d}":
        raise CheckpointError(f"{path}: holds the checkpoint {commit.seq:08d}")
    return commit


def _set_aside(path: Path) -> Path:
    target = path.with_name(f".bad-{path.name}")
    if os.path.lexists(target):
        target = target.with_name(f"{target.name}-{uuid4().hex[:8]}")
    path.rename(target)
    fsync_dir(path.parent)
    return target


def _failure(final: Path, needed: int, error: OSError) -> str:
    """Say what went wrong, how much space it takes, and which checkpoint there is to fall back on."""
    message = f"{final}: could not be written: {error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with contextlib.suppress(OSError):
            message += f"; it needs {needed} bytes, {_free_bytes(final.parent)} are free"
    with contextlib.suppress(OSError):
        newest = next(checkpoint_names(final.parent), None)
        message += f"; the newest checkpoint is {newest}" if newest else "; there is no older checkpoint"
    return message
