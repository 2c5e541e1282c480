"""A dataset that brings its files."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import emloop as el
from emloop.datasets.downloadable_dataset import Download
from emloop.errors import ConfigError, DownloadError
from emloop.utils import yaml_to_str


class Files(el.DownloadableDataset):
    """A dataset that adds an argument of its own."""

    def _configure_dataset(self, batch_size=1, **kwargs):
        super()._configure_dataset(**kwargs)
        self.batch_size = batch_size


class Fixed(el.DownloadableDataset):
    """A dataset that knows by itself what it needs."""

    def _configure_dataset(self, where, url):
        self._where, self._url = where, url

    @property
    def data_root(self):
        return self._where

    @property
    def download_urls(self):
        return [self._url]


def make(cls=Files, **config):
    return cls(yaml_to_str(config))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that a server shows, and the server's address."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "site"
    for version in ("v1", "v2"):
        (folder / version).mkdir(parents=True)
        with tarfile.open(folder / version / "data.tar.gz", "w:gz") as archive:
            info = tarfile.TarInfo(f"{version}.csv")
            info.size = 4
            archive.addfile(info, io.BytesIO(b"1,2\n"))
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_everything_is_downloaded_and_unpacked(site, tmp_path):
    """URLs, and mappings with a hash, side by side; files of one name do not meet."""
    folder, url = site
    digest = hashlib.sha256((folder / "v2" / "data.tar.gz").read_bytes()).hexdigest()
    urls = [f"{url}/v1/data.tar.gz", {"url": f"{url}/v2/data.tar.gz", "sha256": digest}]
    dataset = make(data_root=str(tmp_path / "data"), download_urls=urls, batch_size=7)
    dataset.download()

    found = {path.name for path in (tmp_path / "data").iterdir() if not path.name.startswith(".")}
    assert {"v1.csv", "v2.csv", "data.tar.gz"} < found
    assert len(found) == 4
    assert dataset.batch_size == 7
    dataset.download()


def test_an_item_says_how_it_is_stored(site, tmp_path):
    """Under which name, whether it is unpacked, and how large it may be."""
    _, url = site
    item = {"url": f"{url}/v1/data.tar.gz", "name": "first.tgz", "extract": False, "max_bytes": 1000}
    make(data_root=str(tmp_path / "data"), download_urls=[item]).download()

    assert {path.name for path in (tmp_path / "data").iterdir()} == {"first.tgz", ".first.tgz.json"}
    item = Download(f"{url}/v1/data.tar.gz", max_bytes=10)
    dataset = make(data_root=str(tmp_path / "other"))
    dataset._download_urls = [item]
    with pytest.raises(DownloadError, match="is larger than 10 bytes; if it is meant to be, raise max_bytes"):
        dataset.download()


def test_a_subclass_may_know_its_urls_itself(site, tmp_path):
    """By overriding the properties, as for the reference."""
    _, url = site
    make(Fixed, where=str(tmp_path / "data"), url=f"{url}/v1/data.tar.gz").download()

    assert (tmp_path / "data" / "v1.csv").exists()


def test_a_failed_download_is_an_error(site, tmp_path):
    """The reference only logged it."""
    _, url = site
    dataset = make(data_root=str(tmp_path / "data"), download_urls=[f"{url}/gone.zip"])
    with pytest.raises(DownloadError) as error:
        dataset.download()

    assert str(error.value) == f"{url}/gone.zip could not be downloaded: 404 Client Error: File not found"


@pytest.mark.parametrize("name", ["data_root", "download_urls"])
def test_what_is_not_configured_is_missed_when_it_is_needed(name):
    """A training whose data is there already needs neither."""
    with pytest.raises(ConfigError, match=f"^Files needs the argument '{name}'"):
        getattr(make(), name)


def test_a_misspelt_argument_is_an_error():
    """What no subclass takes comes to the base, which refuses it."""
    with pytest.raises(ConfigError) as error:
        make(download_url=["x"])

    assert str(error.value).splitlines() == [
        "Files: unknown argument 'download_url'",
        "  did you mean 'download_urls'?",
        "  beside its own, Files takes: data_root, download_urls",
    ]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "download_urls: expected a URL, or a mapping of url, sha256, name, extract, max_bytes, got 7"),
        ({"sha256": "x"}, "download_urls: expected a URL, or a mapping of url, sha256, name, extract, max_bytes, got"),
        ({"url": "x", "md5": "x"}, "download_urls: expected a URL, or a mapping of url, sha256, name, extract, max_by"),
        ({"url": "x", "sha256": "5d41"}, "download_urls: expected a sha256 of 64 hexadecimal digits, got '5d41'"),
        ({"url": "x", "name": "../x"}, "download_urls: expected a plain file name, got '../x'"),
        ({"url": "x", "name": ".."}, "download_urls: expected a plain file name, got '..'"),
        ({"url": "x", "name": ""}, "download_urls: expected a plain file name, got ''"),
    ],
)
def test_an_item_that_cannot_be_meant_is_an_error(tmp_path, item, message):
    """It says what is accepted; nothing is downloaded before."""
    dataset = make(data_root=str(tmp_path / "data"), download_urls=["https://host/x", item])
    with pytest.raises(ConfigError) as error:
        dataset.download()

    assert str(error.value).startswith(message)
    assert not (tmp_path / "data").exists()


MODULE = """
import emloop as el

class Digits(el.DownloadableDataset):
    def train_stream(self):
        yield {"x": [1]}
"""


@pytest.mark.slow
def test_the_command_downloads_and_fails_when_it_cannot(site, tmp_path):
    """``emloop dataset download CONFIG``; one line and exit code 1 where the reference had 0."""
    _, url = site
    (tmp_path / "digits.py").write_text(MODULE)
    config = {"dataset": {"class": "digits.Digits", "data_root": "data", "download_urls": [f"{url}/v1/data.tar.gz"]}}
    (tmp_path / "config.yaml").write_text(yaml_to_str(config))

    def emloop(*overrides):
        command = [sys.executable, "-m", "emloop", "dataset", "download", "config.yaml", *overrides]
        environment = {**os.environ, "no_proxy": "*"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert emloop().returncode == 0
    assert (tmp_path / "data" / "v1.csv").read_bytes() == b"1,2\n"
    failed = emloop(f"dataset.download_urls=[{url}/gone.zip]")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == f"{url}/gone.zip could not be downloaded: 404 Client Error: File not found"
    assert "Traceback" not in failed.stderr
    assert emloop("dataset.download_url=x").returncode == 2
