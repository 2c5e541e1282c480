"""A download is whole and right, or not there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from emloop._support import download as download_module
from emloop._support.download import download, shown
from emloop.errors import DownloadError, MissingExtraError

BODY = bytes(range(256)) * 40  # 10,240 bytes
HASH = sha256(BODY).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "file.bin"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("length", ["exact", "missing", "chunked"])
def test_a_file_is_stored_whole_however_its_size_is_told(web, target, length):
    """With a Content-Length, without one, and in chunks; nothing else is left in the folder."""
    url = web.add("/file", BODY, length=length)

    assert download(url, target) == HASH
    assert target.read_bytes() == BODY
    assert names(target.parent) == ["file.bin"]


def test_an_empty_file_is_a_file(web, target):
    """Nothing to download is no error."""
    download(web.add("/file", b""), target)

    assert target.read_bytes() == b""


def test_a_file_that_was_cut_off_is_not_kept(web, target):
    """It is an error, and a later call gets all of it."""
    url = web.add("/file", BODY, breaks_after=5000)
    with pytest.raises(DownloadError, match=f"^{url} could not be downloaded: .*5000 bytes read, 5240 more expected"):
        download(url, target)

    assert names(target.parent) == []
    web.add("/file", BODY)
    assert download(url, target, sha256=HASH) == HASH
    assert names(target.parent) == ["file.bin"]


def test_a_wrong_hash_is_an_error_and_nothing_is_kept(web, target):
    """The message has both hashes; an older file of that name stays as it was."""
    target.write_text("older")
    url = web.add("/file", b"tampered")
    with pytest.raises(DownloadError) as error:
        download(url, target, sha256=HASH)

    assert str(error.value) == (
        f"{url} is not the file that was expected: its sha256 is {sha256(b'tampered').hexdigest()}, not {HASH}; "
        "if it was meant to change, pin the new one"
    )
    assert target.read_text() == "older"
    assert names(target.parent) == ["file.bin"]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="told"),
        pytest.param({"length": "missing"}, id="not-told"),
        pytest.param({"length": "missing", "endless": True}, id="endless"),
    ],
)
def test_a_file_that_is_too_large_is_not_taken(web, target, options):
    """Neither one that says so nor one that never ends; the disk does not fill up."""
    url = web.add("/file", BODY, **options)
    with pytest.raises(DownloadError) as error:
        download(url, target, max_bytes=10_239)

    assert str(error.value) == f"{url} is larger than 10239 bytes; if it is meant to be, raise max_bytes"
    assert names(target.parent) == []


def test_a_file_may_be_as_large_as_allowed(web, target):
    """The limit itself is within the limit."""
    assert download(web.add("/file", BODY), target, max_bytes=10_240) == HASH


def test_a_missing_page_is_an_error_that_names_it(web, target):
    """The reference logged it and went on."""
    with pytest.raises(DownloadError) as error:
        download(f"{web.url}/gone?token=secret", target)

    assert str(error.value) == f"{web.url}/gone could not be downloaded: 404 Client Error: Not Found"
    assert names(target.parent) == []


def test_a_server_that_cannot_be_reached_is_an_error_that_names_it(target):
    """Nobody listens on the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match=f"^{url} could not be downloaded: .*refused") as error:
            download(f"{url}?token=secret", target)

    assert "secret" not in str(error.value)


