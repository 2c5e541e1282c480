"""Downloading a file over HTTP: what is there under its name is whole, and is the one that was meant.

A file grows as ``NAME.part``, beside a note of how its server would know it again. A download that was cut off goes on
from there, and starts anew where the server's file has changed. Only what is complete, and has the expected hash, gets
the name.

The standard library does this, not pooch: pooch cannot go on with a part, bound the size or refuse a redirect, and
brings along `requests` with all that it needs.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from emloop import __version__
from emloop.errors import DownloadError

from .files import atomic_write, fsync_dir, sync
from .printable import printable
from .progress import progress

__all__ = ["MAX_BYTES", "TIMEOUT", "download", "fingerprint", "shown"]

logger = logging.getLogger(__name__)

MAX_BYTES = 10 << 30
"""Size of a file beyond which a server is no longer believed."""

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""

_TRIES = 5
_CHUNK = 1 << 18
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


def download(
    url: str, path: Path, *, sha256: str | None = None, max_bytes: int = MAX_BYTES, timeout: float = TIMEOUT
) -> str:
    """Download a file; a file of that name is replaced only by a whole and right one.

    A connection that breaks is taken up again, as long as every try brings something.

    Args:
        url: ``https://…``; ``http://…`` only with a hash, or from this machine.
        path: Where to store it. What is there of it meanwhile lies beside, with ``.part`` appended.
        sha256: Hash that the file must have, hexadecimal.
        max_bytes: Size that it must not exceed.
        timeout: Seconds without a byte after which to give up.

    Returns:
        SHA-256 of the file, hexadecimal.

    Raises:
        DownloadError: If the file cannot be had, is too large, or has another hash. What is there of it is kept where
            a later call can go on from it.
        OSError: If it cannot be written.
    """
    transfer = _Transfer(url, _Part(path, url), sha256 is not None, max_bytes, timeout)
    digest = transfer.finish()
    if sha256 is not None and digest != sha256.lower():
        transfer.part.discard()
        raise DownloadError(
            f"{shown(url)} is not the file that was expected: its sha256 is {digest}, not {sha256.lower()}; "
            "if it was meant to change, pin the new one"
        )
    transfer.part.complete(path)
    return digest


def shown(url: str) -> str:
    """A URL as it may stand in a log: without a password and without a query, which may hold a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return printable(url.partition("?")[0])
    host = parts.netloc.rpartition("@")[2]
    return printable(parts._replace(netloc=host, query="", fragment="").geturl())


def fingerprint(url: str) -> str:
    """What tells a URL from others, and tells nothing of what it holds."""
    return hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()


@dataclass
class _Part:
    """What is there of a file, and a note of whose it is.

    Args:
        path: Where the whole file will be.
        url: Where it comes from.
    """

    path: Path
    url: str

    def __post_init__(self) -> None:
        self.file = self.path.with_name(f"{self.path.name}.part")
        self._note = self.path.with_name(f"{self.path.name}.part.json")

    def known(self) -> tuple[int, str]:
        """Number of bytes that are there, and what tells their file from others; 0 and nothing where none can be used.

        Anything odd in the note only means a new start.
        """
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            size = self.file.stat().st_size
            if note["source"] == fingerprint(self.url) and isinstance(note["validator"], str):
                return size, note["validator"]
        except (OSError, ValueError, TypeError, KeyError):
            pass
        return 0, ""

    def begin(self, validator: str | None) -> None:
        """Start anew, with a file that the server would know again by ``validator``."""
        self.discard()
        self.file.touch()
        if validator is not None:
            atomic_write(self._note, json.dumps({"source": fingerprint(self.url), "validator": validator}))

    def complete(self, path: Path) -> None:
        """Give the file its name, durably."""
        self.file.replace(path)
        self._note.unlink(missing_ok=True)
        fsync_dir(path.parent)

    def discard(self) -> None:
        """Forget everything."""
        self._note.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)


class _CutOff(Exception):
    """The connection broke in the middle of the file."""


