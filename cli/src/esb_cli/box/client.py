"""The gateway as a client sees it: TLS that trusts one file, JSON in and out.

One connection a call, closed at once: the command line makes few calls and waits for people. An
answer that is no success is a :class:`Refused`, which keeps AWS's error name for who wants to
act on it; a gateway that does not answer is :class:`~esb_common.errors.Unhealthy`.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from esb_common import sigv4
from esb_common.credentials import Credentials
from esb_common.errors import Broken, Unhealthy

FUNCTIONS = "/2015-03-31/functions"


class Refused(Broken):
    """The gateway's answer is an error. ``name`` is AWS's (``ResourceNotFoundException``)."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}" if message else f"the gateway answered {status} {name}")
        self.status = status
        self.name = name


class Untrusted(Unhealthy):
    """Whoever answers has no certificate that our trust file vouches for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an invocation gave: the payload, AWS's function error if any, the log's tail if asked for."""

    payload: bytes
    function_error: str | None
    log: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """A box's gateway at ``https://localhost:port``, trusted through ``trust`` (a PEM file).

    Every request is signed with ``credentials``.
    """

    port: int
    trust: Path
    region: str
    credentials: Credentials

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def _connect(self, timeout_s: float | None) -> http.client.HTTPSConnection:
        try:
            context = ssl.create_default_context(cafile=str(self.trust))
        except (OSError, ssl.SSLError) as error:
            raise Unhealthy(
                f"{self.trust} cannot be read as certificates: {error}", "./esb ca show"
            ) from None
        return http.client.HTTPSConnection("localhost", self.port, timeout=timeout_s, context=context)

    def _send(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, path, body, headers | self._signature(method, path, body or b""))
            response = connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(
                f"{self.url} is not trusted through {self.trust}: {error.verify_message}",
                "another program may be listening there; ./esb ca show",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unhealthy(f"no answer from {self.url}: {error}", "./esb status, or ./esb up") from None
        if response.status >= 300:
            raise _refusal(response)
        return response

    def _signature(self, method: str, path: str, body: bytes) -> dict[str, str]:
        """The headers that say who asks."""
        moment = sigv4.iso(time.time())
        scope = sigv4.Scope(moment[:8], self.region, sigv4.SERVICE)
        host = f"localhost:{self.port}"
        signed = ((b"host", host.encode()), (b"x-amz-date", moment.encode()))
        names = [name for name, _ in signed]
        payload = hashlib.sha256(body).hexdigest()
        canonical = sigv4.canonical_request(method.encode(), path.encode(), signed, names, payload)
        key = sigv4.signing_key(self.credentials.secret_access_key, scope)
        text = sigv4.authorization(
            self.credentials.access_key_id, scope, names, sigv4.signature(key, moment, scope, canonical)
        )
        return {"Host": host, "X-Amz-Date": moment, "Authorization": text}

    def call(self, method: str, path: str, content: Any = None, timeout_s: float = 30) -> Any:
        """One JSON call; the decoded answer, None where it is empty."""
        body = None if content is None else json.dumps(content).encode()
        with closing(self._connect(timeout_s)) as connection:
            raw = self._send(connection, method, path, body, {"Content-Type": "application/json"}).read()
        return json.loads(raw) if raw else None

    def status(self) -> dict[str, Any]:
        """The page ``/_esb/status`` (``contracts/admin.md``)."""
        page: dict[str, Any] = self.call("GET", "/_esb/status", timeout_s=5)
        return page

    def unhealthy(self) -> str | None:
        """Why the box cannot answer yet; None where it can. :class:`Untrusted` where it is another's door."""
        try:
            self.call("GET", "/_esb/health", timeout_s=5)
        except Untrusted:
            raise
        except (Unhealthy, Refused) as error:
            return error.fact
        return None

    def invoke(self, name: str, payload: bytes, *, tail: bool = False) -> Answer:
        """Call a function and wait for its answer, up to AWS's longest timeout."""
        headers = {"Content-Type": "application/json"} | ({"X-Amz-Log-Type": "Tail"} if tail else {})
        path = f"{FUNCTIONS}/{quote(name, safe='')}/invocations"
        with closing(self._connect(timeout_s=1000)) as connection:
            response = self._send(connection, "POST", path, payload, headers)
            log = base64.b64decode(response.headers.get("X-Amz-Log-Result", "")).decode(errors="replace")
            return Answer(response.read(), response.headers.get("X-Amz-Function-Error"), log)

    def logs(self, name: str, *, tail: int, follow: bool) -> Iterator[bytes]:
        """Lines of a function's log: the last ``tail``, then new ones as they come."""
        query = urlencode({"tail": tail} | ({"follow": 1} if follow else {}))
        with closing(self._connect(timeout_s=None if follow else 30)) as connection:
            path = f"/_esb/logs/{quote(name, safe='')}?{query}"
            yield from self._send(connection, "GET", path, None, {})


def _refusal(response: http.client.HTTPResponse) -> Refused:
    raw = response.read()
    try:
        body = json.loads(raw)
    except ValueError:
        body = {}
    members = body if isinstance(body, dict) else {}
    name = response.headers.get("x-amzn-ErrorType", "").partition(":")[0] or response.reason
    return Refused(response.status, name, str(members.get("Message") or members.get("message") or ""))
