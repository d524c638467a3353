"""One download over HTTP: continued, tried again, and never believed before its hash is right.

A transfer that breaks off is continued where it stopped, by a Range request; a server that
ignores Range is read from the start. Timeouts, broken connections and answers that pass by
themselves (408, 429, 5xx) are tried again after a growing pause, ``TRIES`` times in a row
without one new byte. TLS is verified against the system's store (``SSL_CERT_FILE`` where it is
set); proxies are the environment's, or those that a :class:`Location` names.

Semantics: RFC 9110, sections 14 (Range) and 15 (status codes).
"""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from esb_common.errors import EsbError, Unhealthy

from esb_builder.sources.connections import Connections, basic
from esb_builder.store import Blob, Corrupt, Part, Store

TRIES = 5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
TIMEOUT_S = 30.0
CHUNK = 1 << 14
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_SYSTEM_STORE = Path("/etc/ssl/certs/ca-certificates.crt")


class Gone(EsbError):
    """A source answers, and does not have the file (any more)."""


class Unreachable(Unhealthy):
    """A source does not answer, or refuses to; ``challenge`` is its WWW-Authenticate."""

    def __init__(self, fact: str, hint: str = "", challenge: str = "") -> None:
        super().__init__(fact, hint)
        self.challenge = challenge


class Stream(Protocol):
    """Content being read."""

    def read(self, amount: int, /) -> bytes:
        """At most so many bytes; none at the end."""


class _Passing(Exception):
    """Worth another try. ``why`` is for people."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _BadRange(_Passing):
    """Worth another try from the start: this server cannot continue."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file can be had: an ``http``, ``https`` or ``file`` address.

    ``proxy`` None means the environment's; an empty one, none. Address and proxy may hold a
    password: only :attr:`shown` may be printed.
    """

    address: str = field(repr=False)
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """The address without user and password."""
        return _bare(self.address).partition("?")[0]


@dataclass(frozen=True, slots=True)
class Content:
    """What is being read: from ``start`` on, of ``size`` bytes in all (None where nobody says)."""

    start: int
    size: int | None
    stream: Stream


@dataclass(frozen=True, slots=True)
class Web:
    """How this machine reaches others. ``pause`` waits that many seconds and may be cut short by an error."""

    environ: Mapping[str, str] = field(repr=False)
    pause: Callable[[float], None]
    connections: Connections = field(repr=False)

    @classmethod
    def of(
        cls, environ: Mapping[str, str], pause: Callable[[float], None], timeout_s: float = TIMEOUT_S
    ) -> Web:
        """With the environment's trust, and connections of its own."""
        return cls(environ, pause, Connections(trust(environ), timeout_s))

    @contextmanager
    def open(self, location: Location, offset: int = 0) -> Iterator[Content]:
        """The content, from ``offset`` on where that can be had. Gone, Unreachable, or worth another try."""
        if location.address.startswith("file:"):
            with _opened(location) as stream:
                yield Content(0, os.fstat(stream.fileno()).st_size, stream)
            return
        headers = _headers(location, offset)
        try:
            with self.connections.get(_bare(location.address), headers, self._proxy(location)) as answer:
                start = _start_of(location, answer, offset)
                yield Content(start, None if answer.length is None else start + answer.length, answer)
        except ssl.SSLCertVerificationError as error:
            raise _untrusted(location, error) from None
        except (http.client.HTTPException, OSError) as error:
            raise _Passing(f"{location.shown}: {error or type(error).__name__}") from None

    def _proxy(self, location: Location) -> str:
        parts = urlsplit(location.address)
        if location.proxy is not None:
            return location.proxy
        lower = {name.lower(): value for name, value in self.environ.items()}
        if _bypasses(lower.get("no_proxy", ""), parts.hostname or ""):
            return ""
        return lower.get(f"{parts.scheme}_proxy") or lower.get("all_proxy") or ""


def trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """A verifying TLS context with the system's certificates, whatever Python was built to look for."""
    named = environ.get("SSL_CERT_FILE")
    file = named or (str(_SYSTEM_STORE) if _SYSTEM_STORE.exists() else None)
    return ssl.create_default_context(cafile=file, capath=environ.get("SSL_CERT_DIR") if not file else None)


def _headers(location: Location, offset: int) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "esb", **location.headers}
    if password := basic(urlsplit(location.address)):
        headers["Authorization"] = password
    return headers | ({"Range": f"bytes={offset}-"} if offset else {})


def _bypasses(excepted: str, host: str) -> bool:
    """Whether ``no_proxy`` names the host: itself, a domain above it, or ``*``."""
    names = (name.strip().lstrip(".").lower() for name in excepted.split(",") if name.strip())
    return any(name == "*" or host == name or host.endswith(f".{name}") for name in names)


def _opened(location: Location) -> IO[bytes]:
    path = Path(unquote(urlsplit(location.address).path))
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise Gone(f"{path} is not there") from None
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from None


