"""What was committed is there, whole, and the newest good one is found."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from emloop._state.commit import list_commits, newest_commit, open_commit, write_commit
from emloop._state.manifest import FileRecord, render_manifest
from emloop._state.tree import dump_tree, equal_trees
from emloop._support.files import write_new
from emloop.errors import CheckpointError, StateError


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_checkpoint_gives_back_what_it_was_given(checkpoints, commit, state):
    """States, information and number, from the commit itself as from another process's view of the directory."""
    written = commit(3)
    read = open_commit(checkpoints / "00000003")

    assert written == read
    assert (read.seq, read.info) == (3, {"epoch": 3, "files": []})
    assert read.components == ("loop", "model", "hooks/SaveBest", "streams/train")
    assert all(equal_trees(tree, read.load(component)) for component, tree in state(3).items())


def test_a_checkpoint_is_a_few_readable_files(checkpoints, commit):
    """JSON for all components, safetensors for their arrays, and nothing left beside the checkpoint."""
    commit(12)

    assert names(checkpoints) == ["00000012"]
    assert names(checkpoints / "00000012") == ["manifest.json", "state.json", "state.safetensors"]


def test_equal_states_are_equal_files(checkpoints, state):
    """Two runs that ended the same can be compared by their files."""
    first, second = (write_commit(checkpoints, seq, state(7), {}) for seq in (1, 2))

    assert first.files == second.files


def test_a_component_may_have_any_name(checkpoints):
    """Names of hooks are the user's, and may look like anything."""
    components = {
        name: {"name": name, "w": np.ones(1)} for name in ("hooks/ä b", "hooks/ä-b", "HOOKS/-b", "..", "/", "")
    }
    components |= {"$": {"$": b"1"}, "$x": 2, "x" * 300: 3, "~1": np.ones(2), "array": np.ones(3)}

    read = open_commit(write_commit(checkpoints, 1, components, {}).path)

    assert all(equal_trees(tree, read.load(name)) for name, tree in components.items())
    assert equal_trees(components, read.states())


def test_information_comes_back_as_json(checkpoints):
    """From the writing process as from the reading one."""
    written = write_commit(checkpoints, 1, {}, {"shape": (2, 3), "by_epoch": {1: "a"}})

    assert {"shape": [2, 3], "by_epoch": {"1": "a"}} == written.info == open_commit(written.path).info


def test_checkpoints_are_listed_newest_first_by_number(checkpoints, commit):
    """Neither the order of names nor the time of writing counts, and nothing else in the directory does."""
    for seq in (9, 100_000_001, 10, 99_999_999):
        commit(seq)
    for other in (".tmp-00000099-1-ab", ".bad-00000098", "old-00000097", "00000096.bak", "0000009", "notes"):
        shutil.copytree(checkpoints / "00000010", checkpoints / other)

    assert [commit.seq for commit in list_commits(checkpoints)] == [100_000_001, 99_999_999, 10, 9]


def test_a_run_without_checkpoints_has_no_newest_one(checkpoints):
    """Whether the directory is missing or empty."""
    assert list_commits(checkpoints) == []
    assert newest_commit(checkpoints, set_aside=True) == (None, [])
    checkpoints.mkdir()
    assert newest_commit(checkpoints, set_aside=True) == (None, [])


def test_a_state_that_cannot_be_stored_is_named_and_nothing_is_written(checkpoints, commit):
    """Component and place; the disk is not touched."""
    commit(1)

    with pytest.raises(StateError) as caught:
        write_commit(checkpoints, 2, {"loop": {}, "hooks/Mine": {"seen": [{1}]}}, {})

    assert str(caught.value).startswith("state of hooks/Mine: /seen/0: a set cannot be stored; ")
    assert names(checkpoints) == ["00000001"]


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("info", [{"loss": float("nan")}, {"path": object()}, {"deep": nested(70)}, {(1, 2): 3}])
def test_information_that_is_not_json_is_refused_before_anything_is_written(checkpoints, info):
    """A checkpoint that could not be read is not written."""
    with pytest.raises(StateError, match=r"manifest\.json: "):
        write_commit(checkpoints, 1, {}, info)

    assert not checkpoints.exists()


def test_two_states_cannot_have_one_number(checkpoints, commit):
    """The committed one stays as it is."""
    commit(4)

    with pytest.raises(CheckpointError) as caught:
        commit(4)

    assert str(caught.value) == (
        f"{checkpoints / '00000004'}: could not be written: there is an intact checkpoint of this number; "
        "the newest checkpoint is 00000004"
    )
    assert names(checkpoints) == ["00000004"]
    open_commit(checkpoints / "00000004").verify()


def test_a_damaged_checkpoint_does_not_block_its_number(checkpoints, commit, caplog):
    """It is set aside, kept and named, and the new one takes its place; again and again."""
    for _ in range(2):
        (commit(4).path / "state.json").write_text("{}")
        with caplog.at_level(logging.WARNING):
            commit(4)
        open_commit(checkpoints / "00000004").verify()
        shutil.rmtree(checkpoints / "00000004")

    assert caplog.messages[0].startswith("A damaged checkpoint is in the way and is set aside as .bad-00000004: ")
    assert len(names(checkpoints)) == 2
    assert all(name.startswith(".bad-00000004") for name in names(checkpoints))


