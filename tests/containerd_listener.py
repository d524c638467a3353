"""A server in containerd's place that answers calls as told, for tests of who calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from esb_node.drivers.containerd.client import Containerd

Answer = bytes | Any
"""A reply, or the status code to refuse with (grpc comes without types)."""


class Listener(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc comes without types
    """Answers each call by its name and remembers what it heard."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.headers: list[dict[str, str]] = []

    def service(self, details: Any) -> Any:
        answer = self.answers[details.method.rpartition("/")[2]]

        async def handle(request: bytes, context: Any) -> bytes:
            self.headers.append(dict(context.invocation_metadata()))
            if isinstance(answer, bytes):
                return answer
            await context.abort(answer, "as told")
            raise AssertionError

        return grpc.unary_unary_rpc_method_handler(handle)


def heard(folder: Path, act: Callable[[Containerd], Awaitable[None]], **answers: Answer) -> Listener:
    listener = Listener(**answers)

    async def life() -> None:
        server = grpc.aio.server(handlers=[listener])
        server.add_insecure_port(f"unix://{folder}/s")
        await server.start()
        client = Containerd(folder / "s", Path("/usr/sbin/runc"), folder)
        try:
            await act(client)
        finally:
            await client.close()
            await server.stop(None)

    asyncio.run(life())
    return listener
