"""Rows of files that only grow are whole, durable with the commit, and neither lost nor doubled by a resume."""

from __future__ import annotations

import contextlib
import csv
import errno
import logging
import os
import re
import shutil
import threading
import warnings
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir.append import AppendFiles, open_append
from emloop.errors import CheckpointError, RunDirError


@pytest.fixture
def run(tmp_path):
    """The files of a run that is being worked on."""
    directory = tmp_path / "run"
    directory.mkdir()
    files = AppendFiles(directory)
    yield files
    files.close()


@pytest.fixture
def path(run):
    """A table of the run."""
    return run.directory / "training.csv"


def again(run):
    """The same run in a new process: everything is closed and forgotten."""
    run.close()
    return AppendFiles(run.directory)


def discarded(run):
    return {path.name: path.read_text() for path in (run.directory / "discarded").rglob("*") if path.is_file()}


# Writing


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=20), max_size=8))
def test_what_is_written_is_in_the_file_at_once(tmp_path_factory, rows):
    """Nothing is held back; half characters of file names are spelt out."""
    path = tmp_path_factory.mktemp("plain") / "rows.txt"
    file = open_append(path)
    expected = b""
    for row in rows:
        assert file.write(row) == len(row)
        expected += row.encode("utf-8", "backslashreplace")
        assert path.read_bytes() == expected
        assert file.position == len(expected)
    file.close()


def test_a_row_is_one_write(run, path, monkeypatch):
    """So that a reader, or a second writer, never sees half of one."""
    file = open_append(path)
    write, seen = os.write, []
    monkeypatch.setattr(os, "write", lambda descriptor, data: seen.append(bytes(data)) or write(descriptor, data))
    file.write("1,0.5\n")
    file.write("")

    assert seen == [b"1,0.5\n"]


def test_bytes_are_written_as_they_are(run, path):
    """Records of other programs' formats; they may stand beside text."""
    file = open_append(path)

    assert file.write(b"\x00\xff\r\n") == 4
    assert file.write(memoryview(b"end")) == 3
    assert path.read_bytes() == b"\x00\xff\r\nend"
    assert run.committed() == [{"name": "training.csv", "bytes": 7, "crc32": zlib.crc32(b"\x00\xff\r\nend")}]


def test_a_file_grows_from_where_it_is(tmp_path):
    """Outside of a run, with what other programs left there."""
    (tmp_path / "rows.csv").write_text("old\n")
    file = open_append(str(tmp_path / "rows.csv"))
    assert file.position == 4
    file.write("new\n")
    file.close()

    assert (tmp_path / "rows.csv").read_text() == "old\nnew\n"


def test_all_who_open_a_path_write_to_one_file(run, path, monkeypatch):
    """By whatever path they come; it is closed when all of them are done."""
    (run.directory.parent / "link").symlink_to(run.directory)
    monkeypatch.chdir(run.directory)
    one, other, third = open_append(path), open_append("training.csv"), open_append("../link/training.csv")
    assert one is other is third

    one.write("a\n")
    one.close()
    other.write("b\n")
    other.close()
    third.close()

    with pytest.raises(RunDirError, match=re.escape(f"{path}: is closed; open it again with open_append")):
        third.write("c\n")
    with pytest.raises(RunDirError, match="is closed"):
        third.position  # noqa: B018 - the access itself is what fails
    assert path.read_text() == "a\nb\n"


def test_it_is_fit_for_logging_and_for_csv(run, path):
    """A logging handler's stream, a CSV writer's file."""
    file = open_append(path)
    handler = logging.StreamHandler(file)
    handler.emit(logging.makeLogRecord({"msg": "epoch 1"}))
    handler.flush()
    csv.writer(file, lineterminator="\n").writerow([1, "a,b"])

    assert path.read_text() == 'epoch 1\n1,"a,b"\n'


