"""Saved models: writing, finding and verifying them; what all backends share.

::

    model_best/
      manifest.json             backend, restore_fallback, inputs and outputs, rung, names, sizes and hashes
      model-3fa1c2d4.json       the model's state tree …
      model-3fa1c2d4.safetensors    … and its arrays
      program/                  optional: the model as data, without weights
      model.onnx                an exported model: what other runtimes read

The manifest is replaced last, in one step, and names every file by its hash. So a model can be saved over an older one
at any time: whoever reads, also after a crash, finds the old or the new one, complete. A saved model depends on nothing
around it and works wherever it is copied.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from emloop import __version__
from emloop._state.commit import newest_commit, open_commit
from emloop._state.manifest import MANIFEST, FileRecord, file_records, read_manifest, read_verified, write_manifest
from emloop._state.tree import dump_tree, load_tree
from emloop._support.files import atomic_write, fsync_dir, sha256_of
from emloop.constants import EL_CHECKPOINTS_DIR
from emloop.errors import CheckpointError, ConfigError, SavedModelError, StateError
from emloop.types import Batch, StateTree

__all__ = [
    "Saved",
    "class_of_export",
    "describe_variables",
    "find_saved",
    "require_format",
    "saved_model_path",
    "write_saved_model",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_KIND, _FORMAT = "saved model", 1
_PREFIX, _BEST, _PROGRAM = "model_", "model_best", "program"

_OURS = re.compile(rf"model-[0-9a-f]{{8}}\.(json|safetensors)|{_PROGRAM}(-[0-9a-f]{{8}})?|\.tmp-.*")
"""Entries of a saved model's directory that may be removed; anything else was put there by somebody else."""


def saved_model_path(log_dir: str | Path, name_suffix: str) -> Path:
    """Where a model is saved under a run directory: ``<log_dir>/model_<name_suffix>``.

    Raises:
        ConfigError: If the suffix would lead elsewhere.
    """
    name = f"{_PREFIX}{name_suffix}"
    if Path(name).name != name or "\0" in name:
        raise ConfigError(f"a saved model's name must be a plain file name, got {name_suffix!r}")
    return Path(log_dir) / name


def describe_variables(batch: Batch) -> dict[str, dict[str, Any]]:
    """What a manifest says of inputs or outputs: name → ``dtype`` and ``shape``, whose first axis is ``None``."""
    arrays = {name: np.asarray(values) for name, values in batch.items()}
    return {name: {"dtype": str(array.dtype), "shape": [None, *array.shape[1:]]} for name, array in arrays.items()}


def write_saved_model(
    directory: str | Path,
    *,
    backend: str,
    restore_fallback: str | None,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    tree: StateTree,
    program: Path | None = None,
    rung: str,
    reason: str | None = None,
    extra: Mapping[str, Any] | None = None,
    exported: Mapping[str, bytes] | None = None,
) -> str:
    """Save a model, durably; one that was saved there before counts until the very last moment.

    Args:
        directory: Where, see :func:`saved_model_path`; created if need be.
        backend: Short name of the backend.
        restore_fallback: Full name of the class that restores it without the model's source, if there is one.
        inputs: Input name → what is known of it, see :func:`describe_variables`.
        outputs: Output name → what is known of it.
        tree: All that the model is and that its training depends on.
        program: Directory with the model as data, to be copied along.
        rung: How much of the model can do without its source; the backend's own word.
        reason: Why it is not more.
        extra: What else the backend wants to know when it restores the model, as JSON values.
        exported: Name → content of the files that another runtime reads. The names do not change with the content, so
            this needs a directory without a saved model. ``restore_fallback`` restores it then, and no other class.

    Returns:
        The directory.

    Raises:
        SavedModelError: If an exported model would be written over a saved one. Nothing was written.
        StateError: If the tree cannot be stored. Nothing was written.
        OSError: If it cannot be written. What was saved there before is untouched.
    """
    directory = Path(directory)
    if exported and os.path.lexists(directory / MANIFEST):
        raise SavedModelError(
            f"{directory}: there is a saved model already; an exported one needs a directory of its own"
        )
    skeleton, arrays = dump_tree(tree)
    stem = f"model-{_hash8(skeleton, arrays or b'')}"
    contents = {f"{stem}.json": skeleton}
    if arrays is not None:
        contents[f"{stem}.safetensors"] = arrays
    directory.mkdir(parents=True, exist_ok=True)
    fsync_dir(directory.parent)
    folder = None
    if program is not None:
        folder, copied = _program_files(program, directory)
        contents |= copied
    contents |= exported or {}
    records = [_put(directory, name, content) for name, content in contents.items()]
    description = {
        "format": _FORMAT,
        "kind": _KIND,
        "versions": {"python": platform.python_version(), "emloop": __version__, "numpy": np.__version__},
        "backend": backend,
        "restore_fallback": restore_fallback,
        "rung": rung,
        "reason": reason,
        "inputs": inputs,
        "outputs": outputs,
        "state": [f"{stem}.json", f"{stem}.safetensors" if arrays is not None else None],
        "program": folder,
        "exported": sorted(exported or ()),
        "extra": extra or {},
    }
    write_manifest(directory, description, records)
    read_manifest(directory)
    _remove_all_but(directory, {name.partition("/")[0] for name in contents})
    return str(directory)