@dataclass
class _Transfer:
    """One file on its way, over as many connections as it takes.

    Args:
        url: Where it comes from.
        part: Where it goes.
        pinned: Whether its hash will be compared, so that nobody can change it on the way.
        max_bytes: Size that it must not exceed.
        timeout: Seconds without a byte after which to give up.
    """

    url: str
    part: _Part
    pinned: bool
    max_bytes: int
    timeout: float

    def finish(self) -> str:
        """Get whatever is missing, and return the hash of it all."""
        opener, tries = _opener(self._check), 0
        with _as_download_error(self.url):
            self._check(self.url)
            while True:
                before, tries = self.part.known()[0], tries + 1
                try:
                    return self._continue(opener)
                except _CutOff as cut_off:
                    size = self.part.known()[0]
                    if tries == _TRIES or size <= before:
                        hint = f"; try again, and it goes on from {self.part.file}" if size else ""
                        raise DownloadError(f"{shown(self.url)} was cut off: {cut_off}{hint}") from cut_off.__cause__
                    logger.info("%s was cut off after %d bytes, going on from there", shown(self.url), size)

    def _continue(self, opener: OpenerDirector) -> str:
        offset, validator = self.part.known()
        try:
            response = self._request(opener, offset, validator)
        except HTTPError as error:
            if error.code != _RANGE_NOT_SATISFIABLE or not offset:
                raise
            error.close()
            offset, response = 0, self._request(opener, 0, "")
        with response:
            if response.status == _PARTIAL_CONTENT:
                if not offset or _first_byte(response.headers) != offset:
                    self.part.discard()
                    raise DownloadError(f"{shown(self.url)}: the server sent another part than it was asked for")
            else:
                offset = 0
                self.part.begin(_validator(response.headers))
            return self._receive(response, offset)

    def _request(self, opener: OpenerDirector, offset: int, validator: str) -> HTTPResponse:
        headers = {"User-Agent": f"emloop/{__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        # What a browser would encode in an address, and http.client refuses.
        url = quote(self.url, safe="%/:=&?~#+!$,;'@()*[]")
        response: HTTPResponse = opener.open(Request(url, headers=headers), timeout=self.timeout)  # noqa: S310 - checked
        return response

    def _receive(self, response: HTTPResponse, offset: int) -> str:
        """Append a response's body to the part, and return the hash of the whole."""
        length = response.length
        total = None if length is None else offset + length
        self._check_size(total or 0)
        with self.part.file.open("r+b") as file, progress(self.part.path.name, total, offset) as report:
            digest = hashlib.file_digest(file, hashlib.sha256)
            size = offset
            for chunk in _chunks(response):
                size += len(chunk)
                self._check_size(size)
                file.write(chunk)
                digest.update(chunk)
                report(size)
            file.flush()
            sync(file.fileno())
        if total is not None and size < total:
            raise _CutOff(f"{size} of {total} bytes came")
        return digest.hexdigest()

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            self.part.discard()
            raise DownloadError(
                f"{shown(self.url)} is larger than {self.max_bytes} bytes; if it is meant to be, raise max_bytes"
            )

    def _check(self, url: str) -> None:
        """Refuse an address that the file must not come from; redirects are asked about as well."""
        try:
            parts = urlsplit(url)
            scheme, host, user = parts.scheme, parts.hostname, parts.username
        except ValueError as error:
            raise DownloadError(f"{shown(url)} is no URL: {error}") from error
        led = "" if url == self.url else f"{shown(self.url)} leads to "
        if not host or scheme not in ("http", "https"):
            raise DownloadError(f"{led}{shown(url) or 'an empty URL'}: expected a URL such as https://host/file.zip")
        if scheme == "http" and not self.pinned and not self._is_local(host):
            raise DownloadError(
                f"{led}{shown(url)}: http needs a sha256, since anybody on the way could change the file"
            )
        if user is not None:
            raise DownloadError(f"{led}{shown(url)}: names and passwords in a URL are not sent; leave them out")

    def _is_local(self, host: str) -> bool:
        """Whether a host is this machine, and the download began here: nobody else may lead to it."""
        return _is_loopback(host) and _is_loopback(urlsplit(self.url).hostname or "")


class _Redirects(HTTPRedirectHandler):
    """Follows redirects that pass a check."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """The request that a redirect leads to."""
        try:
            self._check(newurl)
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(check: Callable[[str], None]) -> OpenerDirector:
    """What opens URLs: http and https, and nothing of what else urllib could open, such as files."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        _Redirects(check),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@contextmanager
def _as_download_error(url: str) -> Iterator[None]:
    """Say of what goes wrong on the net which download it has ended."""
    try:
        yield
    except DownloadError:
        raise
    except HTTPError as error:
        error.close()
        raise DownloadError(f"{shown(url)} could not be downloaded: {error.code} {printable(error.reason)}") from error
    except (URLError, TimeoutError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{shown(url)} could not be downloaded: {printable(str(reason))}") from error


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (HTTPException, OSError) as error:
            raise _CutOff(str(error)) from error
        if not chunk:
            return
        yield chunk


def _validator(headers: Message) -> str | None:
    """What tells this version of a file from all others, if the server promises that."""
    tag = headers.get("ETag", "")
    if tag.startswith('"'):
        return tag
    try:
        # A file that changed in the second in which it was sent has one time for two contents.
        age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(headers["Last-Modified"])
    except (TypeError, ValueError):
        return None
    return str(headers["Last-Modified"]) if age.total_seconds() >= 1 else None


def _first_byte(headers: Message) -> int | None:
    unit, _, span = headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
