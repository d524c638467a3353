"""An in-process node with in-process workers, speaking the real wires: for tests, and shipped.

:class:`MemoryNode` is the other end of ``hands/node.py``: it listens on ``node.sock``, checks blobs in
the real store, opens real listening sockets and pipes, and passes their descriptors. Its workers
are coroutines that speak the real Runtime API over those sockets; which one runs is chosen by
the function's handler. Nothing in the gateway knows the difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb_common import wire
from esb_common.function import FunctionBlob, blob_path, decode_function
from esb_common.ids import Digest, WorkerId


@dataclass(frozen=True, slots=True)
class Invocation:
    """What ``/next`` returned; header names in lower case."""

    request: str
    payload: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the Runtime API."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def package(files: Mapping[str, str] | None = None) -> bytes:
    """A zip of ``files``, or of a handler that returns its event."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in (files or {"app.py": "def handler(event, context): return event\n"}).items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()


class RuntimeEnded(Exception):
    """Raise in a worker to end it as by a signal."""

    def __init__(self, signal: int, *, out_of_memory: bool = False) -> None:
        super().__init__(signal)
        self.signal = signal
        self.out_of_memory = out_of_memory


class Runtime:
    """What a worker coroutine has: one connection to its Runtime API, and its output."""

    def __init__(self, blob: FunctionBlob, address: tuple[str, int], output: int) -> None:
        self.blob = blob
        self.address = address
        self._output = output
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def next(self) -> Invocation:
        """Wait for an invocation."""
        reply = await self.call("GET", "invocation/next")
        assert reply.status == 200, reply
        return Invocation(reply.headers["lambda-runtime-aws-request-id"], reply.body, reply.headers)

    async def respond(self, request: str, body: bytes) -> Reply:
        """Post a result."""
        return await self.call("POST", f"invocation/{request}/response", body)

    async def fail(self, request: str, error: Any) -> Reply:
        """Post a handler's error."""
        return await self.call("POST", f"invocation/{request}/error", json.dumps(error).encode())

    async def init_error(self, error: Any) -> Reply:
        """Post that the handler cannot be loaded."""
        return await self.call("POST", "init/error", json.dumps(error).encode())

    def print(self, text: str) -> None:
        """Write a line to the worker's output."""
        os.write(self._output, text.encode() + b"\n")

    async def call(self, method: str, path: str, body: bytes = b"") -> Reply:
        """One request on the worker's connection."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self.address, limit=16 * 2**20)
        reader, writer = self._streams
        head = (
            f"{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return await read_reply(reader)

    async def disconnect(self) -> None:
        """Close the connection; the next call opens another."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """One HTTP/1.1 answer with a Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(status.split(" ")[1]), headers, body)


Behaviour = Callable[[Runtime], Awaitable[int]]
"""A worker's whole life; returns its exit status."""


async def echo(runtime: Runtime) -> int:
    """Returns every event as it came."""
    while True:
        invocation = await runtime.next()
        await runtime.respond(invocation.request, invocation.payload)


class MemoryNode:
    """A node in this process. ``behaviours`` by handler; ``store`` is the gateway's."""

    def __init__(self, socket_path: Path, store: Path, behaviours: Mapping[str, Behaviour]) -> None:
        self._path = socket_path
        self._store = store
        self._behaviours = behaviours
        self._listening: socket.socket | None = None
        self._gateway: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._starts: set[asyncio.Task[None]] = set()
        self.workers: dict[WorkerId, asyncio.Task[None]] = {}
        self.started = 0
        self.refuse: tuple[str, str] | None = None
        """Set to refuse all starts with this error and message."""
        self.messages: list[wire.Message] = []
        self.changed = asyncio.Condition()

    async def open(self) -> None:
        """Listen for a gateway."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.setblocking(False)
        self._listening.bind(str(self._path))
        self._listening.listen()
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """End the connection and all workers, as a node that is stopped."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
        self._path.unlink(missing_ok=True)

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until ``condition`` holds, looked at whenever a worker comes or goes."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._listening is not None
        while True:
            gateway, _ = await loop.sock_accept(self._listening)
            try:
                await self._speak(gateway)
            finally:
                await self._stop_all()
                gateway.close()

    async def _speak(self, gateway: socket.socket) -> None:
        gateway.setblocking(False)
        self._gateway = gateway
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while packet := await loop.sock_recv(gateway, wire.MAX_PACKET):
                message = wire.decode(packet)
                self.messages.append(message)
                match message:
                    case wire.Hello():
                        self._send(wire.Welcome("memory-node", "memory", "memory", "host"))
                    case wire.Start(worker, function):
                        start = asyncio.create_task(self._start(worker, function))
                        self._starts.add(start)
                        start.add_done_callback(self._starts.discard)
                    case wire.Stop(worker):
                        if worker in self.workers:
                            self.workers[worker].cancel()
                    case _:
                        raise AssertionError(message)
        self._gateway = None

    def _send(self, message: wire.ToGateway, descriptors: tuple[int, ...] = ()) -> None:
        if self._gateway is not None:
            with contextlib.suppress(ConnectionError):
                socket.send_fds(self._gateway, [wire.encode(message)], list(descriptors))

    async def _start(self, worker: WorkerId, function: Digest) -> None:
        if self.refuse is not None:
            self._send(wire.Refused(worker, *self.refuse))
            return
        try:
            content = blob_path(self._store, function).read_bytes()
            blob = decode_function(content)
            blob_path(self._store, blob.code).stat()
        except FileNotFoundError as error:
            self._send(wire.Refused(worker, "UnknownFunction", str(error)))
            return
        listener = socket.create_server(("127.0.0.1", 0))
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(writing, True)
        memory = os.memfd_create("peak")
        os.write(memory, b"34603008\n")
        runtime = Runtime(blob, listener.getsockname(), writing)
        self._send(
            wire.Started(worker, f"coroutine {worker}", {"start": 0.1}), (listener.fileno(), reading, memory)
        )
        listener.close()
        os.close(reading)
        os.close(memory)
        self.started += 1
        self.workers[worker] = asyncio.create_task(self._live(worker, runtime, writing))
        await self._tell()

    async def _live(self, worker: WorkerId, runtime: Runtime, writing: int) -> None:
        code: int | None = None
        signal: int | None = None
        out_of_memory = False
        try:
            code = await self._behaviours[runtime.blob.handler](runtime)
        except asyncio.CancelledError:
            signal = 9
        except RuntimeEnded as end:
            signal, out_of_memory = end.signal, end.out_of_memory
        except (OSError, asyncio.IncompleteReadError):
            code = 1
        finally:
            await runtime.disconnect()
            os.close(writing)
            del self.workers[worker]
            self._send(wire.Exited(worker, code, signal, out_of_memory))
            await self._tell()

    async def _stop_all(self) -> None:
        self._gateway = None
        doomed = [*self._starts, *self.workers.values()]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()