def test_threads_and_forked_workers_do_not_mix_their_rows(run, path):
    """Every row is whole, whoever writes at the same time; and the commit knows of all of them."""
    file = open_append(path)

    def work(letter):
        for _ in range(100):
            file.write(letter * 99 + "\n")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        worker = os.fork()
    if worker == 0:
        try:
            work("w")
        finally:
            os._exit(0)
    threads = [threading.Thread(target=work, args=letter) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.waitpid(worker, 0)

    rows = path.read_text().splitlines()
    assert sorted(rows) == sorted(letter * 99 for letter in "abcw" for _ in range(100))
    assert run.committed() == [{"name": "training.csv", "bytes": 40_000, "crc32": zlib.crc32(path.read_bytes())}]


# Errors


def test_a_row_that_does_not_fit_leaves_no_part_of_it(run, path, monkeypatch):
    """A disk that fills up in the middle of a row; afterwards, with room again, rows go on."""
    file = open_append(path)
    file.write("1,whole\n")
    write, calls = os.write, []

    def filling_up(descriptor, data):
        calls.append(data)
        if len(calls) == 1:
            return write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", filling_up)
        with pytest.raises(RunDirError, match=re.escape(f"{path}: cannot be written: [Errno 28] No space left")):
            file.write("2,torn\n")
    file.write("3,whole\n")

    assert len(calls) == 2
    assert path.read_text() == "1,whole\n3,whole\n"


def test_short_writes_are_continued(run, path, monkeypatch):
    """The system may take less than it is given."""
    file = open_append(path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    file.write("0123456\n")

    assert path.read_text() == "0123456\n"


@pytest.mark.parametrize("vanish", [os.unlink, lambda path: path.rename(f"{path}.old")])
def test_a_file_that_vanished_is_an_error_that_names_it(run, path, vanish):
    """Rows are not written to where nobody finds them; nor are they committed."""
    file = open_append(path)
    file.write("1\n")
    vanish(path)

    for use in (lambda: file.write("2\n"), lambda: file.position, run.committed, file.close):
        with pytest.raises(RunDirError, match=re.escape(f"{path}: was removed or replaced while in use")):
            use()


def test_a_file_outside_of_runs_can_be_removed_and_written_anew(tmp_path):
    """As somebody does who runs the same cell of a notebook twice."""
    path = tmp_path / "rows.csv"
    open_append(path).write("1\n")
    path.unlink()
    file = open_append(path)
    file.write("2\n")
    file.close()

    assert path.read_text() == "2\n"


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda path: path.mkdir(), id="directory"),
        pytest.param(lambda path: path.symlink_to(path.parent.parent / "outside"), id="link"),
        pytest.param(lambda path: path.symlink_to("/nowhere/at/all"), id="dangling-link"),
        pytest.param(lambda path: path.parent.rmdir(), id="directory-missing"),
    ],
)
def test_what_cannot_be_opened_is_named(run, path, prepare):
    """And no link is followed out of the run."""
    (run.directory.parent / "outside").write_text("")
    prepare(path)

    with pytest.raises(RunDirError, match=re.escape(f"{path}: cannot be written: ")):
        open_append(path)
    assert (run.directory.parent / "outside").read_text() == ""


def test_a_folder_that_leads_out_of_the_run_is_refused(run, tmp_path):
    """A run may come from a stranger."""
    (tmp_path / "outside").mkdir()
    (run.directory / "tables").symlink_to(tmp_path / "outside")

    with pytest.raises(RunDirError, match=r"tables/rows\.csv: a link leads out of the run, to .*/outside/rows\.csv"):
        open_append(run.directory / "tables" / "rows.csv")
    open_append(run.directory / ".." / "shared.csv").close()

    assert list((tmp_path / "outside").iterdir()) == []


# Commits


def test_a_commit_knows_every_file_that_was_opened(run, tmp_path):
    """Also closed ones, and those in folders; none outside; sorted by name, with their lengths and checksums."""
    (run.directory / "tables").mkdir()
    for name in ("train.log", "tables/epoch 1.csv", "../outside.csv", "empty.csv"):
        file = open_append(run.directory / name)
        file.write("" if "empty" in name else f"{name}\n")
        if "tables" in name or "outside" in name:
            file.close()

    assert run.committed() == [
        {"name": "empty.csv", "bytes": 0, "crc32": 0},
        {"name": "tables/epoch 1.csv", "bytes": 19, "crc32": zlib.crc32(b"tables/epoch 1.csv\n")},
        {"name": "train.log", "bytes": 10, "crc32": zlib.crc32(b"train.log\n")},
    ]


def test_a_commit_follows_a_file_as_it_grows(run, path):
    """Lengths and checksums are those of the whole file, though only what is new is read."""
    file = open_append(path)
    for row in range(5):
        file.write(f"{row}\n" * 300_000)
        content = path.read_bytes()
        assert run.committed() == [{"name": path.name, "bytes": len(content), "crc32": zlib.crc32(content)}]
        if row == 2:
            file.close()
            file = open_append(path)


