"""A web server on this machine that does what a test tells it to."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Page:
    """What there is under a path.

    Args:
        body: The content.
        etag: What the server calls this version of it.
        modified: Header ``Last-Modified``.
        ranges: Whether a part can be asked for.
        length: Whether the size is told: ``exact``, ``missing`` (the connection's end is the end) or ``chunked``.
        breaks_after: Number of bytes after which the next connections break, one each.
        status: Status, if not 200.
        headers: Further headers.
        endless: Whether the content is sent again and again.
    """

    body: bytes = b""
    etag: str | None = '"1"'
    modified: str | None = None
    ranges: bool = True
    length: str = "exact"
    breaks_after: list[int] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass
class Web:
    """The server.

    Args:
        url: Its address, without a slash at the end.
        pages: Path → what is there.
        requests: Path and headers of every request so far.
    """

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    server: _Server | None = None

    def add(self, path: str, body: bytes = b"", **options: Any) -> str:
        """Put something under a path, and return its URL."""
        self.pages[path] = Page(body, **options)
        return self.url + path

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    @property
    def asked_for(self) -> list[str | None]:
        """The header ``Range`` of every request."""
        return [headers.get("Range") for _, headers in self.requests]


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        self.web.requests.append((self.path, dict(self.headers)))
        page = self.web.pages.get(self.path, Page(status=404))
        first = self._first(page)
        if first >= len(page.body) > 0:
            self.send_error(416)
            return
        self.send_response(206 if first else page.status)
        for name, value in self._headers(page, first):
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):
            self._send(page, page.body[first:])

    def _first(self, page: Page) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (page.etag, page.modified)
        return int(asked[1]) if asked and page.ranges and same else 0

    def _headers(self, page: Page, first: int) -> Iterator[tuple[str, str]]:
        yield from page.headers.items()
        if page.etag:
            yield "ETag", page.etag
        if page.modified:
            yield "Last-Modified", page.modified
        if first:
            yield "Content-Range", f"bytes {first}-{len(page.body) - 1}/{len(page.body)}"
        if page.length == "exact":
            yield "Content-Length", str(len(page.body) - first)
        elif page.length == "chunked":
            yield "Transfer-Encoding", "chunked"

    def _send(self, page: Page, body: bytes) -> None:
        if page.breaks_after:
            self.wfile.write(body[: page.breaks_after.pop(0)])
            self.wfile.flush()
        elif page.length == "chunked":
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            self.wfile.write(body)
            while page.endless:
                self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that go away."""


@pytest.fixture
def web(monkeypatch) -> Iterator[Web]:
    """A server without any pages."""
    monkeypatch.setenv("no_proxy", "*")
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        handler.web = Web(f"http://127.0.0.1:{server.server_port}", server=server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield handler.web
        server.shutdown()
        thread.join()
