"""Every state in which a crash may leave a directory, made from a record of how it was written.

:class:`Recorder` notes what a piece of code does to the files below a directory. :func:`crash_states` then enumerates
what a file system may have on the disk after a power cut at any point of it. The model is that of *all file systems are
not created equal* (Pillai et al., OSDI 2014), and harsher than any journal: what was not synced, a write as well as a
name, may be there or not, in any order; of a write half may be there, or zeros in its place.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_ON_DESCRIPTORS = ("write", "ftruncate", "fsync", "close")
_ON_PATHS = ("open", "mkdir", "link", "rename", "replace", "unlink", "rmdir")


@dataclass(frozen=True)
class Operation:
    """Something done to a file or a folder.

    Args:
        kind: ``write``, ``cut``, ``link``, ``unlink``, ``rename``, ``sync`` or ``mark``.
        node: The file or folder that changes, or is synced.
        arguments: What else there is to know.
    """

    kind: str
    node: int
    arguments: tuple[Any, ...] = ()


@dataclass
class Recorder:
    """Records all that this process does below a directory.

    Args:
        root: The directory; what lies in it already belongs to every state.
    """

    root: Path
    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[int, Path] = {}
        self._numbers = itertools.count()
        self._nodes: dict[Path, int] = {self.root: next(self._numbers)}
        for path in sorted(self.root.rglob("*")):
            self._link(path)
            if path.is_file():
                self._note("write", path, 0, path.read_bytes())
        self.found, self.operations = self.operations, []

    def mark(self, value: Any) -> None:
        """Note that something is known from here on."""
        with self._lock:
            self.operations.append(Operation("mark", 0, (value,)))

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Record for the duration of the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in _ON_DESCRIPTORS:
                patch.setattr(os, name, functools.partial(self._on_descriptor, name, getattr(os, name)))
            for name in _ON_PATHS:
                patch.setattr(os, name, functools.partial(self._on_path, name, getattr(os, name)))
            yield self

    def _on_descriptor(self, name: str, function: Any, descriptor: int, *arguments: Any) -> Any:
        with self._lock:
            path = self._open.get(descriptor)
            # Whatever emloop writes is appended: new files and rows.
            offset = os.fstat(descriptor).st_size if path and name == "write" else 0
            result = function(descriptor, *arguments)
            if path and name == "write":
                self._note("write", path, offset, bytes(memoryview(arguments[0])[:result]))
            elif path and name == "ftruncate":
                self._note("cut", path, *arguments)
            elif path and name == "fsync":
                self._note("sync", path)
            elif path:
                del self._open[descriptor]
            return result

    def _on_path(self, name: str, function: Any, *arguments: Any, **keywords: Any) -> Any:
        with self._lock:
            start = self._open.get(keywords.get("dir_fd") or -1, Path.cwd())
            path = start / os.fsdecode(arguments[0])
            was_there = os.path.lexists(path)
            result = function(*arguments, **keywords)
            if path.is_relative_to(self.root):
                if name == "open":
                    self._open[result] = path
                if name == "mkdir" or (name == "open" and arguments[1] & os.O_CREAT and not was_there):
                    self._link(path)
                elif name in ("unlink", "rmdir"):
                    self._note("unlink", path.parent, path.name)
                    del self._nodes[path]
                elif name == "link":
                    self._link(start / os.fsdecode(arguments[1]), self._nodes[path])
                elif name in ("rename", "replace"):
                    self._move(path, start / os.fsdecode(arguments[1]))
            return result

    def _move(self, path: Path, target: Path) -> None:
        assert path.parent == target.parent, "emloop moves nothing from one folder to another"
        for place in [place for place in self._nodes if place.is_relative_to(path)]:
            self._nodes[target / place.relative_to(path)] = self._nodes.pop(place)
        for descriptor, place in self._open.items():
            if place.is_relative_to(path):
                self._open[descriptor] = target / place.relative_to(path)
        self._note("rename", path.parent, path.name, target.name, self._nodes[target])

    def _link(self, path: Path, node: int | None = None) -> None:
        self._nodes[path] = next(self._numbers) if node is None else node
        self._note("link", path.parent, path.name, self._nodes[path], path.is_dir())

    def _note(self, kind: str, path: Path, *arguments: Any) -> None:
        self.operations.append(Operation(kind, self._nodes[path], arguments))


@dataclass(frozen=True)
class CrashState:
    """What may be on the disk.

    Args:
        at: Number of the operation before which the crash came.
        marks: What :meth:`Recorder.mark` was told before.
        files: Path → content; ``None`` for a folder.
        what: What is missing, in words.
    """

    at: int
    marks: tuple[Any, ...]
    files: dict[str, bytes | None]
    what: str

    def build(self, directory: Path) -> None:
        """Make it."""
        directory.mkdir(parents=True)
        for name, content in sorted(self.files.items()):
            if content is None:
                (directory / name).mkdir()
            else:
                (directory / name).write_bytes(content)


def crash_states(recorder: Recorder) -> Iterator[CrashState]:
    """All different states in the order of the crash; each with what was marked before the crash."""
    seen = set()
    operations = recorder.operations
    for at in range(len(operations) + 1):
        marks = tuple(operation.arguments[0] for operation in operations[:at] if operation.kind == "mark")
        for chosen, what in _choices(operations[:at]):
            files = _files([*recorder.found, *chosen])
            key = hash((marks[-1:], frozenset(files.items())))
            if key not in seen:
                seen.add(key)
                yield CrashState(at, marks, files, what)


def _choices(done: list[Operation]) -> Iterator[tuple[list[Operation], str]]:
    """What may be left of some operations: those that were synced, and some of the others."""
    synced, pending = set(), []
    for index in range(len(done) - 1, -1, -1):
        operation = done[index]
        if operation.kind == "sync":
            synced.add(operation.node)
        elif operation.kind != "mark" and operation.node not in synced:
            pending.append(index)
    pending.reverse()
    changing = [index for index, operation in enumerate(done) if operation.kind not in ("sync", "mark")]
    durable = [index for index in changing if index not in set(pending)]

    def left(kept: list[int], **changed: Operation) -> list[Operation]:
        return [changed.get(str(index), done[index]) for index in sorted([*durable, *kept])]

    for end in range(len(pending) + 1):
        yield left(pending[:end]), f"all from {end} of {len(pending)} pending"
        yield left(pending[:end] + pending[end + 1 :]), f"{done[pending[end]].kind} {end}" if end < len(pending) else ""
        yield left(pending[end : end + 1]), f"all but pending {end}"
    for torn in (index for index in pending if done[index].kind == "write"):
        node, (offset, content) = done[torn].node, done[torn].arguments
        for part in (content[: len(content) // 2], bytes(len(content))):
            yield left(pending, **{str(torn): Operation("write", node, (offset, part))}), "a write is torn or zero"
    yield left([index for index in pending if done[index].kind != "write"]), "names without writes"
    yield left([index for index in pending if done[index].kind in ("write", "cut")]), "writes without names"


def _files(operations: list[Operation]) -> dict[str, bytes | None]:
    """Path → content after some operations."""
    entries: dict[int, dict[str, int]] = {0: {}}
    contents: dict[int, bytearray] = {}
    for operation in operations:
        node, arguments = operation.node, operation.arguments
        if operation.kind == "link":
            name, child, is_folder = arguments
            entries.setdefault(node, {})[name] = child
            if is_folder:
                entries.setdefault(child, {})
        elif operation.kind == "unlink":
            entries.setdefault(node, {}).pop(arguments[0], None)
        elif operation.kind == "rename":
            folder = entries.setdefault(node, {})
            folder.pop(arguments[0], None)
            folder[arguments[1]] = arguments[2]
        elif operation.kind == "cut":
            content = contents.setdefault(node, bytearray())
            del content[arguments[0] :]
            content.extend(bytes(arguments[0] - len(content)))
        else:
            content, (offset, part) = contents.setdefault(node, bytearray()), arguments
            content.extend(bytes(max(offset - len(content), 0)))
            content[offset : offset + len(part)] = part
    found: dict[str, bytes | None] = {}

    def walk(node: int, path: str) -> None:
        for name, child in entries[node].items():
            if child in entries:
                found[f"{path}{name}"] = None
                walk(child, f"{path}{name}/")
            else:
                found[f"{path}{name}"] = bytes(contents.get(child, b""))

    walk(0, "")
    return found
