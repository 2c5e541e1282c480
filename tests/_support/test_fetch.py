"""A folder of downloads: what is missing is made up for, what is done is left alone."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import subprocess
import sys
import zipfile
from hashlib import sha256

import pytest

from emloop._support import fetch as fetch_module
from emloop._support.fetch import fetch, file_names, sanitize_url
from emloop.errors import ArchiveError, DownloadError, UsageError

LOGGER = "emloop._support.fetch"


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.txt", content)
    return buffer.getvalue()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def root(tmp_path):
    return tmp_path / "some" / "data"


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/b/data.zip", "data.zip"),
        ("https://host/data.zip/", "data.zip"),
        ("https://host/data.zip?token=secret&x=/y", "data.zip"),
        ("https://host/data.zip#part", "data.zip"),
        ("https://n%0 ?0.=_b//", "n00._b"),
        ("https://host/a%20b/ü/!", "a20b"),
        ("https://host", "host"),
        ("https://host/..", "host"),
        ("https://[host/x.zip", "x.zip"),
        ("data.zip", "data.zip"),
    ],
)
def test_a_url_gives_a_plain_file_name(url, name):
    """Letters, digits, dots, dashes and underscores of the last part that has some; never a way up."""
    assert sanitize_url(url) == name


@pytest.mark.parametrize("url", ["", "/", "//", "?!/%/..", "§"])
def test_a_url_without_anything_for_a_name_is_an_error(url):
    """It is repeated in the message."""
    with pytest.raises(UsageError) as error:
        sanitize_url(url)

    assert str(error.value) == f"{url!r} has no part that could be a file's name"


def test_different_urls_have_different_files():
    """Also where only the case of the letters differs; adding a URL changes no name before it."""
    urls = ["https://a/data.tar.gz", "https://b/data.tar.gz", "https://a/DATA.tar.gz", "https://a/x", "https://b/x"]
    given = file_names(urls)

    assert given[0] == "data.tar.gz"
    assert [name.endswith(".tar.gz") for name in given[1:3]] == [True, True]
    assert len({name.lower() for name in given}) == len(urls)
    assert file_names(urls[:2]) == given[:2]


def test_the_same_url_twice_is_one_file():
    """Naming it twice does not download it twice."""
    assert file_names(["https://a/x", "https://a/x"]) == ["x", "x"]


def test_a_file_is_downloaded_and_unpacked_into_a_new_folder(web, root, log):
    """The archive stays beside what was in it; the log says what was done, and the hash to pin."""
    body = zipped(a="1", b="2")
    fetch(root, web.add("/data.zip", body))

    assert names(root) == [".data.zip.json", "a.txt", "b.txt", "data.zip"]
    assert log.messages == [
        f"\tdownloading {root / 'data.zip'}",
        f"\tthe sha256 of data.zip is {sha256(body).hexdigest()}; pin it in the config",
        f"\textracting {root / 'data.zip'}",
    ]


def test_a_pinned_download_logs_what_it_does_and_no_more(web, root, log):
    """Its hash is known already."""
    fetch(root, web.add("/notes.txt", b"x"), sha256=sha256(b"x").hexdigest(), extract_archive=False)

    assert log.messages == [f"\tdownloading {root / 'notes.txt'}"]


def test_a_file_that_is_no_archive_stays_as_it_is(web, root, log):
    """That is said, since somebody may have expected it to be one."""
    fetch(root, web.add("/notes.txt", b"x"))

    assert (root / "notes.txt").read_bytes() == b"x"
    assert log.messages[-1] == (
        f"\t{root / 'notes.txt'} could not be extracted: it is no zip or tar file, so it stays as it is"
    )


def test_an_archive_may_be_kept_as_it_is(web, root):
    """For datasets that read from the archive itself."""
    fetch(root, web.add("/data.zip", zipped(a="1")), extract_archive=False)

    assert names(root) == [".data.zip.json", "data.zip"]


def test_a_second_call_does_nothing(web, root, log):
    """Nothing is asked for, nothing is unpacked; also where somebody has changed what was unpacked."""
    url = web.add("/data.zip", zipped(a="1"))
    fetch(root, url)
    (root / "a.txt").write_text("changed")
    log.clear()
    fetch(root, url)

    assert len(web.requests) == 1
    assert (root / "a.txt").read_text() == "changed"
    assert log.messages == [f"\t{root / 'data.zip'} already exists; skipping"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_there_before_is_not_downloaded(web, root, log, kind):
    """A file or a folder of that name, wherever it came from."""
    root.mkdir(parents=True)
    (root / "notes").mkdir() if kind == "folder" else (root / "notes").write_text("mine")
    fetch(root, web.add("/notes", b"theirs"))

    assert web.requests == []
    assert f"\t{root / 'notes'} already exists; skipping" in log.messages


def test_an_archive_that_was_there_before_is_unpacked(web, root):
    """One that somebody has copied there, or that an older version has left without unpacking it."""
    root.mkdir(parents=True)
    (root / "data.zip").write_bytes(zipped(a="1"))
    fetch(root, web.add("/data.zip", b""))

    assert web.requests == []
    assert (root / "a.txt").read_text() == "1"


def test_a_failed_extraction_is_made_up_for_without_a_download(web, root, monkeypatch):
    """The disk was full; later it is not."""
    url = web.add("/data.zip", zipped(a="1"))
    with monkeypatch.context() as full:
        full.setattr(fetch_module, "extract", _disk_full)
        with pytest.raises(OSError, match="No space left"):
            fetch(root, url)
    fetch(root, url)

    assert (root / "a.txt").read_text() == "1"
    assert len(web.requests) == 1


def _disk_full(archive, target):
    raise OSError(28, "No space left on device")


def test_a_damaged_archive_is_an_error_each_time(web, root):
    """It is not forgotten that it was never unpacked."""
    url = web.add("/data.zip", b"an error page")
    for _ in range(2):
        with pytest.raises(ArchiveError, match=r"data\.zip: cannot be unpacked: File is not a zip file"):
            fetch(root, url)


def test_a_file_with_another_hash_than_the_pinned_one_is_replaced(web, root, log):
    """Such as one that was interrupted under the reference, which took it for whole; its archive is unpacked anew."""
    root.mkdir(parents=True)
    (root / "data.zip").write_bytes(b"half a zip")
    body = zipped(a="1")
    fetch(root, web.add("/data.zip", body), sha256=sha256(body).hexdigest())

    assert (root / "data.zip").read_bytes() == body
    assert (root / "a.txt").read_text() == "1"
    assert log.messages[0] == (
        f"\t{root / 'data.zip'} has the sha256 {sha256(b'half a zip').hexdigest()}, not the pinned one; "
        "downloading it again"
    )


def test_a_new_pin_brings_and_unpacks_the_new_archive(web, root):
    """The old one had been unpacked, which says nothing about the new one."""
    fetch(root, web.add("/data.zip", zipped(a="1")))
    new = zipped(a="1", b="2")
    fetch(root, web.add("/data.zip", new), sha256=sha256(new).hexdigest())

    assert (root / "b.txt").read_text() == "2"


def test_a_file_of_another_url_is_not_taken_for_this_one(web, root):
    """Unless a hash says that it is the same."""
    fetch(root, web.add("/v1/data.zip", zipped(a="1")))
    url = web.add("/v2/data.zip", zipped(a="1"))
    with pytest.raises(DownloadError) as error:
        fetch(root, url)

    assert str(error.value) == (
        f"{root / 'data.zip'} was downloaded from {web.url}/v1/data.zip, not from {url}; "
        "remove it, or tell by a sha256 which file is meant"
    )
    fetch(root, url, sha256=sha256(zipped(a="1")).hexdigest())
    assert len(web.requests) == 1


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"url": 1}', "\x00", None])
def test_a_damaged_record_is_no_record(web, root, record):
    """Then the file is looked at itself."""
    url = web.add("/data.zip", zipped(a="1"))
    fetch(root, url)
    if record is None:
        (root / ".data.zip.json").unlink()
    else:
        (root / ".data.zip.json").write_text(record)
    (root / "a.txt").unlink()
    fetch(root, url)

    assert (root / "a.txt").exists()
    assert len(web.requests) == 1


def test_a_file_that_somebody_has_changed_has_a_new_hash(web, root):
    """What is recorded holds for the file as it was recorded."""
    body = zipped(a="1")
    url = web.add("/data.zip", body)
    fetch(root, url)
    (root / "data.zip").write_bytes(b"x" * len(body))
    os.utime(root / "data.zip", ns=(0, 0))
    fetch(root, url, sha256=sha256(body).hexdigest())

    assert (root / "data.zip").read_bytes() == body


def test_a_secret_in_a_url_is_written_nowhere(web, root, log):
    """Neither into the folder nor into the log, though another query is another file."""
    fetch(root, web.add("/data?token=opensesame", b"x"))
    with pytest.raises(DownloadError, match=f"was downloaded from {web.url}/data, not from {web.url}/data;"):
        fetch(root, web.add("/data?token=hidden", b"y"))

    assert "opensesame" not in log.text + (root / ".data.json").read_text()


FETCH = "import sys; from emloop._support.fetch import fetch; fetch(*sys.argv[1:])"


def test_two_processes_do_not_download_into_one_folder_at_a_time(web, root):
    """The second one waits, says so, and then finds everything done."""
    root.mkdir(parents=True)
    url = web.add("/data.zip", zipped(a="1"))
    descriptor = os.open(root, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    logging_on = "import logging; logging.basicConfig(level='INFO', format='%(message)s')"
    with subprocess.Popen(
        [sys.executable, "-c", f"{logging_on}\n{FETCH}", root, url],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "no_proxy": "*"},
    ) as process:
        said = process.stderr.readline()
        assert said == f"\tanother process is downloading into {root}; waiting for it\n"
        assert web.requests == []
        os.close(descriptor)
        assert process.wait(60) == 0
    assert (root / "a.txt").read_text() == "1"
