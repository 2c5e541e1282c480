"""A file is whole and durable, or it is not there; and what a name leads to is a file inside its directory."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from emloop._support import files
from emloop._support.files import atomic_write, fsync_dir, open_inside, sha256_of, write_new


@pytest.fixture
def calls(monkeypatch):
    """Every call that touches the disk, in order."""
    seen = []

    def watch(name):
        original = getattr(os, name)

        def watched(*args, **kwargs):
            seen.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, watched)

    for name in ("open", "write", "fsync", "replace", "close"):
        watch(name)
    return seen


def fail(monkeypatch, name, error):
    """Let a function of ``os`` fail; returns how often it was called."""
    fired = []

    def failing(*args, **kwargs):
        fired.append(args)
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, name, failing)
    return fired


@pytest.mark.parametrize("content", ["grün\n", b"\x00\xff", "", b""])
def test_a_file_is_replaced_as_a_whole(tmp_path, content):
    """The new content is all there is, and nothing else is left in the directory."""
    path = tmp_path / "trace.yaml"
    path.write_text("old and longer than anything new", encoding="utf-8")

    atomic_write(path, content)

    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert [path] == list(tmp_path.iterdir())


def test_a_replaced_file_is_durable_before_it_is_seen_and_its_name_afterwards(tmp_path, calls):
    """The content is synced before the rename, the directory after it: a crash shows the old file or the new one."""
    atomic_write(tmp_path / "trace.yaml", "status: done\n")

    assert calls == ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]


def test_other_people_may_read_what_the_umask_lets_them(tmp_path):
    """A replaced file has the mode of any new file, not that of a private temporary one."""
    before = os.umask(0o022)
    try:
        atomic_write(tmp_path / "a", "")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_a_file_with_the_longest_possible_name_can_be_replaced(tmp_path):
    """The temporary file does not need a longer name than the file itself."""
    atomic_write(tmp_path / ("n" * 255), "x")

    assert (tmp_path / ("n" * 255)).read_text() == "x"


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    """Nobody can redirect a write by putting a link in place of the file."""
    target = tmp_path / "elsewhere"
    target.write_text("mine")
    (tmp_path / "trace.yaml").symlink_to(target)

    atomic_write(tmp_path / "trace.yaml", "new")

    assert target.read_text() == "mine"
    assert not (tmp_path / "trace.yaml").is_symlink()


@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, function, error):
    """The error names a path and its cause; it is not tried again on the same file."""
    path = tmp_path / "trace.yaml"
    path.write_text("old")
    fired = fail(monkeypatch, function, error)

    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        atomic_write(path, "new")
    monkeypatch.undo()

    assert len(fired) == 1
    assert caught.value.errno == error
    assert path.read_text() == "old"
    assert [path] == list(tmp_path.iterdir())


def test_a_new_file_is_hashed_while_it_is_written(tmp_path, monkeypatch):
    """The hash is that of the content, however the system splits the writing."""
    content = os.urandom(100_001)
    monkeypatch.setattr(files, "_CHUNK", 1000)
    whole_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole_write(descriptor, data[:77]))

    digest = write_new(tmp_path / "new", [content])

    assert (tmp_path / "new").read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest() == sha256_of(tmp_path / "new")


def test_a_new_file_never_takes_the_place_of_another(tmp_path):
    """Neither a file nor a dangling link in its place is written through."""
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, [b"new"])

    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_an_error_on_closing_is_an_error(tmp_path, monkeypatch):
    """Network file systems report a full disk only then."""
    close = os.close

    def failing(descriptor):
        close(descriptor)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "close", failing)

    with pytest.raises(OSError, match="Disk quota exceeded"):
        write_new(tmp_path / "new", [b"content"])
    monkeypatch.undo()

    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_syncs_no_directories_is_good_enough(tmp_path, monkeypatch):
    """Some network file systems refuse to sync a directory, and keep names safe by themselves."""
    fired = fail(monkeypatch, "fsync", errno.EINVAL)
    fsync_dir(tmp_path)
    assert len(fired) == 1

    fail(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(OSError, match=str(tmp_path)):
        fsync_dir(tmp_path)


def read(descriptor):
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_a_file_inside_is_reached_by_its_relative_name(tmp_path):
    """Also through folders, and in a directory that is itself reached through a link."""
    (tmp_path / "run" / "program").mkdir(parents=True)
    (tmp_path / "run" / "program" / "graph.bin").write_bytes(b"g")
    (tmp_path / "latest").symlink_to(tmp_path / "run")

    assert read(open_inside(tmp_path / "run", "program/graph.bin")) == b"g"
    assert read(open_inside(tmp_path / "latest", "program/graph.bin")) == b"g"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../outside", "a/../../outside", "a//b", "./a", "a/", "a\0b"])
def test_a_name_cannot_lead_outside(tmp_path, name):
    """Names come from files, and files from strangers."""
    with pytest.raises(ValueError, match="is no name of a file inside"):
        open_inside(tmp_path, name)


def open_descriptors():
    """How many files this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def test_only_regular_files_are_opened_and_no_link_is_followed(tmp_path):
    """A link at the end or on the way, a pipe, a folder: each is refused at once, and the error names the path."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside" / "secret")
    (inside / "folder").symlink_to(tmp_path / "outside")
    os.mkfifo(inside / "pipe")
    open_before = open_descriptors()

    for name in ("link", "folder/secret", "pipe", "folder", "missing"):
        with pytest.raises(OSError, match=str(inside / name)):
            open_inside(inside, name)

    assert open_descriptors() == open_before
