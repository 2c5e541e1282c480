"""A web server on this machine that does what a test tells it to."""

from __future__ import annotations

import hashlib
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
        length: Whether the size is told: ``exact``, ``missing`` (the connection's end is the end) or ``chunked``.
        breaks_after: Number of bytes after which the connection breaks.
        status: Status, if not 200.
        headers: Further headers.
        endless: Whether the content is sent again and again.
    """

    body: bytes = b""
    length: str = "exact"
    breaks_after: int | None = None
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


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        self.web.requests.append((self.path, dict(self.headers)))
        page = self.web.pages.get(self.path, Page(status=404))
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.length == "exact":
            self.send_header("Content-Length", str(len(page.body)))
        elif page.length == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(ConnectionError):
            self._send(page)

    def _send(self, page: Page) -> None:
        if page.length == "chunked":
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(page.body), page.body))
            return
        self.wfile.write(page.body[: page.breaks_after])
        while page.endless:
            self.wfile.write(page.body)

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
