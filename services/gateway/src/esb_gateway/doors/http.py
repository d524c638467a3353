"""HTTP/1.1 for both doors: one protocol object per connection, no task per request.

A route is a callback: it gets an :class:`Exchange` once the request is whole and answers it at
once or later, from any callback of the loop. Requests of one connection are answered in their
order; while one is being answered the next is parsed but not begun, and reading stops.

Refused and closed (400): what llhttp's strict mode refuses, both ``Content-Length`` and
``Transfer-Encoding``, two of either, any coding but ``chunked``, no or two ``Host`` in HTTP/1.1
(RFC 9112 §3.2, §6). A body beyond its route's limit is read to its end without being kept, then
refused, because a client that is still sending does not see an early answer.

Lifetimes: an exchange dies with its connection; answering it then does nothing. Cost: 15 µs for
a small request and its answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import httptools

REASONS: Mapping[int, bytes] = MappingProxyType({s.value: s.phrase.encode() for s in HTTPStatus})
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NEVER = float("inf")
JOIN_BELOW = 64 * 1024
"""Bodies up to this size are copied behind their head, so that an answer is one write."""

DISCARD_MOST = 256 * 1024 * 1024
"""Bytes of a refused body that are read before the connection is simply closed."""

LINGER_S = 2.0
LINGER_BYTES = 16 * 1024 * 1024
STREAM_MOST = 1024 * 1024
"""Bytes a slow reader of a stream may fall behind before it is cut off."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one connection may cost. Times in seconds; sizes in bytes."""

    head_bytes: int = 32 * 1024
    headers: int = 100
    pipelined: int = 64
    head_s: float = 10.0
    body_s: float = 30.0
    body_total_s: float = 600.0
    idle_s: float | None = 75.0


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. ``headers`` leave out length, date and connection; those are the protocol's."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def head(self) -> bytes:
        """Status line and headers, without the final empty line."""
        lines = [b"HTTP/1.1 %d %s\r\n" % (self.status, REASONS.get(self.status, b""))]
        lines += [f"{name}: {value}\r\n".encode("latin-1") for name, value in self.headers]
        return b"".join(lines)