def test_what_is_committed_is_durable_with_its_name(run, monkeypatch):
    """Every file is synced, and so is every directory on the way to a new one; once."""
    (run.directory / "tables").mkdir()
    one = open_append(run.directory / "tables" / "a.csv")
    other = open_append(run.directory / "b.csv")
    fsync, synced = os.fsync, []

    def watching(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    run.committed()
    paths = [one.path, other.path, run.directory, run.directory / "tables"]
    assert sorted(synced) == sorted(path.stat().st_ino for path in paths)

    synced.clear()
    run.committed()
    assert sorted(synced) == sorted(path.stat().st_ino for path in paths[:2])


def test_closing_syncs_what_a_later_commit_will_vouch_for(run, path, monkeypatch):
    """If that fails, closing says so."""
    file = open_append(path)
    file.write("1\n")

    def failing(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(RunDirError, match=re.escape(f"{path}: cannot be written: [Errno 5]")):
            file.close()
    with pytest.raises(RunDirError, match="is closed"):
        file.write("2\n")


def test_a_file_that_another_program_cut_is_not_committed(run, path):
    """Its committed beginning would be gone."""
    file = open_append(path)
    file.write("1\n2\n")
    run.committed()
    os.truncate(path, 2)

    with pytest.raises(RunDirError, match=re.escape(f"{path}: another program cut it from 4 to 2 bytes")):
        run.committed()


def test_a_closed_file_that_its_owner_removed_is_forgotten(run, path):
    """A hook may tidy up after itself."""
    file = open_append(path)
    file.write("1\n")
    file.close()
    assert len(run.committed()) == 1
    path.unlink()

    assert run.committed() == []


# Resume


def test_a_resume_cuts_back_to_the_commit_and_keeps_the_rest(run, path):
    """The rows after the commit will be written again; what they were is kept aside."""
    file = open_append(path)
    file.write("epoch 1\n")
    records = run.committed()
    file.write("epoch 2\nepo")

    resumed = again(run)
    resumed.restore(records)
    assert path.read_text() == "epoch 1\n"
    open_append(path).write("epoch two\n")

    assert path.read_text() == "epoch 1\nepoch two\n"
    assert discarded(resumed) == {"training.csv": "epoch 2\nepo"}
    assert resumed.committed()[0]["crc32"] == zlib.crc32(path.read_bytes())
    resumed.close()


def test_a_resume_of_a_resume_keeps_what_every_one_cut_off(run, path):
    """One after the other."""
    records = []
    for attempt in range(3):
        run = again(run)
        run.restore(records)
        file = open_append(path)
        file.write(f"epoch {attempt}\n")
        records = run.committed()
        file.write(f"lost {attempt}\n")
    run = again(run)
    run.restore(records)

    assert path.read_text() == "epoch 0\nepoch 1\nepoch 2\n"
    assert discarded(run) == {"training.csv": "lost 0\nlost 1\nlost 2\n"}
    run.close()


def test_a_file_that_is_not_opened_again_stays_committed(run, path):
    """For the next resume, and the one after."""
    open_append(path).write("only once\n")
    records = run.committed()
    for _ in range(2):
        run = again(run)
        run.restore(records)
        assert run.committed() == records
    run.close()


def test_a_file_begun_after_the_commit_begins_anew(run, path):
    """When it is opened again; then it needs its header again, once."""
    records = run.committed()
    open_append(path).write("header\n1\n")
    (run.directory / "tables").mkdir()
    open_append(run.directory / "tables" / "b.csv").write("b\n")

    resumed = again(run)
    resumed.restore(records)
    for _ in range(2):
        file = open_append(path)
        if not file.position:
            file.write("header\n")
        file.close()
    open_append(run.directory / "tables" / "b.csv")

    assert path.read_text() == "header\n"
    assert discarded(resumed) == {"training.csv": "header\n1\n", "b.csv": "b\n"}
    assert (resumed.directory / "discarded" / "tables" / "b.csv").exists()
    resumed.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1\n2", "3 bytes, but 4 are committed; was it cut or replaced?"),
        (b"", "0 bytes, but 4 are committed; was it cut or replaced?"),
        (b"1\n3\n4\n", "its first 4 bytes are not those committed; was it edited?"),
        (None, "4 bytes are committed, but [Errno 2] No such file or directory"),
    ],
)
def test_a_file_without_its_committed_rows_stops_the_resume(run, path, content, reason):
    """Nothing is cut before all files are known to be good."""
    open_append(path).write("1\n2\n")
    other = run.directory / "a.csv"
    open_append(other).write("1\n")
    records = run.committed()
    open_append(other).write("after\n")
    resumed = again(run)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)

    with pytest.raises(CheckpointError) as caught:
        resumed.restore(records)

    assert str(caught.value).startswith(f"{path}: {reason}")
    assert other.read_text() == "1\nafter\n"
    assert not (run.directory / "discarded").exists()
    resumed.close()


