"""Old checkpoints go, the newest stay, and a crash while deleting leaves nothing that looks like one."""

from __future__ import annotations

import errno
import logging
import os
import shutil

import pytest

from emloop._state.commit import list_commits, newest_commit
from emloop._state.retention import clean_leftovers, delete_commits


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def retain(checkpoints):
    """Delete all but the newest two."""
    delete_commits(list_commits(checkpoints)[2:])


def test_what_is_given_goes_and_nothing_else(checkpoints, commit):
    """Neither other commits nor what is damaged, and nothing has to be read for it."""
    commits = [commit(seq) for seq in range(1, 6)]
    (checkpoints / "00000003" / "state.json").unlink()
    (checkpoints / "00000009").mkdir()
    (checkpoints / ".bad-00000008").mkdir()
    for made in commits[:2]:
        (made.path / "manifest.json").write_text("not looked at")

    delete_commits(commits[:2])

    assert names(checkpoints) == [".bad-00000008", "00000003", "00000004", "00000005", "00000009"]


def test_a_crash_while_deleting_leaves_no_half_checkpoint(checkpoints, commit, monkeypatch):
    """It is renamed before the first of its files goes, and the first one is its manifest."""
    for seq in range(1, 4):
        commit(seq)
    renamed_when_deleted = []

    class PowerCut(BaseException):
        pass

    def cut(path):
        renamed_when_deleted.append((path.name[:13], names(checkpoints)[1:]))
        assert not (path / "manifest.json").exists()
        raise PowerCut

    monkeypatch.setattr(shutil, "rmtree", cut)
    with pytest.raises(PowerCut):
        retain(checkpoints)
    monkeypatch.undo()

    assert renamed_when_deleted == [(".del-00000001", ["00000002", "00000003"])]
    assert newest_commit(checkpoints, set_aside=False)[1] == []
    clean_leftovers(checkpoints)
    assert names(checkpoints) == ["00000002", "00000003"]


def test_what_cannot_be_deleted_stays_with_a_warning(checkpoints, commit, monkeypatch, caplog):
    """A training does not end because an old checkpoint will not go."""
    for seq in range(1, 4):
        commit(seq)

    def failing(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "rename", failing)
    with caplog.at_level(logging.WARNING):
        retain(checkpoints)

    assert caplog.messages == ["An old checkpoint cannot be deleted: [Errno 30] Read-only file system"]
    assert names(checkpoints) == ["00000001", "00000002", "00000003"]


def test_leftovers_of_a_killed_process_go_and_nothing_else(checkpoints, commit, tmp_path):
    """Half-written and half-deleted checkpoints; a link is removed, not what it leads to."""
    commit(1)
    (tmp_path / "precious").mkdir()
    (checkpoints / ".tmp-00000002-99-abc").mkdir()
    (checkpoints / ".tmp-00000002-99-abc" / "state.json").write_text("{")
    shutil.copytree(checkpoints / "00000001", checkpoints / ".del-00000000-abc")
    (checkpoints / ".tmp-file").write_text("")
    (checkpoints / ".tmp-link").symlink_to(tmp_path / "precious")
    (checkpoints / ".bad-00000003").mkdir()
    (checkpoints / "notes.tmp-").write_text("")

    clean_leftovers(checkpoints)
    clean_leftovers(tmp_path / "missing")

    assert names(checkpoints) == [".bad-00000003", "00000001", "notes.tmp-"]
    assert (tmp_path / "precious").is_dir()


def test_a_leftover_that_will_not_go_is_reported(checkpoints, monkeypatch, caplog):
    """It harms nobody, so the run goes on."""
    (checkpoints / ".tmp-1").mkdir(parents=True)

    def failing(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(shutil, "rmtree", failing)
    with caplog.at_level(logging.WARNING):
        clean_leftovers(checkpoints)

    assert caplog.messages == [
        f"A leftover cannot be deleted: [Errno 13] Permission denied: '{checkpoints / '.tmp-1'}'"
    ]


def test_what_a_power_cut_brings_back_half_deleted_goes(checkpoints, commit):
    """The rename that hid it may be lost; without a manifest, and older than an intact one, it is nobody's."""
    for seq in (1, 2, 3):
        commit(seq)
        if seq != 2:
            (checkpoints / f"{seq:08d}" / "manifest.json").unlink()

    clean_leftovers(checkpoints, newest=2)

    assert names(checkpoints) == ["00000002", "00000003"]
