"""HTTP connections that are kept and used again: hundreds of small files cost six handshakes, not hundreds.

Speaks GET only. Goes through a proxy where one is given (a tunnel for https), follows redirects
without taking passwords along to another host, and verifies TLS with the context it is given.

Semantics: RFC 9110 (redirects: section 15.4), RFC 9112 (absolute form through a proxy: 3.2.2).
"""

from __future__ import annotations

import base64
import http.client
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

REDIRECTS = 8
_MOVED = frozenset((301, 302, 303, 307, 308))
_SECRET = frozenset(("authorization", "cookie", "proxy-authorization"))


class TooManyRedirects(http.client.HTTPException):
    """A server sends us in circles, or to something that is no web address."""


@dataclass(frozen=True, slots=True)
class _Peer:
    """Whom a connection is with: the server, or a proxy on the way to it."""

    scheme: str
    host: str
    port: int
    proxy: str


class Connections:
    """Idle connections by peer, shared between threads."""

    def __init__(self, tls: ssl.SSLContext, timeout_s: float) -> None:
        self._tls = tls
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: dict[_Peer, list[http.client.HTTPConnection]] = {}

    @contextmanager
    def get(self, address: str, headers: Mapping[str, str], proxy: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET, redirects followed. ``proxy`` empty means none. OSError or HTTPException."""
        for _ in range(REDIRECTS):
            parts = urlsplit(address)
            peer = _peer(parts, proxy)
            connection, answer = self._ask(peer, parts, headers)
            if answer.status in _MOVED and (target := answer.headers.get("Location")):
                answer.read()
                self._put_back(peer, connection, answer)
                headers = headers if _same_host(address, urljoin(address, target)) else _open_only(headers)
                address = urljoin(address, target)
                continue
            try:
                yield answer
            finally:
                self._put_back(peer, connection, answer)
            return
        raise TooManyRedirects(f"more than {REDIRECTS} redirects")

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _ask(
        self, peer: _Peer, parts: SplitResult, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send and read the head. A kept connection that its peer has closed meanwhile is replaced, once."""
        kept = self._taken(peer)
        if kept is not None:
            try:
                return kept, _exchange(kept, peer, parts, headers)
            except (http.client.HTTPException, OSError):
                kept.close()
        fresh = self._made(peer)
        try:
            return fresh, _exchange(fresh, peer, parts, headers)
        except BaseException:
            fresh.close()
            raise

    def _taken(self, peer: _Peer) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(peer)
            return idle.pop() if idle else None

    def _put_back(
        self, peer: _Peer, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> None:
        if not answer.isclosed() or answer.will_close:
            connection.close()
            return
        with self._lock:
            self._idle.setdefault(peer, []).append(connection)

    def _made(self, peer: _Peer) -> http.client.HTTPConnection:
        proxy = urlsplit(peer.proxy) if peer.proxy else None
        host, port = (proxy.hostname or "", proxy.port or 3128) if proxy else (peer.host, peer.port)
        secure = peer.scheme == "https" or (proxy is not None and proxy.scheme == "https")
        if not secure:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        if proxy and peer.scheme == "https":
            connection.set_tunnel(peer.host, peer.port, dict(_proxy_password(peer)))
        return connection


def basic(parts: SplitResult) -> str:
    """The Authorization value for the user and password of an address; empty where it has none."""
    if not parts.username:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _exchange(
    connection: http.client.HTTPConnection, peer: _Peer, parts: SplitResult, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = dict(headers)
    if peer.proxy and peer.scheme == "http":
        target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
        sent |= _proxy_password(peer)
    connection.request("GET", target, headers=sent)
    return connection.getresponse()


def _proxy_password(peer: _Peer) -> dict[str, str]:
    value = basic(urlsplit(peer.proxy))
    return {"Proxy-Authorization": value} if value else {}


def _peer(parts: SplitResult, proxy: str) -> _Peer:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TooManyRedirects(f"redirected to {parts.scheme}:, which is no web address")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return _Peer(parts.scheme, parts.hostname, port, proxy)


def _same_host(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _open_only(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _SECRET}
