"""The node's one door: a Unix socket at which a gateway asks for workers (``contracts/node.md``).

The kernel says who is at the other end; nobody but the expected user gets further than
``accept``. A packet that is no message ends its connection. Sending never waits: packets a slow
gateway does not take are kept in order with their descriptors, up to a bound, beyond which the
connection ends, since a gateway that does not read cannot know its workers either.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import itertools
import os
import socket
import stat
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from esb_common import wire
from esb_common.errors import NotPossibleHere
from esb_common.log import Log

from esb_node.core import desk

_CREDENTIALS = struct.Struct("3i")
_MOST_WAITING = 4096
_LONGEST_PATH = 107

Hear = Callable[[desk.Connected | desk.Heard | desk.Disconnected], None]


class GatewayDoor:
    """Listens on ``path``; tells ``hear`` what comes in, performs what is to go out."""

    def __init__(self, path: Path, uid: int, gid: int | None, log: Log) -> None:
        self._path = path
        self._uid = uid
        self._gid = gid
        self._log = log
        self._numbers = itertools.count(1)
        self._peers: dict[desk.Peer, _Connection] = {}
        self._listener: socket.socket | None = None

    def open(self, hear: Hear) -> None:
        """Listen. A socket file that an earlier node left is replaced. NotPossibleHere where it cannot be."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        try:
            _require_reachable(self._path)
            self._appear(listener)
        except OSError as error:
            listener.close()
            hint = "ESB_RUN_DIR must be a writable folder with a path of less than 90 bytes"
            raise NotPossibleHere(f"cannot listen at {self._path}: {error.strerror}", hint) from None
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept, listener, hear)

    def _appear(self, listener: socket.socket) -> None:
        """Bind, set up and only then show the socket file: who sees it may also connect to it.

        Its folder belongs to the gateway's user, who can put another file in the place of any name there. So
        the file gets its mode and group in a folder of our own within, by that folder's descriptor.
        """
        with _own_folder(self._path.parent) as folder:
            listener.bind(f"/proc/self/fd/{folder}/socket")
            os.chmod("socket", 0o660, dir_fd=folder)
            if self._gid is not None:
                os.chown("socket", 0, self._gid, dir_fd=folder, follow_symlinks=False)
            listener.listen(4)
            os.rename("socket", self._path, src_dir_fd=folder)

    def close(self) -> None:
        """End every connection and remove the socket file."""
        for peer in list(self._peers):
            self.disconnect(peer)
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._path.unlink(missing_ok=True)

    def send(self, peer: desk.Peer, message: wire.ToGateway, descriptors: Sequence[int] = ()) -> None:
        """Send ``message``; ``descriptors`` (ours from now on) travel with it and are closed."""
        connection = self._peers.get(peer)
        if connection is None:
            _close_all(descriptors)
        else:
            connection.send(wire.encode(message), list(descriptors))

    def disconnect(self, peer: desk.Peer) -> None:
        """End a connection; ``hear`` is not told."""
        if (connection := self._peers.pop(peer, None)) is not None:
            connection.close()

    def _accept(self, listener: socket.socket, hear: Hear) -> None:
        try:
            opened, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        opened.setblocking(False)
        credentials = opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        process, uid, _ = _CREDENTIALS.unpack(credentials)
        if uid != self._uid:
            self._log.warning("refused a peer that is not the gateway's user", uid=uid, process=process)
            opened.close()
            return
        peer = desk.Peer(next(self._numbers))
        ended = lambda why: self._ended(peer, why, hear)  # noqa: E731 - two callbacks of one connection
        self._peers[peer] = _Connection(opened, lambda message: hear(desk.Heard(peer, message)), ended)
        hear(desk.Connected(peer))

    def _ended(self, peer: desk.Peer, why: str, hear: Hear) -> None:
        self._log.info("a gateway's connection ended", reason=why)
        self.disconnect(peer)
        hear(desk.Disconnected(peer))


@contextlib.contextmanager
def _own_folder(within: Path) -> Iterator[int]:
    """A descriptor of a new folder that only our user can enter. It is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=".node-", dir=within))
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            seen = os.fstat(folder)
            if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) != 0o700:
                raise PermissionError(errno.EPERM, f"somebody else put a folder at {path}")
            yield folder
        finally:
            os.close(folder)
    finally:
        path.rmdir()


def _require_reachable(path: Path) -> None:
    """OSError where ``path`` is too long to be connected to. unix(7)"""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


class _Connection:
    def __init__(
        self, opened: socket.socket, heard: Callable[[wire.Message], None], ended: Callable[[str], None]
    ) -> None:
        self._socket = opened
        self._heard = heard
        self._ended = ended
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(opened, self._read)

    def send(self, packet: bytes, descriptors: list[int]) -> None:
        self._waiting.append((packet, descriptors))
        if len(self._waiting) > _MOST_WAITING:
            self._loop.call_soon(self._ended, "it does not read")
        else:
            self._flush()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        while self._waiting:
            _close_all(self._waiting.popleft()[1])

    def _read(self) -> None:
        try:
            # No room for descriptors: the kernel closes any that a gateway sends.
            packet, _, flags, _ = self._socket.recvmsg(wire.MAX_PACKET)
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(str(error))
            return
        if not packet:
            self._ended("it closed")
            return
        if flags & socket.MSG_TRUNC:
            self._ended("a packet is too long")
            return
        try:
            message = wire.decode(packet)
        except wire.WireError as error:
            self._ended(str(error))
        else:
            self._heard(message)

    def _flush(self) -> None:
        while self._waiting:
            packet, descriptors = self._waiting[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            try:
                self._socket.sendmsg([packet], rights if descriptors else [])
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                return
            except OSError as error:
                self._loop.call_soon(self._ended, str(error))
                return
            self._waiting.popleft()
            _close_all(descriptors)
        self._loop.remove_writer(self._socket)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
