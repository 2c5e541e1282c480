"""Arrays that do not change are written once in a run, and are in each of its commits and saved models all the same."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from emloop._run_dir.beginnings import copy_files
from emloop._state.commit import newest_commit, open_commit, write_commit
from emloop._state.retention import delete_commits
from emloop._state.tree import Lasting, equal_trees
from emloop.main_loop.commit_policy import Keep
from emloop.saved_models import find_saved, write_saved_model


def model(step, base=0.0):
    """A model on a frozen base: of one array, and one that is too small to be worth a file."""
    frozen = {"base": np.full((100, 200), base).view(Lasting), "bias": np.full(3, base).view(Lasting)}
    return {"step": step, "head": np.full(9, float(step)), **frozen}


def commit(run, seq, base=0.0):
    components = {"loop": {"epochs_done": seq}, "model": model(seq, base), "hooks/A": {"seen": np.arange(20000)}}
    return write_commit(run / "checkpoints", seq, components, {"epoch": seq})


def save(run, name, step, base=0.0):
    words = {"backend": "abacus", "restore_fallback": None, "inputs": {}, "outputs": {}, "rung": "weights"}
    return write_saved_model(run / f"model_{name}", tree=model(step, base), **words)


def files(run):
    """The files of bases: their names in the run, by what is the same file."""
    found = {}
    for path in sorted(run.rglob("frozen-*")):
        found.setdefault(path.stat().st_ino, []).append(path.parent.name)
    return sorted(found.values())


def test_a_frozen_base_is_one_file_of_the_run(tmp_path):
    """Whether commits or saved models come first; another base is another file, as long as somebody has it."""
    save(tmp_path, "a", 1)
    made = commit(tmp_path, 2)
    save(tmp_path, "b", 3)
    save(tmp_path, "a", 4)
    assert files(tmp_path) == [["00000002", "model_a", "model_b"]]
    commit(tmp_path, 5, base=1.0)
    save(tmp_path, "a", 6, base=1.0)

    assert files(tmp_path) == [["00000002", "model_b"], ["00000005", "model_a"]]
    assert equal_trees(model(2), made.load("model"))
    assert made == open_commit(made.path)
    assert equal_trees({"epochs_done": 2}, made.load("loop"))
    assert equal_trees(model(5, 1.0), newest_commit(tmp_path / "checkpoints", set_aside=False)[0].states()["model"])
    assert equal_trees(model(6, 1.0), find_saved(tmp_path / "model_a").tree())
    assert type(made.load("model")["base"]) is np.ndarray
    assert sorted(path.name for path in (tmp_path / "model_a").iterdir() if path.name.startswith(".")) == []


def test_each_is_complete_wherever_it_is_copied(tmp_path):
    """And deleting one takes nothing from another."""
    save(tmp_path / "run", "a", 1)
    made = commit(tmp_path / "run", 1)
    shutil.copytree(tmp_path / "run" / "model_a", tmp_path / "model_b")
    delete_commits([made])
    assert equal_trees(model(1), find_saved(tmp_path / "run" / "model_a").tree())
    made = commit(tmp_path / "run", 2)
    shutil.rmtree(tmp_path / "run" / "model_a")

    assert equal_trees(model(2), made.load("model"))
    assert equal_trees(model(1), find_saved(tmp_path / "model_b").tree())


def test_a_fork_has_a_file_of_its_own(tmp_path):
    """One, for all of its saved models and commits."""
    for name in "ab":
        save(tmp_path / "run", name, 1)
    (tmp_path / "fork").mkdir()
    copy_files([], tmp_path / "run", tmp_path / "fork")
    commit(tmp_path / "fork", 2)

    assert files(tmp_path / "run") == [["model_a", "model_b"]]
    assert files(tmp_path / "fork") == [["00000002", "model_a", "model_b"]]
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", [slice(0, 8), slice(50_000, 50_001), slice(-1, None)])
def test_damage_does_not_spread(tmp_path, damage):
    """What is no longer what it was is written anew, by those who come later."""
    save(tmp_path, "a", 1)
    (path,) = (tmp_path / "model_a").glob("frozen-*")
    content = bytearray(path.read_bytes())
    content[damage] = bytes(255 - byte for byte in content[damage])
    path.write_bytes(content)
    made = commit(tmp_path, 2)
    save(tmp_path, "b", 3)

    assert files(tmp_path) == [["00000002", "model_b"], ["model_a"]]
    assert equal_trees(model(2), made.load("model"))
    save(tmp_path, "a", 4)
    assert files(tmp_path) == [["00000002", "model_a", "model_b"]]
    assert equal_trees(model(4), find_saved(tmp_path / "model_a").tree())


def test_where_there_are_no_links_it_is_written_again(tmp_path, monkeypatch):
    """As on some file systems, and where one file has too many names."""

    def refused(source, target):
        raise PermissionError(1, "Operation not permitted", target)

    monkeypatch.setattr(os, "link", refused)
    save(tmp_path, "a", 1)
    made = commit(tmp_path, 2)
    save(tmp_path, "b", 3)

    assert files(tmp_path) == [["00000002"], ["model_a"], ["model_b"]]
    assert equal_trees(model(2), made.load("model"))
    assert equal_trees(model(3), find_saved(tmp_path / "model_b").tree())


def test_a_link_to_another_run_is_not_followed(tmp_path):
    """Two runs share nothing."""
    save(tmp_path / "other", "a", 1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_a").symlink_to(tmp_path / "other" / "model_a")
    commit(tmp_path / "run", 1)

    assert files(tmp_path) == [["00000001"], ["model_a"]]


def test_what_the_run_keeps_once_counts_once(tmp_path):
    """Commits are dropped for their own size."""
    commits = [commit(tmp_path, seq) for seq in (3, 2, 1)]
    assert all(made.bytes - made.own_bytes > 160_000 for made in commits)
    own = sum(made.own_bytes for made in commits)
    assert Keep(last=3, bytes=str(own)).chosen(commits) == commits
    assert Keep(last=3, bytes=str(own - 1)).chosen(commits) == commits[:2]
