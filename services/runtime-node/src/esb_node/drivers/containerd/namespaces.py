"""Network namespaces without processes, each with its worker's listening socket.

A namespace is made in a thread that lives for that alone: the thread moves into a new namespace, pins it to
a file, opens the socket there, and ends. The kernel keeps namespaces per thread, so no other thread of the
node ever sees it; a pooled thread would carry it on to its next task, hence a fresh one each time (about 50
µs, beside some 3 ms for the namespace).

The pin is a mount in the node's own mount namespace, which containerd and its shims share: runc must find it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from esb_node.core.worker import RUNTIME_API_HOST, RUNTIME_API_PORT
from esb_node.hands import linux

_BACKLOG = 16

_SIOCSIFFLAGS, _SIOCBRDELBR = 0x8914, 0x89A1


async def make_namespace(pin: Path) -> socket.socket:
    """A new network namespace pinned to the new file ``pin``; the Runtime API socket that listens in it."""
    return await _in_own_thread(lambda: _make(pin))


def is_pinned(pin: Path) -> bool:
    """Whether a namespace is mounted at ``pin``: not after a reboot, nor in a new container of the node."""
    return os.path.ismount(pin)


def remove_namespace(pin: Path) -> None:
    """Take away the pin. The namespace ends with its last socket and process."""
    with contextlib.suppress(OSError):  # not mounted: a reboot has taken it, the file has stayed
        linux.unmount(str(pin))
    pin.unlink(missing_ok=True)


def remove_bridge(name: str) -> None:
    """Delete the bridge ``name``, if it is there. netdevice(7)"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, contextlib.suppress(OSError):
        down = struct.pack("16sH22x", name.encode(), 0)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, down)
        fcntl.ioctl(any_socket, _SIOCBRDELBR, name.encode())


def _make(pin: Path) -> socket.socket:
    pin.touch()
    try:
        os.unshare(os.CLONE_NEWNET)
        linux.attach_tree(linux.clone_tree("/proc/thread-self/ns/net", 0), str(pin))
        linux.raise_loopback()
        return _listen()
    except OSError:
        remove_namespace(pin)
        raise


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.bind((RUNTIME_API_HOST, RUNTIME_API_PORT))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def _in_own_thread[Result](act: Callable[[], Result]) -> Result:
    done: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def body() -> None:
        try:
            done.set_result(act())
        except OSError as error:
            done.set_exception(error)

    threading.Thread(target=body, name="esb-namespace", daemon=True).start()
    return await asyncio.wrap_future(done)
