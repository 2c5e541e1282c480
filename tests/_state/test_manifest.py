"""A manifest vouches for itself and for its files, and no name in it leads anywhere else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil

import pytest

from emloop._state import manifest as manifest_module
from emloop._state.manifest import (
    MANIFEST,
    FileRecord,
    file_records,
    read_manifest,
    read_verified,
    render_manifest,
    verify_files,
    write_manifest,
)
from emloop._support.files import write_new
from emloop.errors import CheckpointError, StateError

INFO = {"backend": "sklearn", "outputs": {"loss": ["float32", [None]]}, "rate": 0.1}


def record(directory, name, content):
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    return FileRecord(name, len(content), write_new(path, [content]))


@pytest.fixture
def saved(tmp_path):
    """A directory with two files and their manifest."""
    directory = tmp_path / "model_best"
    directory.mkdir()
    records = [record(directory, "program/graph.bin", b"graph"), record(directory, "model.json", b"{}")]
    write_manifest(directory, INFO, records)
    return directory


def claim(directory, files, **changes):
    """Put a manifest there as a stranger would: with a valid hash of whatever it says."""
    claimed = {**INFO, "files": files, **changes}
    text = json.dumps(claimed, separators=(",", ":"))
    claimed["sha256"] = hashlib.sha256(f"{text}\n".encode()).hexdigest()
    (directory / MANIFEST).write_text(json.dumps(claimed, indent=1, separators=(",", ": ")) + "\n")


GOOD = {"name": "model.json", "bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}


def test_a_manifest_says_what_it_was_given(saved):
    """The information under its own names, the files sorted by theirs."""
    manifest = read_manifest(saved)

    assert {key: manifest[key] for key in INFO} == INFO
    assert list(file_records(manifest)) == ["model.json", "program/graph.bin"]
    assert read_verified(saved, file_records(manifest)["program/graph.bin"]) == b"graph"
    verify_files(saved, manifest)


def test_a_directory_can_be_moved_and_copied(saved, tmp_path):
    """Nothing in a manifest knows where it lies."""
    copy = shutil.copytree(saved, tmp_path / "elsewhere" / "my copy")

    verify_files(copy, read_manifest(copy))


def test_a_manifest_is_replaced_as_a_whole(saved):
    """So a saved model can be saved again: until the new manifest is there, the old one counts."""
    new = record(saved, "model-2.json", b"[]")
    write_manifest(saved, {"version": 2}, [new])

    assert list(file_records(read_manifest(saved))) == ["model-2.json"]
    assert not [path.name for path in saved.iterdir() if path.name.startswith(".")]


def test_our_forgery_is_accepted_where_it_is_honest(saved):
    """The cases below are refused for what they say, not for how they were made."""
    claim(saved, [GOOD])

    assert list(file_records(read_manifest(saved))) == ["model.json"]


@pytest.mark.parametrize(
    "name",
    [
        *("../outside", "/etc/passwd", "a/../../outside", "..", ".", "", "a//b", "a/", "model.json\n", "a\\b", "ä"),
        *("a b", "a\0b", MANIFEST, f"program/{MANIFEST}", 3, None, ["model.json"]),
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(saved, name):
    """Even in a manifest with a valid hash: everybody can compute one."""
    (saved.parent / "outside").write_text("{}")
    claim(saved, [{**GOOD, "name": name}])

    with pytest.raises(CheckpointError, match=r"manifest\.json: damaged: "):
        read_manifest(saved)


@pytest.mark.parametrize(
    "files",
    [
        [{**GOOD, "bytes": -1}],
        [{**GOOD, "bytes": 2.0}],
        [{**GOOD, "bytes": True}],
        [{**GOOD, "bytes": "2"}],
        [{**GOOD, "sha256": "0" * 63}],
        [{**GOOD, "sha256": None}],
        [{**GOOD, "mode": "setuid"}],
        [{"name": "model.json"}],
        [GOOD, GOOD],
        ["model.json"],
        "model.json",
        {"model.json": GOOD},
        None,
    ],
)
def test_a_file_is_described_in_one_way_only(saved, files):
    """Nothing is guessed from a description of another form."""
    claim(saved, files)

    with pytest.raises(CheckpointError, match=r"manifest\.json: damaged: "):
        read_manifest(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b'{"files": []}',
        b"[" * 200_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"files": [], "rate": NaN}',
    ],
)
def test_what_is_no_manifest_is_refused(saved, content):
    """Torn, empty, nested without end: one error that names the file, and no other exception."""
    (saved / MANIFEST).write_bytes(content)

    with pytest.raises(CheckpointError, match=re.escape(f"{saved / MANIFEST}: damaged: ")):
        read_manifest(saved)


def test_a_manifest_without_end_is_not_read(saved, monkeypatch):
    """Its size is capped before it is understood."""
    monkeypatch.setattr(manifest_module, "_MAX_BYTES", 100)

    with pytest.raises(CheckpointError, match=r"manifest\.json: larger than 100 bytes"):
        read_manifest(saved)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("0.1", "0.2"),
        lambda text: text.replace("0.1", "1e-1"),
        lambda text: text.replace("sklearn", "sk\\u006cearn"),
        lambda text: text + "\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(' "rate": 0.1,\n', ""),
        lambda text: text.replace(' "rate": 0.1,\n', ' "rate": 0.1,\n "rate": 0.1,\n'),
        lambda text: text[:-1],
    ],
)
def test_an_edited_manifest_is_refused(saved, edit):
    """Also where the edit means the same: a manifest has one form."""
    path = saved / MANIFEST
    before = path.read_text()
    path.write_bytes(edit(before).encode())
    assert edit(before) != before

    with pytest.raises(CheckpointError, match=r"manifest\.json: damaged: "):
        read_manifest(saved)


def test_a_file_that_is_not_as_described_is_named(saved):
    """Missing and of another size at once; of other content before it is used."""
    manifest = read_manifest(saved)
    (saved / "model.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"model\.json: damaged: its content does not match its hash"):
        verify_files(saved, manifest)
    with pytest.raises(CheckpointError, match=r"model\.json: damaged: its content does not match its hash"):
        read_verified(saved, file_records(manifest)["model.json"])

    (saved / "model.json").write_text("{} ")
    with pytest.raises(CheckpointError, match=r"model\.json: 3 bytes, expected 2"):
        read_manifest(saved)

    (saved / "model.json").unlink()
    with pytest.raises(CheckpointError, match=r"model\.json: No such file or directory"):
        read_manifest(saved)


@pytest.mark.parametrize("place", ["model.json", "program", MANIFEST])
def test_a_link_is_refused_even_to_the_same_content(saved, place):
    """What a link leads to can change after it was checked."""
    moved = saved.parent / "moved"
    (saved / place).rename(moved)
    (saved / place).symlink_to(moved)

    with pytest.raises(CheckpointError, match=re.escape(f"{saved / place}")):
        read_manifest(saved)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_refused_at_once(saved, make):
    """A pipe would wait for a writer that never comes."""
    (saved / "model.json").unlink()
    make(saved / "model.json")

    with pytest.raises(CheckpointError, match=r"model\.json: not a regular file"):
        read_manifest(saved)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"best": float("nan")}, "manifest.json: Out of range float values are not JSON compliant"),
        ({"model": object()}, "manifest.json: Object of type object is not JSON serializable"),
        ({"files": 1}, "manifest.json: 'files' and 'sha256' are reserved, got files"),
    ],
)
def test_information_that_cannot_be_read_back_is_not_written(tmp_path, info, message):
    """The error says what is wrong with it."""
    with pytest.raises(StateError) as caught:
        write_manifest(tmp_path, info, [])

    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_equal_contents_are_equal_manifests():
    """In whatever order the files were written."""
    one, other = FileRecord("a", 1, "0" * 64), FileRecord("b", 1, "0" * 64)

    assert render_manifest(INFO, [one, other]) == render_manifest(INFO, [other, one])
