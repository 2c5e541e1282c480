"""An archive gives regular files inside of one folder, all of them or none; nothing in it can do anything else."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._support.extract import extract, is_archive
from emloop._support.printable import brief
from emloop.errors import ArchiveError

FILES = {"readme.txt": b"hello", "images/a.png": b"\x89PNG" * 100, "images/deep/er/b.png": b"", "labels.csv": b"1,2\n"}
COMPRESSIONS = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tbz2": "bz2", ".tar.xz": "xz"}


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def make_zip(path, entries, compression=zipfile.ZIP_DEFLATED):
    """A zip of names and contents; instead of a name, a ``ZipInfo``."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def make_tar(path, entries, compression=""):
    """A tar of names and contents; instead of a name, a ``TarInfo``."""
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, content in entries:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def tree(folder):
    """Every file below a folder with its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive, target, **limits):
    """The reason for which an archive is refused; nothing is left behind."""
    before = tree(target)
    with pytest.raises(ArchiveError) as error:
        extract(archive, target, **limits)
    assert tree(target) == before
    assert not list(target.glob(".*"))
    head, _, reason = str(error.value).partition(": ")
    assert head == str(archive)
    return reason


@pytest.mark.parametrize("suffix", [".zip", ".ZIP", *COMPRESSIONS])
def test_files_and_folders_come_out_as_they_went_in(tmp_path, target, suffix):
    """Every kind of archive whose name tells that it is one; what was in the folder stays."""
    archive = tmp_path / f"data{suffix}"
    make = make_zip if suffix.lower() == ".zip" else make_tar
    make(archive, FILES.items(), *([COMPRESSIONS[suffix]] if suffix in COMPRESSIONS else []))
    (target / "images").mkdir()
    (target / "images" / "mine.png").write_bytes(b"mine")

    extract(archive, target)
    assert tree(target) == {**FILES, "images/mine.png": b"mine"}


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_the_content_tells_how_a_tar_is_compressed(tmp_path, target, compression):
    """A suffix that is wrong, or left out, does not matter."""
    extract(make_tar(tmp_path / "data.tar", FILES.items(), compression), target)

    assert tree(target) == FILES


@pytest.mark.parametrize("name", ["data.npz", "weights.pt", "table.csv.gz", "data", "zip", "data.zip.part", "data.7z"])
def test_what_is_not_called_an_archive_is_none(name):
    """Files that merely are zips inside stay as they are."""
    assert not is_archive(name)


def test_empty_folders_are_kept_and_a_dot_is_no_folder(tmp_path, target):
    """``./`` at the beginning, as many tars have it, means the folder itself."""
    folders = [tarfile.TarInfo("./"), tarfile.TarInfo("./empty/"), tarfile.TarInfo("./empty/")]
    for info in folders:
        info.type = tarfile.DIRTYPE
    archive = make_tar(tmp_path / "a.tar", [*((info, b"") for info in folders), ("./x.txt", b"x")])

    extract(archive, target)
    assert sorted(path.name for path in target.iterdir()) == ["empty", "x.txt"]


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar"])
def test_an_archive_may_be_empty(tmp_path, target, make):
    """Nothing comes out, and that is no error."""
    extract(make(tmp_path / f"a.{make.__name__.removeprefix('make_')}", []), target)
    assert list(target.iterdir()) == []


def test_a_name_may_not_be_empty(tmp_path, target):
    """``zipfile`` itself fails over it."""
    archive = make_zip(tmp_path / "a.zip", [("a", b"x")])
    content = bytearray(archive.read_bytes())
    lengths = content.index(b"PK\x01\x02") + 28  # of the name and of what comes after it
    content[lengths : lengths + 4] = struct.pack("<HH", 0, 1)
    archive.write_bytes(content)

    assert refused(archive, target) == "'' is no plain relative name that every system takes"


def test_permissions_are_those_of_new_files(tmp_path, target):
    """Nothing becomes executable, or somebody else's, because an archive says so."""
    info = tarfile.TarInfo("tool")
    info.mode, info.uid = 0o6777, 0
    extract(make_tar(tmp_path / "a.tar", [(info, b"#!/bin/sh")]), target)
    plain = tmp_path / "plain"
    plain.touch()

    assert stat.S_IMODE((target / "tool").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


NAMES = [
    "../evil",
    "..",
    "a/../../evil",
    "a/../b",
    "/etc/passwd",
    "//host/share",
    "..\\evil",
    "C:\\evil",
    "C:evil",
    "red\x1b[31m",
    "two\nlines",
    "NUL",
    "a/com1.txt",
    "aux/x",
    ".",
    "x" * 256,
    "x/" * 600 + "x",
]


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_out_or_astray_is_refused(tmp_path, target, make, name):
    """With all that came before it in the archive; the message says which name it was."""
    archive = make(tmp_path / f"a.{make.__name__.removeprefix('make_')}", [("good.txt", b"good"), (name, b"evil")])

    assert refused(archive, target) == f"{brief(name)} is no plain relative name that every system takes"
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar"])
def test_names_that_only_look_odd_are_fine(tmp_path, target, make):
    """Dots, colons, spaces, names that begin like a device's, and all scripts."""
    names = ["..a", "a..", "...", "12:30.png", "a b", "console", "nul1", "\u56fe/\u50cf.png"]
    extract(make(tmp_path / f"a.{make.__name__.removeprefix('make_')}", [(name, b"x") for name in names]), target)

    assert tree(target) == dict.fromkeys(names, b"x")


def test_a_name_that_is_too_long_for_the_disk_leaves_nothing_behind(tmp_path, target):
    """Bytes count there; what the system says is what is raised."""
    archive = make_zip(tmp_path / "a.zip", [("good.txt", b"good"), ("\u00e9" * 200, b"x")])
    with pytest.raises(OSError, match="File name too long"):
        extract(archive, target)

    assert list(target.iterdir()) == []


def test_a_zero_byte_does_not_hide_the_rest_of_a_name(tmp_path, target):
    """``zipfile`` itself stops reading the name there."""
    archive = make_zip(tmp_path / "a.zip", [("good.txt_evil", b"")], zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"good.txt_evil", b"good.txt\0evil"))

    assert refused(archive, target) == r"'good.txt\x00evil' is no plain relative name that every system takes"


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar"])
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a.txt", "./a.txt"], "'a.txt' and 'a.txt' are the same name to some systems"),
        (["A.txt", "a.txt"], "'A.txt' and 'a.txt' are the same name to some systems"),
        (["Data/x", "data/y"], "'Data' and 'data' are the same name to some systems"),
        (["stra\u00dfe", "strasse"], "'straße' and 'strasse' are the same name to some systems"),
        (["caf\u00e9", "cafe\u0301"], "'caf\u00e9' and 'cafe\u0301' are the same name to some systems"),
        (["a", "a/b"], "'a' and 'a' are the same name to some systems"),
        (["a/b", "a"], "'a' and 'a' are the same name to some systems"),
    ],
)
def test_names_that_collide_are_refused(tmp_path, target, make, names, reason):
    """Twice the same, or the same on a file system that knows no upper case or composes accents."""
    archive = make(tmp_path / f"a.{make.__name__.removeprefix('make_')}", [(name, b"x") for name in names])

    assert refused(archive, target) == reason


