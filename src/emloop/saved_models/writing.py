"""Writes saved models, so that readers find the old or the new one at any instant."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from emloop import __version__
from emloop._state.array_file import file_parts
from emloop._state.kept_once import FROZEN, KeptOnce
from emloop._state.manifest import MANIFEST, FileRecord, file_records, read_manifest, write_manifest
from emloop._state.retention import delete_leftover
from emloop._state.strict_json import dump
from emloop._state.tree import encode_tree
from emloop._support.files import atomic_write, fsync_dir, own_directory, sha256_of, write_new
from emloop.errors import CheckpointError, ConfigError, SavedModelError
from emloop.types import StateTree

from .capsule import CAPSULE, Capsule
from .reading import FORMAT, KIND, PROGRAM, WITH_FROZEN, open_saved

__all__ = ["replace_program", "saved_model_path", "write_saved_model"]

_OURS = re.compile(
    rf"model-[0-9a-f]{{8}}\.(json|safetensors)|{FROZEN}[0-9a-f]{{16}}\.safetensors|"
    rf"{CAPSULE}-[0-9a-f]{{8}}\.json|{PROGRAM}(-[0-9a-f]{{8}})?|\.tmp-.*"
)
"""Entries of a saved model's directory that may be removed; anything else is not ours."""

_read_back: set[Path] = set()
"""Where this process has saved a model, and read all of it again: what cannot be restored fails at the first save."""


def saved_model_path(log_dir: str | Path, name_suffix: str) -> Path:
    """Path of a saved model in a run directory: ``<log_dir>/model_<name_suffix>``.

    Raises:
        ConfigError: If the suffix would lead elsewhere.
    """
    name = f"model_{name_suffix}"
    if Path(name).name != name or "\0" in name:
        raise ConfigError(f"a saved model's name must be a plain file name, got {name_suffix!r}")
    return Path(log_dir) / name


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
    weights: Mapping[str, str] | None = None,
    capsule: Capsule | None = None,
) -> str:
    """Save a model durably; one that was saved there before stays valid until the very last moment.

    Args:
        directory: Where to save it, see :func:`saved_model_path`; created if missing.
        backend: Short name of the backend.
        restore_fallback: Full name of the class that restores it without the model's source, if any.
        inputs: Input name → its description, see :func:`~emloop.saved_models.describe_variables`.
        outputs: Output name → its description.
        tree: The model's state tree: all that its outputs and its training depend on. What of it is
            :class:`Lasting` the run keeps once.
        program: Directory with the model as data, to be copied along.
        rung: How much of the model works without its source, in the backend's own word.
        reason: Why it is not more.
        extra: Whatever else the backend needs to restore the model, as JSON values.
        exported: Name → content of the files that another runtime reads. The names do not depend on the content, so
            this needs a directory without a saved model. Only ``restore_fallback`` restores it then, no other class.
        weights: Variable → the output or source that weighs it.
        capsule: The texts of the project's own modules; not for exported models.

    Returns:
        The directory.

    Raises:
        SavedModelError: If an exported model would be written over a saved one, and nothing was written; or if what
            this process saves there first cannot be read again.
        StateError: If the tree cannot be stored. Nothing was written.
        OSError: If it cannot be written, or the directory is a link. What was saved there before is untouched.
    """
    directory = Path(directory)
    if exported and os.path.lexists(directory / MANIFEST):
        raise SavedModelError(
            f"{directory}: there is a saved model already; an exported one needs a directory of its own"
        )
    encoded = encode_tree(tree)
    arrays, lasting = encoded.divided()
    own_directory(directory)
    directory.mkdir(parents=True, exist_ok=True)
    fsync_dir(directory.parent)
    folder, contents = (None, {}) if program is None else _program_files(program, directory)
    contents |= exported or {}
    enclosed = None
    if capsule is not None:
        enclosed = f"{CAPSULE}-{_hash8(capsule.content())}.json"
        contents[enclosed] = capsule.content()
    once = [KeptOnce(lasting, directory.parent).put(directory)] if lasting else []
    records = _put_state(
        directory, {"json": [dump(encoded.skeleton)], **({"safetensors": file_parts(arrays)} if arrays else {})}
    )
    state = [*(record.name for record in records), None][:2] + [record.name for record in once]
    records += [*once, *(_put(directory, name, content) for name, content in contents.items())]
    description = {
        "format": WITH_FROZEN if lasting else FORMAT,
        "kind": KIND,
        "versions": {"python": platform.python_version(), "emloop": __version__, "numpy": np.__version__},
        "backend": backend,
        "restore_fallback": restore_fallback,
        "rung": rung,
        "reason": reason,
        "inputs": inputs,
        "outputs": outputs,
        "weights": dict(weights or {}),
        "state": state,
        "program": folder,
        "exported": sorted(exported or ()),
        CAPSULE: enclosed,
        "extra": extra or {},
    }
    write_manifest(directory, description, records)
    if directory.resolve() in _read_back:
        read_manifest(directory)
    else:
        saved = open_saved(directory)
        saved.tree()
        saved.program()
        _read_back.add(directory.resolve())
    _remove_all_but(directory, {record.name.partition("/")[0] for record in records})
    return str(directory)