def test_a_bit_that_flipped_in_a_committed_row_is_noticed(run, path):
    """Every one of them."""
    open_append(path).write("0.25,0.5\n")
    records = run.committed()
    run = again(run)
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="are not those committed"):
            run.restore(records)
    path.write_bytes(content)
    run.restore(records)
    run.close()


@pytest.mark.parametrize(
    "record",
    [
        {"name": "../outside", "bytes": 0, "crc32": 0},
        {"name": "/etc/hostname", "bytes": 0, "crc32": 0},
        {"name": "link", "bytes": 0, "crc32": 0},
        {"name": "folder/outside", "bytes": 0, "crc32": 0},
        {"name": "pipe", "bytes": 0, "crc32": 0},
        {"name": 3, "bytes": 0, "crc32": 0},
        {"name": "rows.csv", "bytes": "0", "crc32": 0},
        {"name": "rows.csv", "bytes": 0},
    ],
)
def test_records_of_a_stranger_cannot_cut_files_elsewhere(run, record):
    """Names lead to regular files inside the run, or nowhere."""
    outside = run.directory.parent / "outside"
    outside.write_text("precious")
    (run.directory / "link").symlink_to(outside)
    (run.directory / "folder").symlink_to(outside.parent)
    (run.directory / "rows.csv").write_text("")
    os.mkfifo(run.directory / "pipe")

    with pytest.raises(CheckpointError):
        run.restore([record])
    assert outside.read_text() == "precious"


@pytest.mark.parametrize("link", ["discarded", "discarded/tables", "discarded/tables/authorized_keys"])
def test_a_stranger_s_link_cannot_receive_what_is_cut_off(run, link):
    """Or a run could add lines to its victim's files."""
    outside = run.directory.parent / "outside"
    outside.mkdir()
    (outside / "tables").mkdir()
    for file in (outside / "authorized_keys", outside / "tables" / "authorized_keys"):
        file.write_text("")
    (run.directory / "tables").mkdir()
    (run.directory / "tables" / "authorized_keys").write_text("key\n")
    place = run.directory / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside / "authorized_keys" if link.endswith("keys") else outside)

    with pytest.raises(RunDirError):
        run.restore([{"name": "tables/authorized_keys", "bytes": 0, "crc32": 0}])

    assert all(path.stat().st_size == 0 for path in outside.rglob("*") if path.is_file())
    assert (run.directory / "tables" / "authorized_keys").read_text() == "key\n"


def test_a_run_inside_a_run_keeps_its_own_files(run):
    """Members of a search lie below it, and each knows its own."""
    inner = run.directory / "member"
    inner.mkdir()
    member = AppendFiles(inner)
    open_append(inner / "training.csv").write("1\n")
    open_append(run.directory / "training.csv").write("22\n")

    assert [(record["name"], record["bytes"]) for record in member.committed()] == [("training.csv", 2)]
    assert [(record["name"], record["bytes"]) for record in run.committed()] == [("training.csv", 3)]
    member.close()


def test_a_file_that_cannot_be_kept_does_not_hide_why_a_run_ended(run, path, caplog):
    """It costs a warning, and the other files are closed all the same."""
    open_append(path).write("1\n")
    other = open_append(run.directory / "train.log")
    path.unlink()
    with caplog.at_level(logging.WARNING):
        run.close()

    assert caplog.messages == [f"Rows since the last commit may be lost: {path}: was removed or replaced while in use"]
    with pytest.raises(RunDirError, match="is closed"):
        other.write("1\n")


def test_an_ended_run_closes_its_files_and_lets_go_of_its_directory(run, path):
    """Whoever still holds one is told; afterwards the directory is like any other."""
    file = open_append(path)
    file.write("1\n")
    run.close()
    run.close()

    with pytest.raises(RunDirError, match="is closed"):
        file.write("2\n")
    after = open_append(path)
    after.write("2\n")
    after.close()
    file.close()
    assert path.read_text() == "1\n2\n"


# Mirrors


@pytest.fixture
def mirror(run):
    """What another program reads of the run, with one row that is committed and one that is not."""
    (run.directory / "shown").mkdir()
    path = run.directory / "shown" / "rows"
    file = open_append(path, mirror=True)
    file.write(b"committed\n")
    run.records = run.committed()
    file.write(b"more\n")
    return path


