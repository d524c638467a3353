"""The link to the node against peers that do wrong, vanish, or come late."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from esb_common import wire
from esb_common.ids import Digest, WorkerId
from esb_common.log import Log
from esb_gateway.core.ports import Descriptors
from esb_gateway.hands.node import SocketNodeLink

WELCOME = wire.Welcome("n", "memory", "memory", "host")
WORKER = WorkerId("w-0123456789abcdef")


class Heard:
    """Writes down what the link tells."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[object] = asyncio.Queue()

    def welcomed(self, welcome: wire.Welcome) -> None:
        self.told.put_nowait(welcome)

    def started(self, message: wire.Started, descriptors: Descriptors) -> None:
        self.told.put_nowait((message, descriptors))

    def refused(self, message: wire.Refused) -> None:
        self.told.put_nowait(message)

    def exited(self, message: wire.Exited) -> None:
        self.told.put_nowait(message)

    def node_lost(self) -> None:
        self.told.put_nowait("lost")


class Peer:
    """A node's socket in the hands of a test."""

    def __init__(self, path: Path) -> None:
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.setblocking(False)
        self.listening.bind(str(path))
        self.listening.listen()
        self.link = self.listening

    async def accept(self) -> wire.Message:
        self.link, _ = await asyncio.get_running_loop().sock_accept(self.listening)
        self.link.setblocking(False)
        return await self.receive()

    async def receive(self) -> wire.Message:
        return wire.decode(await asyncio.get_running_loop().sock_recv(self.link, wire.MAX_PACKET))

    def send(self, message: wire.Message, *descriptors: int) -> None:
        socket.send_fds(self.link, [wire.encode(message)], list(descriptors))


@contextlib.asynccontextmanager
async def linked(path: Path) -> AsyncIterator[tuple[SocketNodeLink, Heard, Peer]]:
    peer = Peer(path)
    link, heard = SocketNodeLink(path, Log("test")), Heard()
    running = asyncio.create_task(link.run(heard))
    try:
        async with asyncio.timeout(20):
            yield link, heard, peer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        peer.link.close()
        peer.listening.close()


Body = Callable[[SocketNodeLink, Heard, Peer], Awaitable[None]]


def run(path: Path, body: Body) -> None:
    async def main() -> None:
        async with linked(path / "node.sock") as (link, heard, peer):
            await body(link, heard, peer)

    asyncio.run(main())


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_hello_is_first_and_welcome_is_told(tmp_path: Path) -> None:
    async def body(link: SocketNodeLink, heard: Heard, peer: Peer) -> None:
        hello = await peer.accept()
        assert isinstance(hello, wire.Hello)
        assert link.welcome is None
        peer.send(WELCOME)
        assert await heard.told.get() == WELCOME
        assert link.welcome == WELCOME

    run(tmp_path, body)


def test_descriptors_arrive_with_their_message(tmp_path: Path) -> None:
    async def body(_: SocketNodeLink, heard: Heard, peer: Peer) -> None:
        await peer.accept()
        peer.send(WELCOME)
        await heard.told.get()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reading, writing = os.pipe()
            peer.send(wire.Started(WORKER, "here", {}), listener.fileno(), reading)
            told = await heard.told.get()
            assert isinstance(told, tuple)
            message, descriptors = told
            assert message == wire.Started(WORKER, "here", {})
            assert descriptors.listener.getsockname() == listener.getsockname()
            assert descriptors.peak_memory is None
            os.write(writing, b"x")
            assert os.read(descriptors.output, 1) == b"x"
            assert not os.get_inheritable(descriptors.output)
            descriptors.listener.close()
            for descriptor in (reading, writing, descriptors.output):
                os.close(descriptor)

    run(tmp_path, body)


def test_a_node_that_comes_back_is_greeted_again(tmp_path: Path) -> None:
    async def body(link: SocketNodeLink, heard: Heard, peer: Peer) -> None:
        for _ in range(3):
            await peer.accept()
            peer.send(WELCOME)
            assert await heard.told.get() == WELCOME
            peer.link.close()
            assert await heard.told.get() == "lost"
            link.send(wire.Stop(WORKER))

    run(tmp_path, body)


BREACHES: dict[str, Callable[[Peer], None]] = {
    "no JSON": lambda peer: (peer.link.send(b"hello") and None) or None,
    "an unknown type": lambda peer: (peer.link.send(b'{"type": "Reboot"}') and None) or None,
    "a packet that is too long": lambda peer: (
        (peer.link.send(b"x" * (wire.MAX_PACKET + 10)) and None) or None
    ),
    "what only a gateway says": lambda peer: peer.send(wire.Start(WORKER, Digest("sha256:" + "0" * 64))),
    "Welcome twice": lambda peer: peer.send(WELCOME),
    "Started without descriptors": lambda peer: peer.send(wire.Started(WORKER, "", {})),
    "Started with something that is no socket": lambda peer: peer.send(wire.Started(WORKER, "", {}), 0, 0),
    "descriptors with Exited": lambda peer: peer.send(wire.Exited(WORKER, 0, None), 0, 0, 0),
}


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES.keys())
def test_a_broken_wire_is_closed_and_nothing_is_leaked(
    tmp_path: Path, breach: Callable[[Peer], None]
) -> None:
    async def body(_: SocketNodeLink, heard: Heard, peer: Peer) -> None:
        await peer.accept()
        peer.send(WELCOME)
        await heard.told.get()
        before = open_descriptors()
        breach(peer)
        assert await heard.told.get() == "lost"
        assert open_descriptors() == before - 1
        await peer.accept()

    run(tmp_path, body)


def test_nothing_is_heard_before_welcome(tmp_path: Path) -> None:
    async def body(_: SocketNodeLink, heard: Heard, peer: Peer) -> None:
        await peer.accept()
        peer.send(wire.Exited(WORKER, 0, None))
        await peer.accept()
        assert heard.told.empty()

    run(tmp_path, body)


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    async def body(link: SocketNodeLink, heard: Heard, peer: Peer) -> None:
        await peer.accept()
        peer.send(wire.Welcome("n", "memory", "memory", "host", protocol=99))
        await peer.accept()
        assert link.welcome is None
        assert heard.told.empty()

    run(tmp_path, body)


def test_what_a_full_socket_does_not_take_is_sent_later_in_order(tmp_path: Path) -> None:
    async def body(link: SocketNodeLink, heard: Heard, peer: Peer) -> None:
        await peer.accept()
        peer.send(WELCOME)
        await heard.told.get()
        workers = [WorkerId(f"w-{number:016x}") for number in range(3000)]
        for worker in workers:
            link.send(wire.Stop(worker))
        assert [await peer.receive() for _ in workers] == [wire.Stop(worker) for worker in workers]

    run(tmp_path, body)