def _bare(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read(web: Web, location: Location, most: int) -> bytes:
    """A small file whose hash nobody knows yet, at most ``most`` bytes."""

    def once() -> bytes:
        with web.open(location) as content:
            found = content.stream.read(most + 1)
        if len(found) > most:
            raise Corrupt(f"{location.shown} is larger than {most} bytes")
        return found

    return _insist(web, once, lambda: 0)


def download(web: Web, location: Location, blob: Blob, store: Store, on_bytes: Callable[[int], None]) -> bool:
    """Bring a blob into the store; whether it had to be. ``on_bytes`` hears of bytes as they come.

    Corrupt where the source has another file; Gone or Unreachable where it has none.
    """
    with store.receiving(blob) as part:
        if part is None:
            return False

        resumed = part.offset > 0
        try:
            _fill(web, location, part, on_bytes)
        except Corrupt as error:
            _drop(part, on_bytes)
            if not resumed:
                raise Corrupt(f"{location.shown} has another file: {error.fact}") from None
            _fill(web, location, part, on_bytes)  # what an earlier run left was bad: once more, whole
    return True


def obtain(
    web: Web,
    locations: Sequence[Location],
    blob: Blob,
    store: Store,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> bool:
    """Bring a blob from the first of ``locations`` that has it; whether it had to be.

    Where none has, the last one's error says so, and those of the others stand in its hint.
    """
    assert locations
    errors: list[EsbError] = []
    for location in locations:
        try:
            return download(web, location, blob, store, on_bytes)
        except (Corrupt, Gone, Unreachable) as error:
            errors.append(error)
    if len(errors) > 1:
        errors[-1].hint = "; ".join([*(error.fact for error in errors[:-1]), errors[-1].hint]).rstrip("; ")
    raise errors[-1]


def _fill(web: Web, location: Location, part: Part, on_bytes: Callable[[int], None]) -> None:
    def once() -> None:
        if not part.complete:
            _receive(web, location, part, on_bytes)

    _insist(web, once, lambda: part.offset)
    part.check()


def _receive(web: Web, location: Location, part: Part, on_bytes: Callable[[int], None]) -> None:
    try:
        with web.open(location, part.offset) as content:
            if content.size not in (None, part.size):
                raise Corrupt(f"it is {content.size} bytes large instead of {part.size}")
            if content.start != part.offset:
                _drop(part, on_bytes)
            while chunk := content.stream.read(CHUNK):
                part.write(chunk)
                on_bytes(len(chunk))
    except _BadRange:
        _drop(part, on_bytes)
        raise
    if not part.complete:
        raise _Passing(f"{location.shown} broke off after {part.offset} bytes")


def _drop(part: Part, on_bytes: Callable[[int], None]) -> None:
    on_bytes(-part.offset)
    part.restart()


def _insist[T](web: Web, attempt: Callable[[], T], progress: Callable[[], int]) -> T:
    """Try until it works; give up after :data:`TRIES` failures without progress between them."""
    failures, reached = 0, progress()
    while True:
        try:
            return attempt()
        except _Passing as passing:
            failures = 1 if progress() > reached else failures + 1
            reached = max(reached, progress())
            if failures >= TRIES:
                raise Unreachable(f"{passing.why} (tried {TRIES} times)") from None
        web.pause(min(FIRST_PAUSE_S * 2.0 ** (failures - 1), LONGEST_PAUSE_S))


def _start_of(location: Location, answer: http.client.HTTPResponse, offset: int) -> int:
    """Where the body starts: a server may ignore Range, or answer with another one."""
    if answer.status == http.client.OK:
        return 0
    if answer.status != http.client.PARTIAL_CONTENT or not offset:
        raise _judged(location, answer.status, answer.headers.get("WWW-Authenticate", ""))
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    if unit != "bytes" or span.partition("-")[0] != str(offset):
        raise _BadRange(f"{location.shown} answers with another part than the one asked for")
    return offset


def _judged(location: Location, status: int, challenge: str) -> Exception:
    if status in (http.client.NOT_FOUND, http.client.GONE):
        return Gone(f"{location.shown} is not there (HTTP {status})")
    if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return _BadRange(f"{location.shown} has no such part")
    if status in _PASSING:
        return _Passing(f"{location.shown} answers HTTP {status}")
    return Unreachable(f"{location.shown} answers HTTP {status}", _HINTS.get(status, ""), challenge)


_HINTS = {
    401: "it wants a password: put it into the mirror's address in this machine's own configuration",
    403: "it refuses this machine: check its proxy and mirror configuration",
    407: "the proxy wants a password: put it into the proxy's address",
}


def _untrusted(location: Location, error: ssl.SSLCertVerificationError) -> Unreachable:
    return Unreachable(
        f"{location.shown}: its certificate is not trusted here ({error.verify_message})",
        "install your proxy's root certificate into the system's store (update-ca-certificates), "
        "or name a bundle in SSL_CERT_FILE",
    )