def test_a_silent_server_is_given_up(target):
    """One that accepts the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match=f"^{url} could not be downloaded: .*Read timed out"):
            download(url, target, timeout=0.05)


def test_a_redirect_is_followed(web, target):
    """To another page of the same server."""
    web.add("/file", BODY)

    assert download(web.add("/old", status=302, headers={"Location": "/file"}), target) == HASH


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "leads to file:///etc/passwd: expected a URL such as https://host/file.zip"),
        ("ftp://host/file", "leads to ftp://host/file: expected a URL such as https://host/file.zip"),
        ("http://host/file", "leads to http://host/file: http needs a sha256"),
        ("/old", "Exceeded 30 redirects"),
    ],
)
def test_a_redirect_to_where_nothing_may_come_from_is_refused(web, target, location, reason):
    """A server cannot send us to our own files, to another protocol or in circles."""
    url = web.add("/old", status=302, headers={"Location": location})
    with pytest.raises(DownloadError, match=reason):
        download(url, target)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://host/file", "http://host/file: http needs a sha256, since anybody on the way could change the file"),
        ("ftp://host/file", "ftp://host/file: expected a URL such as https://host/file.zip"),
        ("file:///etc/passwd", "file:///etc/passwd: expected a URL such as https://host/file.zip"),
        ("https:///file", "https:///file: expected a URL such as https://host/file.zip"),
        ("file.zip", "file.zip: expected a URL such as https://host/file.zip"),
        ("", "an empty URL: expected a URL such as https://host/file.zip"),
        ("https://[::1/file", "https://[::1/file is no URL: Invalid IPv6 URL"),
        ("https://me:secret@host/file", "https://host/file: names and passwords in a URL are not sent; leave them out"),
    ],
)
def test_an_address_that_nothing_may_come_from_is_refused(target, url, reason):
    """Before anything is sent; a password is not repeated."""
    with pytest.raises(DownloadError) as error:
        download(url, target)

    assert str(error.value) == reason


def test_a_url_is_logged_without_what_may_be_secret():
    """Neither passwords nor queries, nor anything that moves a cursor."""
    assert shown("https://me:secret@host:8/a b/file.zip?token=secret#part\x1b") == "https://host:8/a b/file.zip"
    assert shown("https://[host/file?token=secret") == "https://[host/file"


def test_spaces_and_letters_in_a_path_are_encoded(web, target):
    """As a browser does it; what is encoded already stays as it is."""
    web.add("/a%20b/%C3%A9/%2F?x=1", BODY)

    assert download(f"{web.url}/a b/é/%2F?x=1", target) == HASH


@pytest.fixture
def secure(web, tmp_path, monkeypatch):
    """The server behind TLS, called ``outside.example``; its certificate is trusted once the test says so."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path / "certificate"
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=outside.example"]
    owner = ["-addext", "subjectAltName=DNS:outside.example"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", *kind, *owner, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    address = socket.getaddrinfo("127.0.0.1", int(web.url.rpartition(":")[2]), type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: address)
    web.wrap(context)
    return Secure(web.url.replace("http://127.0.0.1", "https://outside.example"), certificate)


@dataclass
class Secure:
    url: str
    certificate: Path


def test_https_is_for_those_whose_certificate_is_trusted(web, secure, target, monkeypatch):
    """A server with a certificate of its own making is refused; a trusted one is not."""
    web.add("/file", BODY)
    with pytest.raises(DownloadError, match=r"could not be downloaded: CERTIFICATE_VERIFY_FAILED"):
        download(f"{secure.url}/file", target)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secure.certificate))

    assert download(f"{secure.url}/file", target) == HASH


def test_nobody_else_leads_to_this_machine(web, secure, target, monkeypatch):
    """A redirect from outside does not reach what only this machine can reach."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secure.certificate))
    web.add("/old", status=302, headers={"Location": "http://127.0.0.1/file"})
    with pytest.raises(DownloadError) as error:
        download(f"{secure.url}/old", target)

    assert str(error.value).startswith(f"{secure.url}/old leads to http://127.0.0.1/file: http needs a sha256")


def test_a_disk_that_is_full_is_said_so(web, target, monkeypatch):
    """What the system says about the file reaches the caller as it is."""
    url = web.add("/file", BODY)
    monkeypatch.setattr(download_module, "sync", _disk_full)

    with pytest.raises(OSError, match="No space left on device") as error:
        download(url, target)
    assert not isinstance(error.value, DownloadError)
    assert not target.exists()


def _disk_full(_descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


KILLED = """
import sys
from pathlib import Path
from emloop._support import download
download.sync = lambda _: __import__("os").kill(__import__("os").getpid(), 9)
download.download(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_process_that_is_killed_leaves_no_file_that_looks_whole(web, target):
    """All bytes are there, and not yet safe: they lie under a hidden name, and the next call starts anew."""
    url = web.add("/file", BODY)
    killed = subprocess.run([sys.executable, "-c", KILLED, url, target], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert names(target.parent) == [".file.bin.part"]
    assert download(url, target) == HASH
    assert names(target.parent) == ["file.bin"]


def test_without_pooch_the_error_says_how_to_install_it(web, target, monkeypatch):
    """It is imported when something is downloaded, and not before."""
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError) as error:
        download(web.add("/file", BODY), target)

    assert str(error.value) == "downloading files needs a package that is not installed: pip install 'emloop[download]'"