@dataclass
class Saved:
    """A saved model, or a checkpoint, that a model can be restored from.

    Args:
        path: Its directory.
        kind: Which of the two it is.
        manifest: What :func:`write_saved_model` was given; of a checkpoint, its own.
    """

    path: Path
    kind: Literal["saved model", "checkpoint"]
    manifest: dict[str, Any]

    def tree(self) -> StateTree:
        """The model's state tree, every byte verified; ``manifest`` is then the one that belongs to it.

        Raises:
            SavedModelError: If a file is damaged, or a checkpoint holds no state of the model.
        """
        return _reading(self.path, self._read_tree)

    def state(self, backend: str, state_format: str) -> StateTree:
        """The same, of a model of one backend only, whose states say that they are of its format.

        Raises:
            SavedModelError: As for :meth:`tree`; or if it is another's.
        """
        self.require_backend(backend)
        return _reading(self.path, lambda: require_format(self._read_tree(), state_format))

    def program(self) -> Path | None:
        """Directory with the model as data, verified; for a checkpoint, the one of its run. ``None`` without one.

        Raises:
            SavedModelError: If a file is damaged.
        """
        if self.kind == "checkpoint":
            of_the_run = self.path.parent.parent / _PROGRAM
            return of_the_run if of_the_run.is_dir() else None
        return _reading(self.path, self._verified_program)

    def exported(self, name: str) -> bytes:
        """Content of a file of an exported model, verified.

        Raises:
            SavedModelError: If there is no such file, or it is damaged.
        """
        return _reading(self.path, lambda: self._read_exported(name))

    def require_backend(self, backend: str) -> None:
        """Make sure that a saved model is of a backend's own; a checkpoint does not say whose it is.

        Raises:
            SavedModelError: If it is another's.
        """
        found = self.manifest.get("backend", backend)
        if found != backend:
            fallback = self.manifest.get("restore_fallback")
            hint = f"; {fallback} can restore it" if fallback else ""
            raise SavedModelError(f"{self.path}: saved by the backend {found!r}, not by {backend!r}{hint}")

    def _read_tree(self) -> StateTree:
        if self.kind == "checkpoint":
            return open_commit(self.path).load("model")
        self.manifest = read_manifest(self.path)
        records = file_records(self.manifest)
        skeleton, arrays = self.manifest["state"][0], self.manifest["state"][1]
        return load_tree(
            read_verified(self.path, records[skeleton]),
            None if arrays is None else read_verified(self.path, records[arrays]),
        )

    def _read_exported(self, name: str) -> bytes:
        self.manifest = read_manifest(self.path)
        if name not in self.manifest.get("exported", ()):
            raise CheckpointError(f"{self.path / MANIFEST}: exports no {name!r}")
        return read_verified(self.path, file_records(self.manifest)[name])

    def _verified_program(self) -> Path | None:
        self.manifest = read_manifest(self.path)
        folder: str | None = self.manifest["program"]
        if folder is None:
            return None
        # Only a folder that holds named files can be trusted to lie inside.
        files = [record for name, record in file_records(self.manifest).items() if name.startswith(f"{folder}/")]
        if not files:
            raise CheckpointError(f"{self.path / MANIFEST}: names no file of {folder!r}")
        for record in files:
            read_verified(self.path, record)
        return self.path / folder


def find_saved(restore_from: str | Path) -> Saved:
    """The saved model or checkpoint that ``restore_from`` stands for.

    Args:
        restore_from: A saved model; a checkpoint; or a run, by its directory or its ``config.yaml``: then its saved
            model ``best``, else its only saved model, else its newest checkpoint.

    Raises:
        SavedModelError: If there is none, or it is damaged; says what is there.
    """
    path = Path(restore_from)
    if path.is_file() and (path.name == MANIFEST or path.suffix in (".yaml", ".yml")):
        path = path.parent
    if not path.is_dir():
        raise SavedModelError(
            f"{restore_from}: expected the directory of a saved model, a run or a checkpoint, but "
            + ("this is a file" if path.exists() else "there is none")
        )
    if not os.path.lexists(path / MANIFEST):
        path = _choose(path)
    return _reading(path, lambda: _understand(path, read_manifest(path)))