def replace_program(
    directory: str | Path, program: Path, *, rung: str, reason: str | None, extra: Mapping[str, Any]
) -> None:
    """Give a saved model another program, in one step; its state stays.

    Args:
        directory: The saved model.
        program: Directory with the program, to be copied.
        rung: How much of the model works without its source now.
        reason: Why it is not more.
        extra: Entries of the manifest's ``extra`` to replace.

    Raises:
        CheckpointError: If it is damaged.
        OSError: If it cannot be written, or the directory is a link. What was saved there before is untouched.
    """
    directory = Path(directory)
    own_directory(directory)
    manifest = read_manifest(directory)
    records = file_records(manifest)
    kept = [record for name, record in records.items() if not name.startswith(f"{manifest['program']}/")]
    folder, contents = _program_files(program, directory)
    kept += [_put(directory, name, content) for name, content in contents.items()]
    description = {key: value for key, value in manifest.items() if key not in ("files", "sha256")}
    changed = {"rung": rung, "reason": reason, "program": folder, "extra": {**manifest["extra"], **extra}}
    write_manifest(directory, {**description, **changed}, kept)
    _remove_all_but(directory, {record.name.partition("/")[0] for record in kept})


def _program_files(program: Path, directory: Path) -> tuple[str, dict[str, bytes]]:
    """Choose the folder for a program, and name its files in the saved model.

    A folder vouched for by the present manifest is never changed; a different program gets another one.
    """
    files = {path.relative_to(program).as_posix(): path for path in sorted(program.rglob("[!.]*")) if path.is_file()}
    contents = {name: path.read_bytes() for name, path in files.items()}
    present = {}
    with suppress(CheckpointError, KeyError, TypeError, ValueError):
        records = file_records(read_manifest(directory)).values()
        present = {record.name: record.sha256 for record in records if record.name.startswith(f"{PROGRAM}/")}
    wanted = {f"{PROGRAM}/{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    folder = PROGRAM
    if present and present != wanted:
        folder = f"{PROGRAM}-{_hash8(*(wanted[name].encode() for name in wanted))}"
    return folder, {f"{folder}/{name}": content for name, content in contents.items()}


def _put_state(directory: Path, parts: Mapping[str, Iterable[bytes | memoryview]]) -> list[FileRecord]:
    """Write the files of a state, named by what is in them, which is known once they are written."""
    aside = {kind: directory / f".tmp-{os.getpid()}-{uuid4().hex[:12]}" for kind in parts}
    try:
        digests = {kind: write_new(aside[kind], content) for kind, content in parts.items()}
        stem = f"model-{_hash8(*map(str.encode, digests.values()))}"
        records = [FileRecord(f"{stem}.{k}", aside[k].stat().st_size, digest) for k, digest in digests.items()]
        for path, record in zip(aside.values(), records, strict=True):
            path.replace(directory / record.name)
    except BaseException:
        for path in aside.values():
            path.unlink(missing_ok=True)
        raise
    fsync_dir(directory)
    return records


def _put(directory: Path, name: str, content: bytes) -> FileRecord:
    """Write a file whose name promises its content, unless it is there already."""
    path = directory / name
    digest = hashlib.sha256(content).hexdigest()
    for folder in path.relative_to(directory).parents[:-1]:
        own_directory(directory / folder)
    if not path.is_file() or path.is_symlink() or sha256_of(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    return FileRecord(name, len(content), digest)


def _remove_all_but(directory: Path, names: set[str]) -> None:
    """Remove what an older saved model, or a killed save, left behind."""
    for path in (*directory.glob(f"{PROGRAM}*/.tmp-*"), *directory.iterdir()):
        if path.name not in names and _OURS.fullmatch(path.name) and not path.parent.is_symlink():
            delete_leftover(path)
    fsync_dir(directory)


def _hash8(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(contents)).hexdigest()[:8]
