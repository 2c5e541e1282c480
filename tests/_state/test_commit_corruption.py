"""A damaged checkpoint is noticed before it is used, and the next older one takes its place, aloud."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil

import pytest

from emloop._state.commit import list_commits, newest_commit, open_commit
from emloop._state.manifest import FileRecord, render_manifest
from emloop._state.tree import equal_trees
from emloop.errors import CheckpointError

FILES = ("manifest.json", "state.json", "state.safetensors")


@pytest.fixture
def run(checkpoints, commit):
    """Checkpoints 1 and 2; the test damages the second."""
    commit(1)
    commit(2)
    return checkpoints


def load_everything(path, state):
    """Load all components; what is damaged must not arrive."""
    damaged = open_commit(path)
    for component in damaged.components:
        assert equal_trees(damaged.load(component), state(2)[component])


def refused(run, state):
    """Why the second checkpoint is refused, after showing that it is, and that none of its damage can be loaded."""
    found, rejected = newest_commit(run, set_aside=False)
    assert found.seq == 1
    ((name, reason),) = rejected
    assert name == "00000002"
    with pytest.raises(CheckpointError, match=re.escape(str(run / "00000002"))):
        load_everything(run / "00000002", state)
    return reason


def test_the_whole_is_as_it_was_written(run):
    """The undamaged second checkpoint is the newest, so the refusals below have their cause in the damage."""
    assert [path.name for path in sorted((run / "00000002").iterdir())] == list(FILES)
    assert newest_commit(run, set_aside=False) == (open_commit(run / "00000002"), [])


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_noticed(run, state, name):
    """Any bit of any file: forty of each, drawn at random."""
    path = run / "00000002" / name
    content = path.read_bytes()
    draw = random.Random(name)
    for _ in range(40):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert str(path) in refused(run, state)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_noticed(run, state, name):
    """To nothing, one byte, half, all but one; or one byte longer."""
    path = run / "00000002" / name
    content = path.read_bytes()
    for damaged in (b"", content[:1], content[: len(content) // 2], content[:-1], content + b"\n"):
        path.write_bytes(damaged)
        assert str(path) in refused(run, state)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("replace", [None, "link", "pipe", "folder"])
def test_a_missing_or_replaced_file_is_noticed(run, state, name, replace):
    """Also where a link leads to the very same content."""
    path = run / "00000002" / name
    path.rename(run / "moved")
    if replace == "link":
        path.symlink_to(run / "moved")
    elif replace == "pipe":
        os.mkfifo(path)
    elif replace == "folder":
        path.mkdir()

    assert str(path) in refused(run, state)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_checkpoint_is_noticed(run, state, name):
    """Valid as it is, it belongs to another state."""
    shutil.copy(run / "00000001" / name, run / "00000002" / name)

    assert str(run / "00000002") in refused(run, state)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(FILES, 2)))
def test_exchanged_files_are_noticed(run, state, one, other):
    """Each has the other's content."""
    folder = run / "00000002"
    (folder / one).rename(run / "moved")
    (folder / other).rename(folder / one)
    (run / "moved").rename(folder / other)

    refused(run, state)


def test_an_older_checkpoint_under_a_newer_name_is_refused(run):
    """A copy of the first does not become the third."""
    shutil.copytree(run / "00000001", run / "00000003")

    found, rejected = newest_commit(run, set_aside=False)

    assert found.seq == 2
    assert rejected == [("00000003", f"{run / '00000003'}: holds the checkpoint 00000001")]
    assert [commit.seq for commit in list_commits(run)] == [2, 1]


def test_what_is_no_directory_is_no_checkpoint(run):
    """Files, links and empty folders with the right name are refused, each with its reason."""
    (run / "00000003").mkdir()
    (run / "00000004").write_text("")
    (run / "00000005").symlink_to(run / "00000002")

    found, rejected = newest_commit(run, set_aside=False)

    assert found.seq == 2
    assert rejected == [
        ("00000005", f"{run}/00000005: is a link"),
        ("00000004", f"{run}/00000004/manifest.json: Not a directory"),
        ("00000003", f"{run}/00000003/manifest.json: No such file or directory"),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 5}, "expected a checkpoint of format 1 to 4, got checkpoint of format 5"),
        ({"format": None}, "expected a checkpoint of format 1 to 4, got checkpoint of format None"),
        ({"kind": "saved model"}, "expected a checkpoint of format 1 to 4, got saved model of format 2"),
        ({"seq": "2"}, "malformed manifest of a checkpoint: "),
        ({"seq": None}, "malformed manifest of a checkpoint: "),
        ({"info": []}, "malformed manifest of a checkpoint: "),
        ({"components": {"model": False}}, "malformed manifest of a checkpoint: "),
        ({"components": {"model": 3}}, "malformed manifest of a checkpoint: "),
        ({"components": {"model": []}}, "malformed manifest of a checkpoint: "),
        ({"format": 1, "components": {"model": ["model.json"]}}, "malformed manifest of a checkpoint: "),
        ({"format": 1, "components": {"model": ["../00000001/model.json", None]}}, "malformed manifest of a "),
        ({"format": 1, "components": {"model": [["model.json"], None]}}, "malformed manifest of a checkpoint: "),
        ({"components": []}, "malformed manifest of a checkpoint: "),
    ],
)
def test_a_manifest_of_something_else_is_refused(run, state, changes, reason):
    """Even with a valid hash."""
    header = {"format": 2, "kind": "checkpoint", "seq": 2, "info": {}, "components": {}}
    (run / "00000002" / "manifest.json").write_bytes(render_manifest({**header, **changes}, []))

    assert reason in refused(run, state)


def test_bytes_that_are_verified_but_no_state_are_refused(run, state):
    """The error names the file."""
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    header = {"format": 2, "kind": "checkpoint", "seq": 2, "info": {}, "components": {"model": False}}
    (run / "00000002" / "state.json").write_text("{}")
    (run / "00000002" / "manifest.json").write_bytes(render_manifest(header, [FileRecord("state.json", 2, digest)]))

    with pytest.raises(CheckpointError, match=r"00000002/state\.json: not a state tree: 'model'"):
        open_commit(run / "00000002").load("model")
    with pytest.raises(CheckpointError, match=r"00000002/state\.json: not the states of model"):
        open_commit(run / "00000002").states()


def test_damaged_checkpoints_are_set_aside_and_kept(run, commit):
    """Before a run goes on from an older one: so that it can write their numbers again, and somebody can look."""
    commit(3)
    commit(4)
    for name in ("00000003", "00000004"):
        (run / name / "state.json").write_text("{}")
    (run / ".bad-00000003").mkdir()

    found, rejected = newest_commit(run, set_aside=True)

    assert found.seq == 2
    assert [name for name, _ in rejected] == ["00000004", "00000003"]
    left = sorted(path.name for path in run.iterdir())
    assert left[1].startswith(".bad-00000003-")
    assert [*left[:1], *left[2:]] == [".bad-00000003", ".bad-00000004", "00000001", "00000002"]
    assert newest_commit(run, set_aside=True) == (found, [])
    commit(3).verify()


def test_a_run_with_damaged_checkpoints_only_says_so(run):
    """There is none to go on from, and the reasons are there to be told."""
    for name in ("00000001", "00000002"):
        (run / name / "manifest.json").unlink()

    found, rejected = newest_commit(run, set_aside=False)

    assert found is None
    assert [name for name, _ in rejected] == ["00000002", "00000001"]