def test_a_mirror_is_committed_and_cut_back_but_its_rest_is_not_kept(run, mirror):
    """Whatever watches the directory finds no second file with the same rows."""
    assert run.records == [{"name": "shown/rows", "bytes": 10, "crc32": zlib.crc32(b"committed\n"), "mirror": True}]

    resumed = again(run)
    resumed.restore(run.records)
    open_append(mirror, mirror=True).write(b"more\n")

    assert mirror.read_bytes() == b"committed\nmore\n"
    assert discarded(resumed) == {}
    assert [record["bytes"] for record in resumed.committed()] == [15]
    resumed.close()


def test_a_mirror_begun_after_the_commit_begins_anew(run, mirror):
    """Without a trace of what it was."""
    resumed = again(run)
    resumed.restore([])
    open_append(mirror, mirror=True).write(b"anew\n")

    assert mirror.read_bytes() == b"anew\n"
    assert discarded(resumed) == {}
    resumed.close()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(lambda path: path.unlink(), "10 bytes are committed, but", id="removed"),
        pytest.param(lambda path: shutil.rmtree(path.parent), "10 bytes are committed, but", id="with-its-folder"),
        pytest.param(lambda path: os.truncate(path, 3), "3 bytes, but 10 are committed", id="shorter"),
        pytest.param(lambda path: path.write_bytes(b"x" * 20), "its first 10 bytes are not those", id="another"),
    ],
)
def test_a_damaged_mirror_is_no_reason_not_to_resume(run, mirror, damage, reason, caplog):
    """It begins anew, and a line says so."""
    resumed = again(run)
    damage(mirror)
    resumed.restore(run.records)
    (message,) = caplog.messages
    assert reason in message
    assert message.endswith("; it begins anew")
    mirror.parent.mkdir(exist_ok=True)
    open_append(mirror, mirror=True).write(b"anew\n")

    assert mirror.read_bytes() == b"anew\n"
    assert [record["bytes"] for record in resumed.committed()] == [5]
    resumed.close()


def test_a_mirror_removed_in_use_is_no_reason_not_to_commit(run, mirror, caplog):
    """Nor is its folder; opened again it begins anew, and later commits hold it."""
    shutil.rmtree(mirror.parent)
    assert run.committed() == []
    assert caplog.messages == [f"{mirror}: was removed or replaced while in use; a resume begins it anew"]

    with pytest.raises(RunDirError, match="was removed or replaced"):
        open_append(mirror).shut()
    mirror.parent.mkdir()
    open_append(mirror, mirror=True).write(b"anew\n")

    assert run.committed() == [{"name": "shown/rows", "bytes": 5, "crc32": zlib.crc32(b"anew\n"), "mirror": True}]


def test_a_mirror_removed_while_closed_begins_anew(run, mirror):
    """As if it had never been."""
    open_append(mirror).shut()
    mirror.unlink()
    open_append(mirror, mirror=True).write(b"anew\n")

    assert run.committed() == [{"name": "shown/rows", "bytes": 5, "crc32": zlib.crc32(b"anew\n"), "mirror": True}]


def test_a_mirror_that_cannot_be_synced_is_no_reason_not_to_commit(run, mirror, monkeypatch, caplog):
    """Nobody vouches for it then; the next commit, which can, does."""
    fsync, watched = os.fsync, mirror.stat().st_ino

    def failing(descriptor):
        if os.fstat(descriptor).st_ino == watched:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        assert run.committed() == [{"name": "shown/rows", "bytes": 0, "crc32": 0, "mirror": True}]
    assert "[Errno 5]" in caplog.text

    assert [record["bytes"] for record in run.committed()] == [15]


def test_a_stranger_s_mirror_cannot_cut_files_elsewhere(run, tmp_path):
    """Its record is passed over like one of a mirror that is gone."""
    (tmp_path / "outside").write_text("precious")
    run.restore([{"name": "../outside", "bytes": 0, "crc32": 0, "mirror": True}])

    assert (tmp_path / "outside").read_text() == "precious"


def test_rows_that_come_while_a_commit_is_written_are_not_its_own(run, path):
    """It holds the files as they were when the state was taken, whatever happens to them meanwhile."""
    with contextlib.closing(open_append(path)) as file:
        file.write("one\n")
        lengths = run.lengths()
        file.write("two\n")
        open_append(run.directory / "later.csv").write("more\n")
        expected = [{"name": "training.csv", "bytes": 4, "crc32": zlib.crc32(b"one\n")}]
        assert run.committed(lengths) == expected

    assert run.committed(lengths) == expected  # closed, and durable to its end
    resumed = again(run)
    resumed.restore(expected)
    assert path.read_text() == "one\n"
    assert discarded(run) == {"training.csv": "two\n"}
