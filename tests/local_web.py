"""A web server on loopback that behaves as badly as a test wants: slow, broken off, without Range, wrong."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 1 << 14


@dataclass
class Site:
    """``files`` by path. ``answers``: status codes to give first, by path. ``cut``: bytes after which an
    answer breaks off, each used once. ``pause_s`` lies after each 16 KiB. ``asked`` is what came,
    ``most_busy`` how many at once; ``arrived`` is set by each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[int]] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    wrong_range: bool = False
    pause_s: float = 0.0
    redirects: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""
    arrived: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    busy: int = 0
    most_busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked_for(self, path: str) -> list[dict[str, str]]:
        return [headers for one, headers in self.asked if one == path]


@contextmanager
def serving(site: Site, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            site.arrived.set()
            with site.lock:
                site.busy += 1
                site.most_busy = max(site.busy, site.most_busy)
            try:
                self._answer()
            finally:
                with site.lock:
                    site.busy -= 1

        def _answer(self) -> None:
            path = self.path.removeprefix(site.address)  # asked as a proxy is, with the whole address
            if target := site.redirects.get(path):
                self._head(302, 0, {"Location": target})
            elif waiting := site.answers.get(path):
                self._head(waiting.pop(0), 0, site.headers)
            elif path not in site.files:
                self._head(404, 0, {})
            else:
                self._send(path, site.files[path])

        def _send(self, path: str, content: bytes) -> None:
            start = 0
            if site.ranges and (asked := self.headers.get("Range")):
                start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content) > 0:
                self._head(416, 0, {})
                return
            shown = start + 1 if site.wrong_range else start
            span = {"Content-Range": f"bytes {shown}-{len(content) - 1}/{len(content)}"} if start else {}
            self._head(206 if start else 200, len(content) - start, span)
            end = min(len(content), start + site.cut[path].pop(0)) if site.cut.get(path) else len(content)
            for at in range(start, end, CHUNK):
                self.wfile.write(content[at : min(at + CHUNK, end)])
                if site.pause_s and site.closing.wait(site.pause_s):
                    break
            if end < len(content):
                self.close_connection = True

        def _head(self, status: int, length: int, more: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(length), **more}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """The test reads ``asked``."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    site.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
