"""The gateway's end of the wire to the node (``contracts/node.md``).

One SOCK_SEQPACKET connection, read by callbacks. Where the node is not there, or ends, or speaks
nonsense, the link tries again with a growing pause, for ever: a node may be restarted at any
time, and with its end every worker of it is gone.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
import uuid
from collections import deque
from pathlib import Path
from typing import assert_never

from esb_common import wire
from esb_common.log import Log

from esb_gateway.core.ports import Descriptors, NodeEvents

PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)
WELCOME_S = 60.0
"""The node may have many workers of an earlier gateway to stop first."""

STEADY_S = 5.0
MOST_DESCRIPTORS = 3
UNSENT_MOST = 10_000


class SocketNodeLink:
    """A link to the node's socket at ``path``."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._events: NodeEvents | None = None
        self._socket: socket.socket | None = None
        self._unsent: deque[bytes] = deque()
        self._welcomed = False
        self._ended = asyncio.Event()
        self.welcome: wire.Welcome | None = None

    async def run(self, events: NodeEvents) -> None:
        """Stay connected until cancelled, telling ``events`` what the node says."""
        self._events = events
        loop = asyncio.get_running_loop()
        failures = 0
        try:
            while True:
                begun = loop.time()
                trouble = await self._connection()
                failures = 0 if loop.time() - begun > STEADY_S else failures + 1
                pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                if failures in (0, 1, 10) or failures % 100 == 0:
                    self._log.warning("no node", socket=str(self._path), why=trouble, attempt=failures)
                await asyncio.sleep(pause)
        finally:
            self._disconnect()

    def send(self, message: wire.ToNode) -> None:
        """Send in order; what a full socket does not take waits here."""
        if self._socket is None:
            return
        self._unsent.append(wire.encode(message))
        if len(self._unsent) == 1:
            self._flush()

    # --- one connection ------------------------------------------------------------------

    async def _connection(self) -> str:
        """Connect, speak until it ends, and say why it ended."""
        loop = asyncio.get_running_loop()
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.setblocking(False)
        self._trouble = "the node closed the connection"
        try:
            await loop.sock_connect(link, str(self._path))
            self._check_peer(link)
        except OSError as error:
            link.close()
            return str(error)
        self._socket = link
        self._ended.clear()
        loop.add_reader(link, self._readable)
        self.send(wire.Hello(uuid.uuid4().hex))
        slow = loop.call_later(WELCOME_S, self._not_welcomed)
        try:
            await self._ended.wait()
        finally:
            slow.cancel()
            self._disconnect()
        return self._trouble

    def _check_peer(self, link: socket.socket) -> None:
        size = struct.calcsize("3i")
        credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in (0, os.getuid()):
            raise PermissionError(f"the socket belongs to user {uid}, who may not be the node")

    def _not_welcomed(self) -> None:
        if not self._welcomed:
            self._end(f"the node did not say Welcome within {WELCOME_S:.0f} s")

    def _end(self, why: str) -> None:
        self._trouble = why
        self._ended.set()

    def _disconnect(self) -> None:
        link, self._socket = self._socket, None
        if link is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(link)
        loop.remove_writer(link)
        link.close()
        self._unsent.clear()
        self.welcome = None
        if self._welcomed and self._events is not None:
            self._welcomed = False
            self._events.node_lost()

    # --- sending -------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._unsent:
                self._socket.send(self._unsent[0])
                self._unsent.popleft()
        except (BlockingIOError, InterruptedError):
            if len(self._unsent) > UNSENT_MOST:
                self._end("the node does not read")
            else:
                loop.add_writer(self._socket, self._flush)
        except OSError as error:
            self._end(str(error))
        else:
            loop.remove_writer(self._socket)

    # --- receiving -----------------------------------------------------------------------

    def _readable(self) -> None:
        for _ in range(64):
            if self._socket is None or self._ended.is_set():
                return
            try:
                packet, descriptors, cut = self._receive(self._socket)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(str(error))
                return
            if not packet:
                _close_all(descriptors)
                self._end("the node closed the connection")
                return
            self._take(packet, descriptors, cut)

    def _receive(self, link: socket.socket) -> tuple[bytes, list[int], bool]:
        room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
        packet, ancillary, flags, _ = link.recvmsg(wire.MAX_PACKET + 1, room, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        return packet, list(descriptors), bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))

    def _take(self, packet: bytes, descriptors: list[int], cut: bool) -> None:
        try:
            self._tell(wire.decode(b"" if cut else packet), descriptors)
        except wire.WireError as error:
            _close_all(descriptors)
            self._log.error("the node broke the wire", why=str(error))
            self._end(str(error))

    def _tell(self, message: wire.Message, descriptors: list[int]) -> None:
        assert self._events is not None
        if not self._welcomed and not isinstance(message, wire.Welcome):
            raise wire.WireError(f"{type(message).__name__} before Welcome")
        if descriptors and not isinstance(message, wire.Started):
            raise wire.WireError(f"{type(message).__name__} with descriptors")
        match message:
            case wire.Welcome():
                self._welcome(message)
            case wire.Started():
                owned = _owned(descriptors)
                descriptors.clear()
                self._events.started(message, owned)
            case wire.Refused():
                self._events.refused(message)
            case wire.Exited():
                self._events.exited(message)
            case wire.Workers() | wire.Hello() | wire.Start() | wire.Stop() | wire.ListWorkers():
                raise wire.WireError(f"{type(message).__name__} was not asked for")
            case _:
                assert_never(message)

    def _welcome(self, welcome: wire.Welcome) -> None:
        assert self._events is not None
        if self._welcomed:
            raise wire.WireError("Welcome twice")
        if welcome.protocol != wire.PROTOCOL:
            raise wire.WireError(f"the node speaks protocol {welcome.protocol}, not {wire.PROTOCOL}")
        self._welcomed = True
        self.welcome = welcome
        self._log.info("node welcomed us", node=welcome.node, driver=welcome.driver)
        self._events.welcomed(welcome)


def _owned(descriptors: list[int]) -> Descriptors:
    if len(descriptors) not in (2, 3):
        raise wire.WireError(f"Started with {len(descriptors)} descriptors")
    try:
        listener = socket.socket(fileno=descriptors[0])
    except OSError as error:
        raise wire.WireError(f"the first descriptor of Started is no socket: {error}") from None
    listener.setblocking(False)
    os.set_blocking(descriptors[1], False)
    return Descriptors(listener, descriptors[1], descriptors[2] if len(descriptors) == 3 else None)


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
