"""Bad bytes: TLS, HTTP/1.1, smuggling, slow and broken-off clients."""

from __future__ import annotations

import socket
import ssl
import struct
import warnings
from collections.abc import Callable

from hostile.caller import FUNCTIONS, PATIENCE_S, Caller, Reply, read
from hostile.kind import Kind

HELLO = f"{FUNCTIONS}/hello/invocations"
HOST = "Host: localhost"
LENGTH = "Content-Length: 2"


def plainly(content: bytes) -> Callable[[Caller], Reply]:
    """Bytes on the TLS port, without TLS."""

    def send(caller: Caller) -> Reply:
        with socket.create_connection(("127.0.0.1", caller.port), timeout=PATIENCE_S) as connection:
            connection.sendall(content)
            reply = read(connection)
            return Reply(0, {}, b"") if not reply.body.startswith(b"HTTP") else reply

    return send


def old_tls(version: ssl.TLSVersion) -> Callable[[Caller], str]:
    def send(caller: Caller) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = ssl.create_default_context(cafile=caller.trust)
            context.minimum_version = context.maximum_version = version
            context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", caller.port), timeout=PATIENCE_S) as plain:
            try:
                context.wrap_socket(plain, server_hostname="localhost").close()
            except (ssl.SSLError, ConnectionError):
                return "refused in the handshake"
        return "accepted"

    return send


def raw(content: str | bytes) -> Callable[[Caller], Reply]:
    """Bytes over TLS; ``KEY`` in them is a good API key."""

    def send(caller: Caller) -> Reply:
        text = content.encode("latin-1") if isinstance(content, str) else content
        return caller.raw(text.replace(b"KEY", caller.api_key.encode()))

    return send


def keyed(*lines: str, body: bytes = b"{}") -> Callable[[Caller], Reply]:
    return lambda caller: caller.keyed(*lines, body=body)


def left(content: bytes, *, reset: bool = False) -> Callable[[Caller], str]:
    """A client that goes away in the middle."""

    def send(caller: Caller) -> str:
        with caller.connect() as connection:
            connection.sendall(content.replace(b"KEY", caller.api_key.encode()))
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return "nothing to answer"

    return send


def smuggled(caller: Caller) -> str:
    """A second request inside the first one's body must stay a body."""
    inner = b"POST /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"POST {HELLO} HTTP/1.1\r\n{HOST}\r\nX-Api-Key: {caller.api_key}\r\n"
    head += f"Content-Length: {len(inner)}\r\n\r\n"
    with caller.connect() as connection:
        connection.sendall(head.encode() + inner)
        first = read(connection)
        connection.settimeout(1)
        try:
            more = connection.recv(1)
        except TimeoutError:
            more = b""
    return first.outcome if not more else "answered twice"


def unread(caller: Caller) -> str:
    """A client that asks a hundred times and never reads."""
    request = (
        f"POST {HELLO} HTTP/1.1\r\n{HOST}\r\nX-Api-Key: {caller.api_key}\r\n{LENGTH}\r\n\r\n{{}}".encode()
    )
    with caller.connect() as connection:
        connection.settimeout(5)
        try:
            for _ in range(100):
                connection.sendall(request)
        except TimeoutError:
            return "not read any further"
    return "nothing to answer"


def many(caller: Caller) -> str:
    """Five hundred connections that say nothing."""
    opened = [socket.create_connection(("127.0.0.1", caller.port), timeout=PATIENCE_S) for _ in range(500)]
    answer = caller.keyed(HOST, LENGTH, body=b"{}").outcome
    for connection in opened:
        connection.close()
    return answer


def dribbled(caller: Caller) -> Reply:
    """A head that comes a byte at a time and never ends."""
    with caller.connect() as connection:
        connection.settimeout(0.25)
        for letter in b"POST / HTTP/1.1\r\nX: " + b"a" * 400:
            try:
                connection.sendall(bytes([letter]))
                if content := connection.recv(65536):
                    break
            except TimeoutError:
                continue
            except (ConnectionError, ssl.SSLError):
                return Reply(0, {}, b"")
        head, _, body = content.partition(b"\r\n\r\n")
        return Reply(int(head.split(b" ")[1]), {}, body or connection.recv(65536))


