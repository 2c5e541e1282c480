"""Whatever a power cut leaves of a commit: what was acknowledged is there, and nothing torn looks like a checkpoint."""

from __future__ import annotations

import shutil
from hashlib import sha256

import numpy as np
import pytest
from tests.crash_states import Recorder, crash_states

from emloop._state import commit as commit_module
from emloop._state.array_file import file_parts
from emloop._state.commit import list_commits, newest_commit, write_commit
from emloop._state.manifest import MANIFEST, FileRecord, render_manifest
from emloop._state.retention import clean_leftovers, delete_commits
from emloop._state.tree import Lasting, equal_trees
from emloop._support import files


def recorded(root, state):
    """Three commits and what retention does meanwhile."""
    (root / "checkpoints").mkdir(parents=True)
    write_commit(root / "checkpoints", 1, state(1), {})
    write_commit(root / "checkpoints", 2, state(2), {})
    recorder = Recorder(root)
    with recorder.recording():
        for seq in (3, 4):
            write_commit(root / "checkpoints", seq, state(seq), {})
            recorder.mark(seq)
            delete_commits(list_commits(root / "checkpoints")[2:])
    return recorder


def complaint(directory, crash, state):
    """What is wrong with a state that a crash has left, once it is there; ``None`` if nothing is."""
    checkpoints = directory / "checkpoints"
    found, rejected = newest_commit(checkpoints, set_aside=False)
    if rejected:
        return f"torn: {rejected[0][1]}"
    if found is None or found.seq < max(crash.marks, default=2):
        return f"commit {max(crash.marks, default=2)} was acknowledged and is lost"
    if not equal_trees(state(found.seq), found.states()):
        return f"commit {found.seq} holds another state"
    clean_leftovers(checkpoints, found.seq)
    write_commit(checkpoints, found.seq + 1, state(found.seq + 1), {})
    if wrong := [path.name for path in checkpoints.iterdir() if path.name.startswith(".")]:
        return f"left behind: {wrong}"
    return None


def complaints(root, state, tmp_path):
    """Those of all states; each state is looked at."""
    for number, crash in enumerate(crash_states(recorded(root, state))):
        directory = tmp_path / "state"
        crash.build(directory)
        found = complaint(directory, crash, state)
        shutil.rmtree(directory)
        yield number, found and f"{crash.at}, {crash.what}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("has_base", [False, True], ids=["plain", "on a frozen base"])
def test_every_state_that_a_power_cut_may_leave_is_sound(tmp_path, state, has_base):
    """Of two commits and two deletions: names and writes present, absent, torn, zero and in any order.

    A frozen base is linked by the first of the two, and another one by the second.
    """

    def at(seq):
        base = {"base": np.full(9000, float(seq > 3)).view(Lasting)} if has_base else {}
        return {**state(seq), "model": {**state(seq)["model"], **base}}

    found = [found for _, found in complaints(tmp_path / "run", at, tmp_path)]

    assert [complaint for complaint in found if complaint] == []
    assert len(found) > 100


def without_sync(monkeypatch):
    for module, name in ((files, "sync"), (files, "fsync_dir"), (commit_module, "fsync_dir")):
        monkeypatch.setattr(module, name, lambda path: None)


def without_directory_sync(monkeypatch):
    monkeypatch.setattr(commit_module, "fsync_dir", lambda path: None)


def with_manifest_first(monkeypatch):
    def write(final, contents, header, _rows):
        final.mkdir()
        parts = {
            name: part if isinstance(part, bytes) else b"".join(file_parts(part)) for name, part in contents.items()
        }
        records = {name: FileRecord(name, len(part), sha256(part).hexdigest()) for name, part in parts.items()}
        for name, part in {MANIFEST: render_manifest(header, records.values()), **parts}.items():
            files.write_new(final / name, [part])
        files.fsync_dir(final)
        files.fsync_dir(final.parent)
        return records

    monkeypatch.setattr(commit_module, "_write", write)


@pytest.mark.slow
@pytest.mark.parametrize("plant", [without_sync, without_directory_sync, with_manifest_first])
def test_a_planted_mistake_is_found(tmp_path, state, monkeypatch, plant):
    """What the test above would say of a protocol without syncs, or with the manifest first."""
    plant(monkeypatch)

    assert any(found for _, found in complaints(tmp_path / "run", state, tmp_path))
