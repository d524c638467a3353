"""Workers that are no processes: tasks of the node's own loop, for tests and for trying the wire.

Each one is a small client of the Runtime API with a behaviour that the function's handler names
(:data:`BEHAVIOURS`), so that everything above the driver can be driven through every way in
which a function can end, in milliseconds and without any of the machine's powers. Nothing is
isolated from anything; code is never looked at.

    memory.echo         answers each event with itself
    memory.say          writes the event's ``line`` to its output, then answers with the event
    memory.environment  answers with its environment
    memory.fail         answers each event with an error, ``Exception: the event``
    memory.exit         ends with the event's ``code`` instead of answering
    memory.hang         takes an event and never answers
    memory.crash        takes an event and ends by a segmentation fault
    memory.exhaust      takes an event and ends as the kernel ends who is out of memory
    memory.late         never asks for an event
    memory.unloadable   reports an error of initialisation and ends with 1
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from esb_common import wire

from esb_node.core.ports import Exit, WorkerPlan

_VERSION = "/2018-06-01/runtime"


class _Ended(Exception):
    """A behaviour's own way to end its worker."""

    def __init__(self, exit_: Exit) -> None:
        super().__init__(exit_)
        self.exit = exit_


class _Client:
    """A worker's side of the Runtime API, over one kept connection."""

    def __init__(self, port: int, output: int, environment: Mapping[str, str]) -> None:
        self._port = port
        self._output = output
        self.environment = environment
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def say(self, line: str) -> None:
        """A line of output. Longer than a pipe's 64 KiB it would block the node: cut."""
        os.write(self._output, line.encode()[:60_000] + b"\n")

    async def next(self) -> tuple[str, bytes]:
        """The next invocation's request id and event."""
        headers, event = await self._call("GET", "/invocation/next", b"")
        return headers["lambda-runtime-aws-request-id"], event

    async def respond(self, request: str, content: bytes) -> None:
        await self._call("POST", f"/invocation/{request}/response", content)

    async def fail(self, path: str, kind: str, message: str) -> None:
        error = {"errorMessage": message, "errorType": kind, "stackTrace": []}
        await self._call(
            "POST", path, json.dumps(error).encode(), f"Lambda-Runtime-Function-Error-Type: {kind}\r\n"
        )

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    async def _call(
        self, method: str, path: str, content: bytes, extra: str = ""
    ) -> tuple[dict[str, str], bytes]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"{method} {_VERSION}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
        self._writer.write(f"{head}{extra}\r\n".encode() + content)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if status.split()[1][0] != "2":
            raise ConnectionError(f"{method} {path}: {status}")
        return headers, answer


# --- behaviours -------------------------------------------------------------------------

Behaviour = Callable[[_Client], Awaitable[NoReturn]]
_OnEvent = Callable[[_Client, str, bytes], Awaitable[None]]


def _each_event(answer: _OnEvent) -> Behaviour:
    async def behave(client: _Client) -> NoReturn:
        while True:
            request, event = await client.next()
            await answer(client, request, event)

    return behave


async def _echo(client: _Client, request: str, event: bytes) -> None:
    await client.respond(request, event)


async def _say(client: _Client, request: str, event: bytes) -> None:
    client.say(json.loads(event)["line"])
    await client.respond(request, event)


async def _environment(client: _Client, request: str, _: bytes) -> None:
    await client.respond(request, json.dumps(dict(client.environment)).encode())


async def _fail(client: _Client, request: str, event: bytes) -> None:
    await client.fail(f"/invocation/{request}/error", "Exception", event.decode())


async def _exit(_: _Client, __: str, event: bytes) -> None:
    content: Any = json.loads(event)
    raise _Ended(Exit(content.get("code", 0) if isinstance(content, dict) else 0, None))


async def _hang(_: _Client, __: str, ___: bytes) -> None:
    await asyncio.Event().wait()


async def _crash(_: _Client, __: str, ___: bytes) -> None:
    raise _Ended(Exit(None, signal.SIGSEGV))


async def _exhaust(_: _Client, __: str, ___: bytes) -> None:
    raise _Ended(Exit(None, signal.SIGKILL, out_of_memory=True))


async def _late(_: _Client) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")


async def _unloadable(client: _Client) -> NoReturn:
    await client.fail("/init/error", "Runtime.ImportModuleError", "Unable to import module 'memory'")
    raise _Ended(Exit(1, None))


BEHAVIOURS: Mapping[str, Behaviour] = {
    "memory.echo": _each_event(_echo),
    "memory.say": _each_event(_say),
    "memory.environment": _each_event(_environment),
    "memory.fail": _each_event(_fail),
    "memory.exit": _each_event(_exit),
    "memory.hang": _each_event(_hang),
    "memory.crash": _each_event(_crash),
    "memory.exhaust": _each_event(_exhaust),
    "memory.late": _late,
    "memory.unloadable": _unloadable,
}


class RunningTask:
    """A started worker (see ``core.ports.Running``)."""

    peak_memory: int | None = None

    def __init__(self, plan: WorkerPlan) -> None:
        self.place = f"task {plan.worker}"
        self.phases_ms: dict[str, float] = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.listener.setblocking(False)
        self.output, self._output_end = os.pipe()
        os.set_blocking(self.output, False)
        port = self.listener.getsockname()[1]
        self._client = _Client(
            port, self._output_end, {**plan.environment, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}"}
        )
        behave = BEHAVIOURS.get(plan.function.handler, _unloadable)
        self._task = asyncio.get_running_loop().create_task(self._live(behave))
        # Not in a ``finally`` of the task: one that is cancelled before its first step never enters it.
        self._task.add_done_callback(lambda _: self._give_back())

    def stop(self) -> None:
        self._task.cancel()

    async def wait(self) -> Exit:
        done, _ = await asyncio.wait([self._task])
        task = done.pop()
        return Exit(None, signal.SIGKILL) if task.cancelled() else task.result()

    async def _live(self, behave: Behaviour) -> Exit:
        try:
            await behave(self._client)
        except _Ended as ended:
            return ended.exit
        except (ConnectionError, asyncio.IncompleteReadError):
            return Exit(1, None)  # as AWS's client ends when its Runtime API goes away

    def _give_back(self) -> None:
        self._client.close()
        os.close(self._output_end)


class MemoryDriver:
    """The driver of such workers (see ``core.ports.Driver``)."""

    name = "memory"
    isolation: wire.Isolation = "memory"
    network: wire.Network = "host"
    limits = False

    async def open(self) -> None:
        """Nothing is needed."""

    async def start(self, plan: WorkerPlan) -> RunningTask:
        """Start a worker; see ``core.ports.Driver``."""
        return RunningTask(plan)

    async def close(self) -> None:
        """Nothing is held."""