def class_of_export(restore_from: str | Path) -> str | None:
    """Full name of the class that alone restores what lies there, if that is an exported model; else ``None``."""
    if not os.path.lexists(Path(restore_from, MANIFEST)):
        return None
    try:
        manifest = find_saved(restore_from).manifest
    except SavedModelError:
        return None  # whoever is to restore it says what is wrong
    return manifest.get("restore_fallback") if manifest.get("exported") else None


def require_format(state: StateTree, state_format: str) -> StateTree:
    """A model's state, if its key ``format`` is the one with which a backend marks its own.

    Raises:
        StateError: If it is not.
    """
    found = state.get("format") if isinstance(state, Mapping) else None
    if found != state_format:
        raise StateError(f"expected a model's state of the format {state_format!r}, got {found!r}")
    return state


def _choose(run: Path) -> Path:
    """What a run offers to restore from; what was exported is not the run's."""
    saved = [path.parent for path in sorted(run.glob(f"{_PREFIX}*/{MANIFEST}")) if not class_of_export(path.parent)]
    if run / _BEST in saved:
        return run / _BEST
    if len(saved) == 1:
        return saved[0]
    commit, rejected = newest_commit(run / EL_CHECKPOINTS_DIR, set_aside=False)
    for _, reason in rejected:
        logger.warning("A damaged checkpoint is passed over: %s", reason)
    if commit is not None:
        return commit.path
    if saved:
        names = ", ".join(path.name for path in saved)
        raise SavedModelError(f"{run}: there are several saved models; name one of {names}")
    there = ", ".join(sorted(path.name for path in run.iterdir())) or "nothing"
    raise SavedModelError(f"{run}: no saved model and no checkpoint; there is {there}")


def _understand(path: Path, manifest: dict[str, Any]) -> Saved:
    found = (manifest.get("kind"), manifest.get("format"))
    if found == (_KIND, _FORMAT):
        return Saved(path, "saved model", manifest)
    if found[0] == "checkpoint":
        open_commit(path)
        return Saved(path, "checkpoint", manifest)
    raise SavedModelError(
        f"{path / MANIFEST}: expected a {_KIND} of format {_FORMAT}, got {found[0]} of format {found[1]}"
    )


def _reading(path: Path, read: Callable[[], T]) -> T:
    """What ``read`` returns; once more if the model was saved anew meanwhile, which takes its old files away."""
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


def _program_files(program: Path, directory: Path) -> tuple[str, dict[str, bytes]]:
    """The folder for a program, and its files with their names in the saved model.

    A folder whose content the present manifest vouches for is never changed; a different program gets another one.
    """
    files = {path.relative_to(program).as_posix(): path for path in sorted(program.rglob("[!.]*")) if path.is_file()}
    contents = {name: path.read_bytes() for name, path in files.items()}
    present = {
        record.name: record.sha256 for record in _present_files(directory) if record.name.startswith(f"{_PROGRAM}/")
    }
    wanted = {f"{_PROGRAM}/{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    folder = _PROGRAM
    if present and present != wanted:
        folder = f"{_PROGRAM}-{_hash8(*(wanted[name].encode() for name in wanted))}"
    return folder, {f"{folder}/{name}": content for name, content in contents.items()}


def _present_files(directory: Path) -> list[FileRecord]:
    try:
        return list(file_records(read_manifest(directory)).values())
    except (CheckpointError, KeyError, TypeError, ValueError):
        return []


def _put(directory: Path, name: str, content: bytes) -> FileRecord:
    """Write a file whose name promises its content, unless it is there."""
    path = directory / name
    digest = hashlib.sha256(content).hexdigest()
    if not path.is_file() or path.is_symlink() or sha256_of(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    return FileRecord(name, len(content), digest)


def _remove_all_but(directory: Path, names: set[str]) -> None:
    """Remove what an older saved model, or a save that was killed, has left."""
    for path in (*directory.glob(f"{_PROGRAM}*/.tmp-*"), *directory.iterdir()):
        if path.name not in names and _OURS.fullmatch(path.name):
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            except OSError as error:
                logger.warning("A file of an older saved model cannot be removed: %s", error)
    fsync_dir(directory)


def _hash8(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()[:8]