TYPES = {
    "symbolic-link": tarfile.SYMTYPE,
    "hard-link": tarfile.LNKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "character-device": tarfile.CHRTYPE,
    "block-device": tarfile.BLKTYPE,
    "sparse-file": tarfile.GNUTYPE_SPARSE,
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_tar_gives_files_and_folders_only(tmp_path, target, kind):
    """No link, whether its target lies inside or outside, no pipe, no device."""
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = TYPES[kind], "good.txt"
    archive = make_tar(tmp_path / "a.tar", [("good.txt", b"good"), (info, b"")])

    assert refused(archive, target) == "'odd' is neither a file nor a folder, and only these are unpacked"


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_a_zip_gives_files_and_folders_only(tmp_path, target, mode):
    """Whatever kind of file the archive claims it to be, and a folder called like a file."""
    info = zipfile.ZipInfo("odd")
    info.external_attr = (mode | 0o777) << 16
    archive = make_zip(tmp_path / "a.zip", [("good.txt", b"good"), (info, b"/etc/passwd")])

    assert refused(archive, target) == "'odd' is neither a file nor a folder, and only these are unpacked"


def test_a_link_that_lay_there_before_is_not_written_through(tmp_path, target):
    """A file in the archive cannot reach what a link of the same name points to."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (target / "link").symlink_to(outside)
    archive = make_tar(tmp_path / "a.tar", [("link", b"evil")])

    assert refused(archive, target) == f"would replace {target / 'link'}, which is something else; move that away"
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("there", ["file", "folder"])
def test_nothing_that_differs_is_written_over(tmp_path, target, there):
    """Neither a file with other content nor a folder; and then no other file appears, either."""
    archive = make_zip(tmp_path / "a.zip", [("a.txt", b"new"), ("b.txt", b"new")])
    (target / "b.txt").mkdir() if there == "folder" else (target / "b.txt").write_bytes(b"old")

    assert refused(archive, target) == f"would replace {target / 'b.txt'}, which is something else; move that away"


def test_unpacking_twice_is_unpacking_once(tmp_path, target):
    """What is there already, and is the same, is no conflict."""
    archive = make_zip(tmp_path / "a.zip", FILES.items())
    extract(archive, target)
    (target / "readme.txt").unlink()

    extract(archive, target)
    assert tree(target) == FILES


BOMB = b"\0" * (101 << 20)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, target, kind):
    """A hundred kilobytes that become a hundred megabytes."""
    archive = tmp_path / f"a.{kind}"
    make_zip(archive, [("zeros", BOMB)]) if kind == "zip" else make_tar(archive, [("zeros", BOMB)], "gz")
    assert archive.stat().st_size < 1 << 20

    assert refused(archive, target) == "holds suspiciously many bytes; unpack it yourself if you trust it"


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar"])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_names": 5}, "holds more than 5 files and folders"),
        ({"max_bytes": 403}, "holds suspiciously many bytes; unpack it yourself if you trust it"),
    ],
)
def test_an_archive_may_hold_only_so_much(tmp_path, target, make, limits, reason):
    """Numbers of files and folders, implied ones included, and of bytes."""
    archive = make(tmp_path / f"a.{make.__name__.removeprefix('make_')}", FILES.items())

    assert refused(archive, target, **limits) == reason


def test_members_that_share_their_data_are_refused(tmp_path, target):
    """The trick by which a small zip holds more than any compression could."""
    archive = make_zip(tmp_path / "a.zip", [("a", b"x" * 100), ("b", b"x" * 100)], zipfile.ZIP_STORED)
    content = archive.read_bytes()
    second = content.rindex(b"PK\x01\x02") + 42  # where the directory says that b begins
    archive.write_bytes(content[:second] + struct.pack("<L", 0) + content[second + 4 :])

    assert refused(archive, target).startswith("cannot be unpacked: ")


def test_an_encrypted_member_is_named(tmp_path, target):
    """Nobody is asked for a password."""
    archive = make_zip(tmp_path / "a.zip", [("secret.txt", b"x")])
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    archive.write_bytes(content)

    assert refused(archive, target) == "'secret.txt' is encrypted; unpack it yourself"


def test_headers_that_never_end_are_refused(tmp_path, target):
    """What ``tarfile`` would gather in memory: here, a name of eight megabytes in a few kilobytes."""
    archive = make_tar(tmp_path / "a.tar", [("x" * (8 << 20), b"")], "gz")
    assert archive.stat().st_size < 100_000

    assert refused(archive, target).startswith("is damaged: 8389120 bytes of headers")


@pytest.mark.parametrize("header", [b"", b"16 size=-1024\n"], ids=["binary", "pax"])
def test_a_negative_size_does_not_lead_in_circles(tmp_path, target, header):
    """``tarfile`` would read the same members for ever."""
    first, second = tarfile.TarInfo("a"), tarfile.TarInfo("b")
    if header:
        second.pax_headers = {"size": "-1024"}
    archive = make_tar(tmp_path / "a.tar", [(first, b"x"), (second, b"")])
    if not header:
        content = bytearray(archive.read_bytes())
        content[1024 + 124 : 1024 + 136] = b"\xff" * 10 + struct.pack(">h", -1024)
        content[1024 + 148 : 1024 + 156] = b" " * 8
        content[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(content[1024:1536])
        archive.write_bytes(content)

    assert refused(archive, target)


def test_a_checksum_at_the_end_is_compared(tmp_path, target):
    """Although ``tarfile`` has seen the end of the members long before."""
    archive = make_tar(tmp_path / "a.tar.gz", FILES.items(), "gz")
    with gzip.open(archive, "ab") as file:
        file.write(b"\0" * (1 << 20))
    archive.write_bytes(archive.read_bytes()[:-1])

    assert refused(archive, target).startswith("cannot be unpacked: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", b""),
        ("a.zip", b"this is no zip"),
        ("a.tar", b""),
        ("a.tar", b"this is no tar"),
        ("a.tar.gz", gzip.compress(b"this is no tar" * 100, mtime=0)),
        ("a.tar.xz", b"\xfd7zXZ\x00rubbish"),
        ("a.tar.bz2", b"BZh9rubbish"),
    ],
)
def test_what_only_is_called_an_archive_is_refused(tmp_path, target, name, content):
    """An error page that was stored under the name, for example."""
    archive = tmp_path / name
    archive.write_bytes(content)

    assert refused(archive, target).startswith(("cannot be unpacked: ", "is damaged: "))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
@given(data=st.data())
def test_an_archive_that_was_cut_off_is_never_taken_for_a_whole_one(tmp_path_factory, suffix, data):
    """At whatever byte; ``tarfile`` itself would stop without a word at the end of a member."""
    folder = tmp_path_factory.mktemp("cut")
    archive, target = folder / f"a{suffix}", folder / "target"
    target.mkdir()
    make_zip(archive, FILES.items()) if suffix == ".zip" else make_tar(archive, FILES.items(), COMPRESSIONS[suffix])
    content = archive.read_bytes()
    end = len(content.rstrip(b"\0")) + 511 if suffix == ".tar" else len(content) - 1
    archive.write_bytes(content[: data.draw(st.integers(0, end))])

    assert refused(archive, target)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
@given(data=st.data())
def test_damage_is_an_error_of_ours_or_does_no_harm(tmp_path_factory, suffix, data):
    """Whichever bytes are wrong: nothing is ever written outside, and nobody sees a traceback."""
    folder = tmp_path_factory.mktemp("damage")
    archive, target = folder / f"a{suffix}", folder / "target"
    target.mkdir()
    make_zip(archive, FILES.items()) if suffix == ".zip" else make_tar(archive, FILES.items(), COMPRESSIONS[suffix])
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content)
    try:
        extract(archive, target)
    except ArchiveError as error:
        assert str(error).startswith(f"{archive}: ")  # noqa: PT017 - which of both happens is open
    assert {path.name for path in folder.iterdir()} == {archive.name, "target"}
    assert not any(path.is_symlink() or path.suffix == ".extracting" for path in target.rglob("*"))


def test_a_full_disk_leaves_nothing_behind(tmp_path, target, monkeypatch):
    """Neither files nor the folder in which they were gathered; what the system says is what is raised."""
    archive = make_zip(tmp_path / "a.zip", FILES.items())
    monkeypatch.setattr(shutil, "copyfileobj", _full)

    with pytest.raises(OSError, match="No space left") as error:
        extract(archive, target)
    assert not isinstance(error.value, ArchiveError)
    assert list(target.iterdir()) == []


def _full(*_):
    raise OSError(28, "No space left on device")


def test_what_a_killed_process_left_is_cleared_away(tmp_path, target):
    """The next one starts afresh."""
    archive = make_zip(tmp_path / "a.zip", FILES.items())
    (target / ".a.zip.extracting" / "images").mkdir(parents=True)
    (target / ".a.zip.extracting" / "rubbish").touch()

    extract(archive, target)
    assert tree(target) == FILES


def test_an_archive_of_many_megabytes_is_copied_in_pieces(tmp_path, target):
    """A file may be larger than what is read at once."""
    body = os.urandom(3 << 20)
    extract(make_tar(tmp_path / "a.tar.gz", [("big", body)], "gz"), target)

    assert sha256((target / "big").read_bytes()).digest() == sha256(body).digest()