KINDS = (
    Kind("plain HTTP on the TLS port", "closed", plainly(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
    Kind("random bytes instead of a TLS handshake", "closed", plainly(bytes(range(256)) * 4)),
    Kind("a TLS record that claims 65,535 bytes", "closed", plainly(b"\x16\x03\x01\xff\xff" + b"\x01" * 100)),
    Kind("TLS 1.0", "refused in the handshake", old_tls(ssl.TLSVersion.TLSv1)),
    Kind("TLS 1.1", "refused in the handshake", old_tls(ssl.TLSVersion.TLSv1_1)),
    Kind("random bytes instead of HTTP", "400 malformed request", raw(bytes(range(256)))),
    Kind("a request line of HTTP/0.9", "505 HTTP/1.1 is spoken here", raw("GET /\r\n\r\n")),
    Kind("the preface of HTTP/2", "400 malformed request", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    Kind(
        "an HTTP version that there is not",
        "400 malformed request",
        raw("GET / HTTP/3.7\r\nHost: x\r\n\r\n"),
    ),
    Kind("a method that there is not", "400 malformed request", raw("BREW / HTTP/1.1\r\nHost: x\r\n\r\n")),
    Kind(
        "CONNECT",
        "403 MissingAuthenticationTokenException",
        raw("CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n"),
    ),
    Kind("TRACE", "403 MissingAuthenticationTokenException", raw("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n")),
    Kind(
        "a path of 40,000 letters",
        "414 the request target is too long",
        raw(f"GET /{'a' * 40_000} HTTP/1.1\r\nHost: x\r\n\r\n"),
    ),
    Kind(
        "a header of 40,000 letters",
        "431 the headers are too many or too large",
        raw(f"GET / HTTP/1.1\r\nX: {'a' * 40_000}\r\n\r\n"),
    ),
    Kind(
        "200 headers",
        "431 the headers are too many or too large",
        raw("GET / HTTP/1.1\r\nHost: x\r\n" + "X: y\r\n" * 200 + "\r\n"),
    ),
    Kind("no Host", "400 a request has one Host", raw("GET / HTTP/1.1\r\n\r\n")),
    Kind("two Hosts", "400 a request has one Host", raw("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")),
    Kind("a space before a header's colon", "400 malformed request", keyed(HOST, "X : y", LENGTH)),
    Kind("a folded header", "400 malformed request", keyed(HOST, "X: y", " z", LENGTH)),
    Kind("a NUL in a header", "400 malformed request", keyed(HOST, "X: a\0b", LENGTH)),
    Kind("a bare CR in a header", "400 malformed request", keyed(HOST, "X: a\rb", LENGTH)),
    Kind(
        "lines that end in LF alone",
        "400 malformed request",
        raw(f"POST {HELLO} HTTP/1.1\nHost: x\nX-Api-Key: KEY\nContent-Length: 2\n\n{{}}"),
    ),
    Kind(
        "a length and chunks at once",
        "400 malformed request",
        keyed(HOST, LENGTH, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    Kind("two lengths that differ", "400 malformed request", keyed(HOST, LENGTH, "Content-Length: 3")),
    Kind("two lengths that are equal", "400 malformed request", keyed(HOST, LENGTH, LENGTH)),
    Kind("a negative length", "400 malformed request", keyed(HOST, "Content-Length: -2")),
    Kind("a length with a plus", "400 malformed request", keyed(HOST, "Content-Length: +2")),
    Kind("a length of 30 digits", "400 malformed request", keyed(HOST, "Content-Length: " + "9" * 30)),
    Kind(
        "a coding that is not chunked",
        "501 only the transfer coding chunked is known",
        keyed(HOST, "Transfer-Encoding: gzip, chunked"),
    ),
    Kind(
        "a coding with a control character",
        "400 malformed request",
        keyed(HOST, "Transfer-Encoding: \x0bchunked"),
    ),
    Kind(
        "chunked twice",
        "400 malformed request",
        keyed(HOST, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    Kind(
        "chunked in HTTP/1.0",
        "400 HTTP/1.0 has no transfer codings",
        raw(f"POST {HELLO} HTTP/1.0\r\nX-Api-Key: KEY\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    Kind(
        "a chunk size that is no number",
        "400 malformed request",
        keyed(HOST, "Transfer-Encoding: chunked", body=b"xyz\r\n"),
    ),
    Kind(
        "a chunk size beyond 64 bits",
        "400 malformed request",
        keyed(HOST, "Transfer-Encoding: chunked", body=b"f" * 20 + b"\r\n"),
    ),
    Kind(
        "a chunk longer than its size",
        "400 malformed request",
        keyed(HOST, "Transfer-Encoding: chunked", body=b"1\r\n{}\r\n0\r\n\r\n"),
    ),
    Kind("a request inside another one's body", "400 InvalidRequestContentException", smuggled),
    Kind(
        "an upgrade to h2c",
        "200",
        keyed(
            HOST,
            LENGTH,
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        ),
    ),
    Kind("an Expect that there is not", "200", keyed(HOST, LENGTH, "Expect: 200-ok")),
    Kind(
        "a client that leaves inside the head",
        "nothing to answer",
        left(b"POST / HTTP/1.1\r\nHost: x\r\nX-Api"),
    ),
    Kind(
        "a client that leaves inside the body",
        "nothing to answer",
        left(f"POST {HELLO} HTTP/1.1\r\n{HOST}\r\nX-Api-Key: KEY\r\nContent-Length: 100\r\n\r\n{{".encode()),
    ),
    Kind(
        "a client that resets inside the body",
        "nothing to answer",
        left(
            f"POST {HELLO} HTTP/1.1\r\n{HOST}\r\nX-Api-Key: KEY\r\nContent-Length: 100\r\n\r\n{{".encode(),
            reset=True,
        ),
    ),
    Kind("500 connections that say nothing", "200", many),
    Kind("100 calls on a connection that never reads", "nothing to answer", unread),
    Kind("a TLS handshake that stops half-way", "closed", plainly(b"\x16\x03\x01\x00\xff\x01"), slow=True),
    Kind("a connection that says nothing", "closed", raw(b""), slow=True),
    Kind(
        "a head that stops half-way",
        "408 the request did not come in time",
        raw(b"POST / HTTP/1.1\r\nHost: x\r\n"),
        slow=True,
    ),
    Kind("a head that comes a byte at a time", "408 the request did not come in time", dribbled, slow=True),
    Kind(
        "a body that stops half-way",
        "408 the request did not come in time",
        keyed(HOST, "Content-Length: 100", body=b'{"a"'),
        slow=True,
    ),
)
