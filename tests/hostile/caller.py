"""A client that sends whatever it is told, byte for byte, over TLS or not, and tells what came of it."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from e2e.box import Box
from esb_common import sigv4

PATIENCE_S = 60.0
SHOWN = 8
"""Bytes of a good answer that are short enough to be told."""

ROLE = "arn:aws:iam::000000000000:role/any"
FUNCTIONS = "/2015-03-31/functions"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; status 0 where the connection ended without any."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def outcome(self) -> str:
        """The answer in a few words, the same in every run."""
        if not self.status:
            return "closed"
        words = [str(self.status)]
        if kind := self.headers.get("x-amzn-errortype"):
            words.append(kind)
        elif self.status >= 400:
            words.append(str(json.loads(self.body)["message"]))
        elif self.headers.get("x-amz-function-error"):
            words.append(str(json.loads(self.body)["errorType"]))
        elif 0 < len(self.body) <= SHOWN:
            words.append(self.body.decode())
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Keys:
    """The key pair of the box, or a wrong one."""

    access_key: str
    secret: str
    region: str = "us-east-1"


class Caller:
    """Knows one box."""

    def __init__(self, box: Box, api_key: str) -> None:
        told = box.variables()
        self.port, self.http_port = box.port, box.http_port
        self.trust = told["AWS_CA_BUNDLE"]
        self.keys = Keys(told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"])
        self.api_key = api_key

    def connect(self) -> ssl.SSLSocket:
        """A TLS connection that trusts the box's certificate."""
        context = ssl.create_default_context(cafile=self.trust)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        return context.wrap_socket(plain, server_hostname="localhost")

    def raw(self, *parts: bytes) -> Reply:
        """Send the parts on one connection and read one answer."""
        with self.connect() as connection:
            for part in parts:
                try:
                    connection.sendall(part)
                except (ConnectionError, ssl.SSLError):
                    break  # refused before all of it was sent: the answer is there
            return read(connection)

    def keyed(self, *lines: str, body: bytes = b"", path: str = f"{FUNCTIONS}/hello/invocations") -> Reply:
        """An Invoke by API key, with header lines as they are."""
        head = "\r\n".join([f"POST {path} HTTP/1.1", f"X-Api-Key: {self.api_key}", *lines, "", ""])
        return self.raw(head.encode("latin-1") + body)

    def signed(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        keys: Keys | None = None,
        ago_s: float = 0,
        payload: str | None = None,
    ) -> Reply:
        """A request with a signature that holds, unless ``keys``, ``ago_s`` or ``payload`` spoil it."""
        head = self.head(method, target, body, headers or {}, keys or self.keys, time.time() - ago_s, payload)
        return self.raw(head + body)

    def head(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        keys: Keys,
        wall: float,
        payload: str | None,
    ) -> bytes:
        """The head of a signed request."""
        moment = sigv4.iso(wall)
        scope = sigv4.Scope(moment[:8], keys.region, sigv4.SERVICE)
        signed = [(b"host", b"localhost"), (b"x-amz-date", moment.encode())]
        if payload is not None:
            signed.append((b"x-amz-content-sha256", payload.encode()))
        names = sorted(name for name, _ in signed)
        digest = payload or hashlib.sha256(body).hexdigest()
        canonical = sigv4.canonical_request(method.encode(), target.encode(), signed, names, digest)
        key = sigv4.signing_key(keys.secret, scope)
        signature = sigv4.signature(key, moment, scope, canonical)
        sent = [(name.decode(), value.decode()) for name, value in signed]
        sent.append(("authorization", sigv4.authorization(keys.access_key, scope, names, signature)))
        sent += [*headers.items(), ("content-length", str(len(body)))]
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent), "", ""]
        return "\r\n".join(lines).encode()

    def delete(self, name: str) -> Reply:
        """Delete a function."""
        return self.signed("DELETE", f"{FUNCTIONS}/{name}")

    def json(self, method: str, target: str, members: object) -> Reply:
        """A signed request with a JSON body."""
        return self.signed(method, target, json.dumps(members).encode())


def read(connection: socket.socket) -> Reply:
    """The first whole answer on a connection."""
    content = b""
    try:
        while b"\r\n\r\n" not in content:
            if not (part := connection.recv(65536)):
                return Reply(0, {}, content)
            content += part
        head, _, body = content.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65536)
    except (ConnectionError, ssl.SSLError):
        return Reply(0, {}, content)
    return Reply(int(status.split(" ")[1]), headers, body)