def test_a_full_disk_is_noticed_before_writing(checkpoints, commit, monkeypatch):
    """The message says how much is needed, how much there is, and what one can fall back on."""
    commit(1)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=3, f_frsize=4096, f_blocks=10))

    with pytest.raises(CheckpointError) as caught:
        commit(2)

    assert caught.value.__cause__.errno == errno.ENOSPC
    assert re.fullmatch(
        rf"{checkpoints}/00000002: could not be written: \[Errno 28\] No space left on device; "
        r"it needs 10\d{5} bytes, 12288 are free; the newest checkpoint is 00000001",
        str(caught.value),
    )
    assert names(checkpoints) == ["00000001"]


def test_a_file_system_that_does_not_know_its_size_is_given_a_try(checkpoints, commit, monkeypatch):
    """Some network file systems report 0 bytes of 0."""
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=0, f_frsize=0, f_blocks=0))

    commit(1).verify()


def test_a_missing_run_directory_is_an_error(tmp_path, state):
    """Nobody's directories are invented."""
    with pytest.raises(CheckpointError, match=r"No such file or directory: .*; there is no older checkpoint"):
        write_commit(tmp_path / "gone" / "checkpoints", 1, state(1), {})


def test_a_component_that_is_not_there_is_an_error_that_lists_those_that_are(commit):
    """As after a hook was added to the configuration."""
    with pytest.raises(CheckpointError) as caught:
        commit(1).load("hooks/New")

    assert str(caught.value).endswith(
        "/00000001: no state of 'hooks/New'; there is loop, model, hooks/SaveBest, streams/train"
    )


def test_a_checkpoint_can_be_read_where_nothing_may_be_written(checkpoints, commit, monkeypatch):
    """Listing and evaluating only ever open files for reading."""
    commit(1)
    open_file = os.open

    def reading_only(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EROFS, "Read-only file system", path)
        return open_file(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", reading_only)
    newest, rejected = newest_commit(checkpoints, set_aside=False)

    assert (newest.seq, rejected) == (1, [])
    assert newest.load("loop") == {"epochs_done": 1}


def test_want_of_permission_does_not_condemn_a_checkpoint(checkpoints, commit, monkeypatch):
    """What cannot be read now is not taken for damaged, let alone set aside for an older one."""
    commit(1)
    commit(2)
    open_file = os.open

    def out_of_descriptors(path, *args, **kwargs):
        if str(path).endswith("state.json"):
            raise OSError(errno.EMFILE, "Too many open files")
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", out_of_descriptors)

    with pytest.raises(OSError, match=r"Too many open files: .*00000002/state\.json"):
        newest_commit(checkpoints, set_aside=True)
    assert names(checkpoints) == ["00000001", "00000002"]


def test_a_checkpoint_of_the_first_format_is_read(checkpoints, commit, state):
    """Each of its components has files of its own."""
    commit(2)
    folder, names_of, records = checkpoints / "00000001", {}, []
    folder.mkdir()
    for component, tree in state(1).items():
        stem = component.replace("/", ".")
        parts = dict(zip((f"{stem}.json", f"{stem}.safetensors"), dump_tree(tree), strict=True))
        written = {name: content for name, content in parts.items() if content is not None}
        records += [
            FileRecord(name, len(content), write_new(folder / name, [content])) for name, content in written.items()
        ]
        names_of[component] = [name if name in written else None for name in parts]
    header = {"format": 1, "kind": "checkpoint", "seq": 1, "info": {"epoch": 1}, "components": names_of}
    (folder / "manifest.json").write_bytes(render_manifest(header, records))

    newest, older = list_commits(checkpoints)

    assert (newest.seq, older.seq, older.info) == (2, 1, {"epoch": 1})
    assert older.bytes == sum(record.bytes for record in records)
    assert equal_trees(state(1), older.states())
    assert all(equal_trees(tree, older.load(name)) for name, tree in state(1).items())
    older.read_back()
    (folder / "model.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"00000001/model\.json"):
        open_commit(folder)


@pytest.mark.parametrize("nothing_of_it", ["loop", "streams/train"])
def test_a_component_without_arrays_is_read_without_those_of_others(commit, nothing_of_it):
    """The position of a stream costs no reading of a model."""
    made = commit(1)
    (made.path / "state.safetensors").unlink()

    assert made.load(nothing_of_it)
    with pytest.raises(CheckpointError):
        made.load("model")


@pytest.mark.parametrize(("info", "found"), [({}, "None"), ({"epoch": "1"}, "'1'"), ({"epoch": [1] * 99}, "[1, 1")])
def test_information_that_is_not_what_it_should_be_is_an_error(checkpoints, info, found):
    """Where it stands, what was expected and the beginning of what was found."""
    made = write_commit(checkpoints, 1, {}, info)

    with pytest.raises(CheckpointError) as caught:
        made.entry("epoch", int)

    assert str(caught.value).startswith(f"{made.path}/manifest.json: info.epoch: expected int, got {found}")
    assert len(str(caught.value)) < len(str(made.path)) + 100
