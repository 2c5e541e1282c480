"""Download one file over HTTP with pooch: what then has its name is whole, and is the file that was meant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from emloop import __version__
from emloop.errors import DownloadError, MissingExtraError

from .files import fsync_dir, sha256_of, sync
from .printable import printable
from .progress import progress

__all__ = ["MAX_BYTES", "TIMEOUT", "download", "shown"]

MAX_BYTES = 10 << 30
"""Default limit on the size of a file, in bytes."""

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""

_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}


def download(
    url: str, path: Path, *, sha256: str | None = None, max_bytes: int = MAX_BYTES, timeout: float = TIMEOUT
) -> str:
    """Download a file; only a whole and right one replaces an older one of its name.

    Args:
        url: ``https://…``; ``http://…`` only with a hash, or from this machine.
        path: Where to store the file.
        sha256: Hash that the file must have, hexadecimal.
        max_bytes: Limit on its size.
        timeout: Seconds without a byte after which to give up.

    Returns:
        SHA-256 of the file, hexadecimal.

    Raises:
        DownloadError: If the file cannot be had, is too large, or has another hash; nothing of it is kept.
        MissingExtraError: If pooch is not installed.
        OSError: If the file cannot be written.
    """
    try:
        import pooch  # noqa: PLC0415 - an extra
        import requests  # noqa: PLC0415 - raises what pooch lets through
    except ImportError as error:
        raise MissingExtraError("downloading files", "download") from error
    part = path.with_name(f".{path.name}.part")
    try:
        with ExitStack() as stack, part.open("wb") as file, progress(path.name) as report:
            transfer = _Transfer(url, sha256 is not None, max_bytes, file, report, stack)
            transfer.check(url)
            headers = {"User-Agent": f"emloop/{__version__}", "Accept-Encoding": "identity"}
            hooks = {"response": transfer.begin}
            pooch.HTTPDownloader(chunk_size=1 << 18, timeout=timeout, headers=headers, hooks=hooks)(url, transfer, None)
            file.flush()
            sync(file.fileno())
        digest = sha256_of(part)
        if sha256 not in (None, digest):
            raise DownloadError(
                f"{shown(url)} is not the file that was expected: its sha256 is {digest}, not {sha256}; "
                "if it was meant to change, pin the new one"
            )
        part.replace(path)
    except (requests.RequestException, ValueError) as error:
        cause: object = error
        while isinstance(cause, Exception):
            cause = getattr(cause, "reason", None) or (cause.args[0] if cause.args else type(cause).__name__)
        reason = printable(str(cause)).partition(" for url: ")[0]  # whose query may hold a secret
        raise DownloadError(f"{shown(url)} could not be downloaded: {reason}") from error
    finally:
        part.unlink(missing_ok=True)
    fsync_dir(path.parent)
    return digest


def shown(url: str) -> str:
    """The URL as a log may have it: without a password, and without a query, which may hold a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return printable(url.partition("?")[0])
    return printable(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl())


@dataclass
class _Transfer:
    """Holds a server to what the user asked for; pooch writes the file through it.

    Args:
        url: Where the download begins.
        pinned: Whether the hash will be compared, so that nobody can change the file on its way.
        max_bytes: Limit on the size.
        file: Receives the content.
        report: Called with the number of bytes that have come, and with their total if the server tells it.
        stack: Closes the responses in the end, which pooch does not.
    """

    url: str
    pinned: bool
    max_bytes: int
    file: IO[bytes]
    report: Callable[[int, int | None], None]
    stack: ExitStack
    _total: int | None = None

    def check(self, url: str) -> None:
        """Refuse an address that the file must not come from."""
        try:
            parts, origin = urlsplit(url), urlsplit(self.url).hostname
        except ValueError as error:
            raise DownloadError(f"{shown(url)} is no URL: {error}") from error
        led = "" if url == self.url else f"{shown(self.url)} leads to "
        if not parts.hostname or parts.scheme not in ("http", "https"):
            raise DownloadError(f"{led}{shown(url) or 'an empty URL'}: expected a URL such as https://host/file.zip")
        # Nobody outside may lead to what only this machine can reach.
        if parts.scheme == "http" and not self.pinned and not {parts.hostname, origin} <= _THIS_MACHINE:
            raise DownloadError(
                f"{led}{shown(url)}: http needs a sha256, since anybody on the way could change the file"
            )
        if parts.username is not None:
            raise DownloadError(f"{led}{shown(url)}: names and passwords in a URL are not sent; leave them out")

    def begin(self, response: Any, **_: Any) -> None:
        """Look at a response, before a redirect is followed."""
        self.stack.callback(response.close)
        self._total = response.raw.length_remaining
        if response.is_redirect:
            self.check(urljoin(response.url, response.headers["location"]))

    def write(self, chunk: bytes) -> None:
        size = self.file.tell() + len(chunk)
        if max(size, self._total or 0) > self.max_bytes:
            raise DownloadError(
                f"{shown(self.url)} is larger than {self.max_bytes} bytes; if it is meant to be, raise max_bytes"
            )
        self.file.write(chunk)
        self.report(size, self._total)

    def flush(self) -> None:
        """Do nothing: pooch would flush after each chunk."""
