"""Reads a saved model or a checkpoint; every byte is verified before it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from emloop._state.commit import open_commit
from emloop._state.manifest import MANIFEST, FileRecord, file_records, read_manifest, read_verified
from emloop._state.tree import read_tree
from emloop._support.files import read_small
from emloop.errors import CheckpointError, SavedModelError, StateError
from emloop.types import StateTree

from .capsule import CAPSULE, Capsule

__all__ = ["FORMAT", "KIND", "PROGRAM", "WITH_FROZEN", "Saved", "open_saved", "require_format"]

T = TypeVar("T")

KIND, FORMAT, WITH_FROZEN = "saved model", 1, 2
PROGRAM = "program"
_OFFER = (
    "its source is in a capsule; --trust-source, in Python trust_source=True, lets it run, if you trust who made it"
)


@dataclass
class Saved:
    """A saved model or a checkpoint to restore a model from.

    Args:
        path: Its directory.
        kind: Which of the two it is.
        manifest: What :func:`write_saved_model` was given; for a checkpoint, its own manifest.
    """

    path: Path
    kind: Literal["saved model", "checkpoint"]
    manifest: dict[str, Any]

    def tree(self) -> StateTree:
        """Read the model's state tree; ``manifest`` is the one that belongs to it afterwards.

        Raises:
            SavedModelError: If a file is damaged, or a checkpoint holds no state of the model.
        """
        return _reading(self.path, self._read_tree)

    def state(self, backend: str, state_format: str) -> StateTree:
        """Read the state tree of a model of one particular backend, whose states are marked with its format.

        Raises:
            SavedModelError: As :meth:`tree`; or if it belongs to another backend.
        """
        self.require_backend(backend)
        return _reading(self.path, lambda: require_format(self._read_tree(), state_format))

    def program(self) -> Path | None:
        """Verify the model as data and return its directory; for a checkpoint, that of its run. ``None`` without one.

        Raises:
            SavedModelError: If a file is damaged.
        """
        if self.kind == "checkpoint":
            of_the_run = self.path.parent.parent / PROGRAM
            return of_the_run if of_the_run.is_dir() and not of_the_run.is_symlink() else None
        return _reading(self.path, self._verified_program)

    def capsule(self) -> tuple[Capsule, Path] | None:
        """Read the source capsule, and say where it lies; for a checkpoint, that of its run. ``None`` without one.

        Raises:
            SavedModelError: If it is damaged.
            UntrustedError: If a text in it has been changed, or would take the place of another's module.
        """
        if self.kind == "checkpoint":
            path = self.path.parent.parent / f"{CAPSULE}.json"
            return (Capsule.parse(read_small(path), str(path)), path) if path.is_file() else None
        content = _reading(self.path, self._verified_capsule)
        path = self.path / str(self.manifest.get(CAPSULE))
        return None if content is None else (Capsule.parse(content, str(path)), path)

    @property
    def offer(self) -> str:
        """How to have the source, where there is a capsule, for messages that say that it is missing; else empty."""
        of_the_run = self.kind == "checkpoint" and (self.path.parent.parent / f"{CAPSULE}.json").is_file()
        return _OFFER if of_the_run or self.manifest.get(CAPSULE) is not None else ""

    def exported(self, name: str) -> bytes:
        """Read a file of an exported model.

        Raises:
            SavedModelError: If there is no such file, or it is damaged.
        """
        return _reading(self.path, lambda: self._read_exported(name))

    def require_backend(self, backend: str) -> None:
        """Refuse a saved model of another backend; a checkpoint does not say whose it is.

        Raises:
            SavedModelError: If it belongs to another backend.
        """
        found = self.manifest.get("backend", backend)
        if found != backend:
            fallback = self.manifest.get("restore_fallback")
            hint = f"; {fallback} can restore it" if fallback else ""
            raise SavedModelError(f"{self.path}: saved by the backend {found!r}, not by {backend!r}{hint}")

    def _records(self) -> dict[str, FileRecord]:
        self.manifest = read_manifest(self.path)
        return file_records(self.manifest)

    def _read_tree(self) -> StateTree:
        if self.kind == "checkpoint":
            return open_commit(self.path).load("model")
        records = self._records()
        names = [*self.manifest["state"], None]  # the third may be missing
        arrays, lasting = (None if names[n] is None else records[names[n]] for n in (1, 2))
        return read_tree(self.path, records[names[0]], arrays, lasting=lasting)

    def _read_exported(self, name: str) -> bytes:
        records = self._records()
        if name not in self.manifest.get("exported", ()):
            raise CheckpointError(f"{self.path / MANIFEST}: exports no {name!r}")
        return read_verified(self.path, records[name])

    def _verified_capsule(self) -> bytes | None:
        records = self._records()
        name = self.manifest.get(CAPSULE)
        return None if name is None else read_verified(self.path, records[name])

    def _verified_program(self) -> Path | None:
        records = self._records()
        folder: str | None = self.manifest["program"]
        if folder is None:
            return None
        # Only a folder that holds named files can be trusted to lie inside.
        files = [record for name, record in records.items() if name.startswith(f"{folder}/")]
        if not files:
            raise CheckpointError(f"{self.path / MANIFEST}: names no file of {folder!r}")
        for record in files:
            read_verified(self.path, record)
        return self.path / folder


def open_saved(path: Path) -> Saved:
    """Open the saved model or checkpoint in a directory after checking its manifest and file sizes.

    Raises:
        SavedModelError: If it is neither, or damaged.
    """

    def read() -> Saved:
        manifest = read_manifest(path)
        found = (manifest.get("kind"), manifest.get("format"))
        if found in ((KIND, FORMAT), (KIND, WITH_FROZEN)):
            return Saved(path, "saved model", manifest)
        if found[0] == "checkpoint":
            open_commit(path)
            return Saved(path, "checkpoint", manifest)
        raise SavedModelError(
            f"{path / MANIFEST}: expected a {KIND} of format {FORMAT} or {WITH_FROZEN}, got {found[0]} "
            f"of format {found[1]}"
        )

    return _reading(path, read)


def require_format(state: StateTree, state_format: str) -> StateTree:
    """Return a model's state if its key ``format`` is the mark of a backend.

    Raises:
        StateError: If it is not.
    """
    found = state.get("format") if isinstance(state, Mapping) else None
    if found != state_format:
        raise StateError(f"expected a model's state of the format {state_format!r}, got {repr(found)[:40]}")
    return state


def _reading(path: Path, read: Callable[[], T]) -> T:
    """Call ``read``, again if the model was saved anew meanwhile, since that removes its old files."""
    while True:
        stamp = _stamp(path / MANIFEST)
        try:
            return read()
        except (CheckpointError, StateError, LookupError, TypeError) as error:
            if _stamp(path / MANIFEST) == stamp:
                raise SavedModelError(
                    f"{path} cannot be restored: {error}; take another saved model, or a checkpoint of its run"
                ) from error


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
