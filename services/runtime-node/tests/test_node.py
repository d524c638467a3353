"""The node as a gateway meets it: a real socket, the real desk, workers of the memory driver."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import zipfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from esb_common import ids, wire
from esb_common.function import FunctionBlob, blob_path
from esb_node.app import serve
from esb_node.drivers.memory import MemoryDriver
from esb_node.settings import NodeSettings, node_settings

ONE = ids.worker_id("w-" + "1" * 16)


class Gateway:
    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self.descriptors: list[int] = []

    async def connect(self) -> None:
        await asyncio.get_running_loop().sock_connect(
            self._socket, str(self._settings.run_folder / "node.sock")
        )

    async def greet(self) -> wire.Message | None:
        await self.connect()
        return await self.ask(wire.Hello("g"))

    async def ask(self, message: wire.Message) -> wire.Message | None:
        self.say(wire.encode(message))
        return await self.hear()

    def say(self, packet: bytes) -> None:
        self._socket.send(packet)

    async def hear(self) -> wire.Message | None:
        """The next message; None where the node ended the connection."""
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket, readable.set)
        await asyncio.wait_for(readable.wait(), 10)
        asyncio.get_running_loop().remove_reader(self._socket)
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._socket, wire.MAX_PACKET, 4)
        except ConnectionResetError:
            return None
        self.descriptors += descriptors
        return wire.decode(packet) if packet else None

    def close(self) -> None:
        self._socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


Play = Callable[[NodeSettings, Gateway], Coroutine[Any, Any, None]]


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return node_settings({"ESB_HOME": str(tmp_path)}, os.geteuid(), os.getegid())


async def _listening(done: Callable[[], bool]) -> None:
    """Go round the loop until the node listens; it starts within the same loop."""
    while not done():
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned


def with_node(settings: NodeSettings, play: Play) -> None:
    """Run ``play`` beside a serving node; afterwards nothing of the node may be left."""

    async def whole() -> None:
        stop = asyncio.Event()
        node = asyncio.create_task(serve(settings, MemoryDriver(), stop))
        path = settings.run_folder / "node.sock"
        await asyncio.wait_for(_listening(lambda: path.exists() or node.done()), 10)
        gateway = Gateway(settings)
        try:
            await play(settings, gateway)
        finally:
            gateway.close()
            stop.set()
            await asyncio.wait_for(node, 10)
        assert not path.exists()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(whole())


def put_function(settings: NodeSettings, handler: str, runtime: str = "python3.12") -> ids.Digest:
    content = io.BytesIO()
    zipfile.ZipFile(content, "w").close()
    code = content.getvalue()
    function = FunctionBlob(
        ids.FunctionName("f"), "1", "arn", "r", runtime, handler, ids.digest_of(code), 128, 3
    ).encode()
    for blob in (code, function):
        path = blob_path(settings.data_folder / "store", ids.digest_of(blob))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    return ids.digest_of(function)


def test_a_worker_starts_with_its_descriptors_is_listed_and_stops(settings: NodeSettings) -> None:
    async def play(settings: NodeSettings, gateway: Gateway) -> None:
        welcome = await gateway.greet()
        assert isinstance(welcome, wire.Welcome)
        assert (welcome.driver, welcome.isolation, welcome.network) == ("memory", "memory", "host")
        assert not welcome.limits
        function = put_function(settings, "memory.echo")
        assert isinstance(await gateway.ask(wire.Start(ONE, function)), wire.Started)
        listener = socket.socket(fileno=os.dup(gateway.descriptors[0]))
        listener.setblocking(False)
        worker, _ = await asyncio.get_running_loop().sock_accept(listener)
        assert (await asyncio.get_running_loop().sock_recv(worker, 100)).startswith(
            b"GET /2018-06-01/runtime/"
        )
        listed = await gateway.ask(wire.ListWorkers())
        assert isinstance(listed, wire.Workers)
        assert [one["worker"] for one in listed.workers] == [ONE]
        assert await gateway.ask(wire.Stop(ONE)) == wire.Exited(ONE, None, 9)
        worker.close()
        listener.close()

    with_node(settings, play)


def test_refusals_name_their_reason(settings: NodeSettings) -> None:
    async def play(settings: NodeSettings, gateway: Gateway) -> None:
        await gateway.greet()
        unknown = await gateway.ask(wire.Start(ONE, ids.digest_of(b"unknown")))
        assert isinstance(unknown, wire.Refused)
        assert unknown.error == "UnknownFunction"
        old = put_function(settings, "memory.echo", "python2.7")
        refused = await gateway.ask(wire.Start(ids.worker_id("w-" + "2" * 16), old))
        assert isinstance(refused, wire.Refused)
        assert refused.error == "UnsupportedRuntime"

    with_node(settings, play)


def test_a_second_gateway_ends_the_first_and_its_workers(settings: NodeSettings) -> None:
    async def play(settings: NodeSettings, gateway: Gateway) -> None:
        await gateway.greet()
        await gateway.ask(wire.Start(ONE, put_function(settings, "memory.hang")))
        second = Gateway(settings)
        assert isinstance(await second.greet(), wire.Welcome)
        assert await second.ask(wire.ListWorkers()) == wire.Workers([])
        assert await gateway.hear() is None
        second.close()

    with_node(settings, play)


@pytest.mark.parametrize(
    "packet", [b"{}", b"\xff", b'{"type":"Start","worker":"../x","function":"y"}', b"[" * 70000]
)
def test_a_packet_that_is_no_message_ends_the_connection(settings: NodeSettings, packet: bytes) -> None:
    async def play(settings: NodeSettings, gateway: Gateway) -> None:
        await gateway.greet()
        gateway.say(packet)
        assert await gateway.hear() is None

    with_node(settings, play)


def test_a_stopping_node_ends_its_workers(settings: NodeSettings) -> None:
    async def play(settings: NodeSettings, gateway: Gateway) -> None:
        await gateway.greet()
        await gateway.ask(wire.Start(ONE, put_function(settings, "memory.hang")))

    with_node(settings, play)


def test_the_socket_is_for_the_gateways_group_only(settings: NodeSettings) -> None:
    async def play(settings: NodeSettings, gateway: Gateway) -> None:
        seen = (settings.run_folder / "node.sock").stat()
        assert seen.st_mode & 0o777 == 0o660
        assert seen.st_gid == os.getegid()

    with_node(settings, play)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's node serves another user")
def test_a_peer_that_is_not_the_gateways_user_is_refused(tmp_path: Path) -> None:
    environ = {"ESB_HOME": str(tmp_path), "ESB_UID": "10001"}

    async def play(settings: NodeSettings, gateway: Gateway) -> None:
        await gateway.connect()
        assert await gateway.hear() is None

    with_node(node_settings(environ, 0, 0), play)
