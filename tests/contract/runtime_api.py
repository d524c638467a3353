"""A bare Runtime API on a worker's listening socket: the reference, not the product.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html — one worker, one event at a time,
no deadlines and no checks, in as little code as it takes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from dataclasses import dataclass
from typing import Any, Self

WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker posted for one event; ``kind`` is ``response`` or ``error``."""

    kind: str
    content: bytes

    @property
    def value(self) -> Any:
        """The content as JSON."""
        return json.loads(self.content)


class RuntimeApi:
    """Serves one worker. The listener is the server's from here on."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._numbers = itertools.count(1)
        self._events: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        self._connections: set[asyncio.StreamWriter] = set()
        self.asked = asyncio.Event()
        """Set once the worker has asked for an event for the first time."""
        self.init_error: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, sock=self._listener, limit=8 << 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()

    async def ready(self) -> None:
        """Wait for the worker's first request for an event."""
        await asyncio.wait_for(self.asked.wait(), WAIT_S)

    def offer(self, event: Any) -> asyncio.Future[Answer]:
        """Let the worker have ``event`` when it asks; its answer comes in the future."""
        request = f"00000000-0000-0000-0000-{next(self._numbers):012d}"
        self._answers[request] = asyncio.get_running_loop().create_future()
        self._events.put_nowait((request, json.dumps(event).encode()))
        return self._answers[request]

    async def invoke(self, event: Any) -> Answer:
        """The worker's answer to ``event``."""
        return await asyncio.wait_for(self.offer(event), WAIT_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            self._connections.discard(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        match head[0].split()[1].split("/")[3:]:
            case ["invocation", "next"]:
                self.asked.set()
                request, event = await self._events.get()
                writer.write(_response("200 OK", event, request))
            case ["invocation", request, kind]:
                self._answers[request].set_result(Answer(kind, content))
                writer.write(_response("202 Accepted", b"{}"))
            case ["init", "error"]:
                self.init_error.set_result(Answer("error", content))
                writer.write(_response("202 Accepted", b"{}"))
            case _:
                writer.write(_response("404 Not Found", b"{}"))
        await writer.drain()


def _response(status: str, content: bytes, request: str = "") -> bytes:
    of_event = (
        f"Lambda-Runtime-Aws-Request-Id: {request}\r\n"
        "Lambda-Runtime-Deadline-Ms: 4102444800000\r\n"
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:subject\r\n"
    )
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return (head + (of_event if request else "") + "\r\n").encode() + content