def json_response(status: int, content: Any, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """``content`` as compact JSON."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/json"), *headers), body)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: its handler, the most its body may hold, and the answer beyond that."""

    handle: Callable[[Exchange], None]
    body_bytes: int = 0
    too_large: Callable[[Exchange], Response] = lambda _: json_response(
        413, {"message": "the body is too large"}
    )


Router = Callable[["Exchange"], "Route | Response"]
"""Called with the head alone; a Response refuses the request."""


class Exchange:
    """One request and the one answer it gets. ``target`` is the raw path with its query."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_size",
        "body",
        "headers",
        "keep_alive",
        "method",
        "route",
        "target",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self.method = b""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = True
        self.body = b""
        self.route: Route | Response | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first header called ``name`` (lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def scheme(self) -> str:
        """What the client's address began with: ``https`` or ``http``."""
        assert self._connection is not None
        return self._connection.scheme

    @property
    def connected(self) -> bool:
        """Whether anybody would see an answer."""
        return self._connection is not None and not self._connection.closed

    def answer(self, response: Response) -> None:
        """Send the answer, once. Does nothing where the client has gone."""
        self.answer_raw(response.head, response.body)

    def answer_raw(self, head: bytes, body: bytes) -> None:
        """As :meth:`answer`, with a status line and headers that are bytes already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.answer(self, head, body)

    def stream(self, response: Response) -> Stream:
        """Begin a chunked answer; ``response.body`` is its first part."""
        connection, self._connection = self._connection, None
        assert connection is not None, "an exchange is answered once"
        return connection.stream(self, response)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call when the client goes away before it was answered."""
        if self._connection is not None:
            self._connection.on_lost = callback


class Stream:
    """A chunked answer under way."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def open(self) -> bool:
        """Whether the client still listens."""
        return not self._connection.closed

    def write(self, data: bytes) -> None:
        """Send a chunk. A client that falls :data:`STREAM_MOST` behind is cut off."""
        if data and self.open:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
            if self._connection.unsent > STREAM_MOST:
                self._connection.abort()

    async def drained(self) -> None:
        """Wait until the client has taken what was written, or has gone."""
        await self._connection.drained()

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call when the client goes away before the end."""
        self._connection.on_lost = callback

    def abort(self) -> None:
        """Break off, so that the client sees that something is missing."""
        self._connection.abort()

    def end(self) -> None:
        """Finish the answer."""
        if self.open:
            self._connection.write(b"0\r\n\r\n")
            self._connection.finished()


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, router: Router, limits: HttpLimits, register: Registry) -> None:
        self._router = router
        self._limits = limits
        self._registry = register
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: Exchange | None = None
        self._current: Exchange | None = None
        self._keep_alive = True
        self._queue: deque[Exchange] = deque()
        self._head_bytes = 0
        self._begun = 0.0
        self._body_begun = 0.0
        self._lengths = 0
        self._codings = 0
        self._hosts = 0
        self._header_bytes = 0
        self._due = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._reading = True
        self._drained: asyncio.Event | None = None
        self._broken = False
        self._discarded = 0
        self.closed = False
        self.on_lost: Callable[[], None] | None = None

    # --- the transport's callbacks -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._registry.enter(self):
            self._refuse(503, "no more connections are taken")
            return
        self._allow(self._limits.head_s if self._limits.idle_s is not None else None)

    def data_received(self, data: bytes) -> None:
        if self._broken:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.abort()
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._keep_alive = False
            self._broken = True
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Refusal):
                raise
            self._refuse(*error.__context__.args)
        except httptools.HttpParserError:
            self._refuse(400, "malformed request")
        else:
            if self._incoming is not None:
                self._await_rest(self._incoming, len(data))

    def _await_rest(self, exchange: Exchange, size: int) -> None:
        """A request has begun and is not whole: give its head or its body time."""
        now = self._loop.time()
        if exchange.route is None:
            if self._head_bytes > self._limits.head_bytes + size:
                self._refuse(431, "the headers are too large")
            elif self._begun == 0.0:
                self._begun = now
                self._allow(self._limits.head_s)
        else:
            if self._body_begun == 0.0:
                self._body_begun = now
            left = self._body_begun + self._limits.body_total_s - now
            self._allow(min(self._limits.body_s, left))

    def eof_received(self) -> bool:
        """Tell who wants to know. A client that only half-closed still gets its answer."""
        if self._current is None or self._registry.close_on_eof:
            return False
        self._keep_alive = False
        self._queue.clear()
        self._lost()
        return True

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        self._due = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._registry.leave(self)
        if self._drained is not None:
            self._drained.set()
        self._lost()

    def _lost(self) -> None:
        callback, self.on_lost = self.on_lost, None
        if callback is not None:
            callback()

    def pause_writing(self) -> None:
        self._drained = asyncio.Event()
        self._pause()

    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None
        if self._current is None or not self._queue:
            self._resume()

    # --- the parser's callbacks ----------------------------------------------------------

    def on_message_begin(self) -> None:
        self._incoming = Exchange(self)
        self._begun = self._body_begun = 0.0
        self._lengths = self._codings = self._hosts = self._header_bytes = 0

    def on_url(self, part: bytes) -> None:
        assert self._incoming is not None
        self._incoming.target += part
        if len(self._incoming.target) > self._limits.head_bytes:
            raise _Refusal(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._incoming is not None
        if self._incoming.route is not None:
            return
        headers = self._incoming.headers
        name = name.lower()
        headers.append((name, value))
        self._header_bytes += len(name) + len(value)
        if len(headers) > self._limits.headers or self._header_bytes > self._limits.head_bytes:
            raise _Refusal(431, "the headers are too many or too large")
        if name == b"content-length":
            self._lengths += 1
        elif name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding":
            self._codings += 1
            if value.strip().lower() != b"chunked":
                raise _Refusal(501, "only the transfer coding chunked is known")

    def on_headers_complete(self) -> None:
        exchange = self._incoming
        assert exchange is not None
        if self._lengths + self._codings > 1:
            raise _Refusal(400, "a request has one length")
        version = self._parser.get_http_version()
        if version == "1.1":
            if self._hosts != 1:
                raise _Refusal(400, "a request has one Host")
        elif version != "1.0":
            raise _Refusal(505, "HTTP/1.1 is spoken here")
        elif self._codings:
            raise _Refusal(400, "HTTP/1.0 has no transfer codings")
        exchange.method = self._parser.get_method()
        exchange.keep_alive = self._parser.should_keep_alive()
        exchange.route = self._router(exchange)
        if self._lengths or self._codings:
            self._expect_body(exchange)

    def _expect_body(self, exchange: Exchange) -> None:
        length = exchange.header(b"content-length")
        route = exchange.route
        if length is not None and isinstance(route, Route) and int(length) > route.body_bytes:
            exchange.route = route = route.too_large(exchange)
        waits = (exchange.header(b"expect") or b"").lower() == b"100-continue"
        if waits and isinstance(route, Response):
            exchange.keep_alive = False
            self._broken = True
            self._incoming = None
            self._begin(exchange)
        elif waits:
            self.write(CONTINUE)

    def on_body(self, part: bytes) -> None:
        exchange = self._incoming
        if exchange is None:
            return
        exchange._size += len(part)
        route = exchange.route
        if isinstance(route, Route) and exchange._size > route.body_bytes:
            exchange.route = route = route.too_large(exchange)
            exchange._chunks.clear()
        if isinstance(route, Route):
            exchange._chunks.append(part)
        elif exchange._size > DISCARD_MOST:
            raise _Refusal(413, "the body is too large")

    def on_message_complete(self) -> None:
        exchange, self._incoming = self._incoming, None
        self._head_bytes = 0
        if exchange is None:
            return
        chunks = exchange._chunks
        exchange.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if exchange._size and isinstance(exchange.route, Response):
            exchange.keep_alive = False
        if self._current is None and not self._queue:
            self._begin(exchange)
            return
        self._queue.append(exchange)
        if len(self._queue) > self._limits.pipelined:
            raise _Refusal(400, "too many requests at once")
        self._pause()

    # --- answering -----------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        self._due = NEVER
        self._current = exchange
        route = exchange.route
        if isinstance(route, Route):
            route.handle(exchange)
        elif route is not None:
            exchange.answer(route)

    def answer(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Write the answer of ``exchange``, which is the current one."""
        if self.closed:
            return
        tail = b"Content-Length: %d\r\n%b\r\n" % (len(body), self._connection_headers(exchange))
        if exchange.method == b"HEAD":
            self.write(head + tail)
        elif len(body) <= JOIN_BELOW:
            self.write(head + tail + body)
        else:
            assert self._transport is not None
            self._transport.writelines((head + tail, body))
        self.finished()

    def stream(self, exchange: Exchange, response: Response) -> Stream:
        """Begin the chunked answer of ``exchange``."""
        extra = b"Transfer-Encoding: chunked\r\n%b\r\n" % self._connection_headers(exchange)
        self.write(response.head + extra)
        stream = Stream(self)
        stream.write(response.body)
        return stream

    def _connection_headers(self, exchange: Exchange) -> bytes:
        self._keep_alive = self._keep_alive and exchange.keep_alive and not self._registry.draining
        if not self._registry.dated:
            return b"" if self._keep_alive else b"Connection: close\r\n"
        return self._registry.date() + (b"" if self._keep_alive else b"Connection: close\r\n")

    def finished(self) -> None:
        """The current answer is written: go on with the next request, wait for one, or close."""
        self._current = None
        self.on_lost = None
        if not self._keep_alive:
            self._close()
        elif self._queue:
            self._loop.call_soon(self._next)
        elif self._incoming is None:
            self._allow(self._limits.idle_s)
            self._resume()
        else:
            self._allow(self._limits.head_s if self._incoming.route is None else self._limits.body_s)
            self._resume()

    def _next(self) -> None:
        if self._queue and self._current is None and not self.closed:
            self._begin(self._queue.popleft())

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what cannot be understood, and close."""
        self._broken = True
        self._incoming = None
        if self._current is None and not self._queue:
            response = json_response(status, {"message": reason})
            tail = b"Content-Length: %d\r\n%bConnection: close\r\n\r\n"
            self.write(response.head + tail % (len(response.body), self._registry.date()) + response.body)
            self._linger()
        else:
            self._keep_alive = False
            self._queue.clear()
            self._pause()

    def _linger(self) -> None:
        """Read on for a moment: closing on unread bytes would take the answer from the client."""
        self._allow(LINGER_S)
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    # --- the transport -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if not self.closed and self._transport is not None:
            self._transport.write(data)

    @property
    def scheme(self) -> str:
        """``https`` over TLS, else ``http``."""
        secured = self._transport is not None and self._transport.get_extra_info("sslcontext") is not None
        return "https" if secured else "http"

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._current is None and self._incoming is None and not self._queue

    async def drained(self) -> None:
        """Wait until the transport takes more, or is gone."""
        if self._drained is not None and not self.closed:
            await self._drained.wait()

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close once what is written has been sent."""
        self._close()

    def _close(self) -> None:
        self._broken = True
        self._allow(self._limits.body_s)
        if self._transport is not None:
            self._transport.close()

    def _pause(self) -> None:
        if self._reading and self._transport is not None and not self.closed:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._transport is not None and not self.closed:
            self._reading = True
            self._transport.resume_reading()

    # --- time ----------------------------------------------------------------------------

    def _allow(self, seconds: float | None) -> None:
        """Give the present phase so much time. One timer, moved only when it fires."""
        if seconds is None:
            self._due = NEVER
            return
        self._due = due = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._ran_out)

    def _ran_out(self) -> None:
        self._timer = None
        if self.closed or self._due == NEVER:
            return
        if self._due > self._loop.time():
            self._timer = self._loop.call_at(self._due, self._ran_out)
        elif self._broken:
            self.abort()
        elif self._incoming is not None:
            self._refuse(408, "the request did not come in time")
        else:
            self._close()


class _Refusal(Exception):
    """A status and a reason; raised inside the parser's callbacks only."""


class Registry:
    """The connections of one listener: how many there may be, and what closing asks of them."""

    def __init__(self, most: int = 10_000, *, dated: bool = True, close_on_eof: bool = False) -> None:
        self.most = most
        self.dated = dated
        self.close_on_eof = close_on_eof
        self.draining = False
        self._connections: set[Connection] = set()
        self._emptied: asyncio.Event | None = None
        self._second = 0
        self._date = b""

    def enter(self, connection: Connection) -> bool:
        """Count a connection in; False where there are too many, or no more are taken."""
        if self.draining or len(self._connections) >= self.most:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if self._emptied is not None and not self._connections:
            self._emptied.set()

    async def empty(self) -> None:
        """Wait until no connection is left; after :meth:`drain`."""
        if self._connections:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def date(self) -> bytes:
        """The Date header, made once a second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._date

    def drain(self) -> None:
        """Close idle connections, and the others after their present answer."""
        self.draining = True
        for connection in list(self._connections):
            if connection.idle and not connection.unsent:
                connection.abort()  # closing would wait for the client's goodbye in TLS
            elif connection.idle:
                connection.close()

    def abort(self) -> None:
        """Cut all connections off."""
        for connection in list(self._connections):
            connection.abort()
