"""The spawner: a small, single-threaded process that does nothing but fork workers and reap them.

``python -m esb_node.drivers.process.spawner LINK LOCK HOUSE`` — the socket to the node, a
descriptor whose file lock says "something of this node is left", and the house as JSON. Forking
the node itself would copy its event loop, threads and memory; this process has none of them, so
a fork takes about a millisecond. It ends, and every worker with it, when the node closes its end.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from typing import NoReturn

from esb_node.drivers.process import orders
from esb_node.drivers.process.child import become_worker
from esb_node.drivers.process.keeper import keep_worker
from esb_node.hands import linux


def main(arguments: list[str]) -> None:
    """Serve until the node is gone."""
    link, lock = socket.socket(fileno=int(arguments[0])), int(arguments[1])
    os.set_inheritable(lock, False)
    link.set_inheritable(False)
    house = orders.House(**json.loads(arguments[2]))
    if house.isolation != "none":
        _enter_namespaces(house, link)
    gc.collect()
    gc.freeze()  # or the collector touches, and so copies, every page in each fork
    _Spawner(house, link).serve()


def _enter_namespaces(house: orders.House, link: socket.socket) -> None:
    """Go on as pid 1 of a pid namespace: when that process ends, the kernel ends all in it."""
    uid, gid = os.geteuid(), os.getegid()
    if house.isolation == "user-namespaces":
        os.unshare(os.CLONE_NEWUSER)
        _map("setgroups", "deny")
        _map("uid_map", f"{house.uid} {uid} 1")
        _map("gid_map", f"{house.gid} {gid} 1")
    os.unshare(os.CLONE_NEWPID | os.CLONE_NEWNS)
    inner = os.fork()
    if inner:
        link.close()
        os.waitpid(inner, 0)
        os._exit(0)
    linux.die_with_parent(signal.SIGKILL)


def _map(name: str, content: str) -> None:
    with open(f"/proc/self/{name}", "w") as file:
        file.write(content)


class _Spawner:
    def __init__(self, house: orders.House, link: socket.socket) -> None:
        self._house = house
        self._link = link
        self._workers: dict[int, str] = {}
        self._own_namespace = os.pidfd_open(os.getpid())

    def serve(self) -> None:
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if self._link.fileno() in ready and not self._obey():
                break
        self._end_all()

    def _obey(self) -> bool:
        content, descriptors, _, _ = socket.recv_fds(self._link, orders.MAX_PACKET, orders.MOST_DESCRIPTORS)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # recv_fds drops its flags argument in CPython 3.12
        if not content:
            return False
        match orders.decode(content):
            case orders.Start() as start:
                self._start(start, descriptors)
            case orders.Kill(worker):
                self._kill(worker)
            case other:
                raise AssertionError(other)
        return True

    def _start(self, start: orders.Start, descriptors: list[int]) -> None:
        try:
            self._workers[self._fork(start, descriptors)] = start.worker
        except OSError as error:
            self._tell_failure(descriptors[0], f"fork: {error.strerror}")
            self._tell(orders.Ended(start.worker, 0))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, start: orders.Start, descriptors: list[int]) -> int:
        if self._house.isolation == "none":
            report, output, *_ = descriptors
            return os.fork() or keep_worker(
                descriptors, lambda: os.fork() or _run_worker(self._house, start, [report, output])
            )
        # The next child is pid 1 of a new namespace and still a direct child; then back to our own.
        os.unshare(os.CLONE_NEWPID)
        try:
            return os.fork() or _run_worker(self._house, start, descriptors)
        finally:
            os.setns(self._own_namespace, os.CLONE_NEWPID)

    def _kill(self, worker: str) -> None:
        number = signal.SIGTERM if self._house.isolation == "none" else signal.SIGKILL
        for process, name in self._workers.items():
            if name == worker:
                os.kill(process, number)

    def _reap(self) -> None:
        while self._workers:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            if (worker := self._workers.pop(process, None)) is not None:
                self._tell(orders.Ended(worker, status))

    def _tell(self, packet: orders.Packet) -> None:
        try:
            self._link.send(orders.encode(packet))
        except (BrokenPipeError, ConnectionResetError):
            return  # the node is gone; the loop is about to see that

    @staticmethod
    def _tell_failure(report: int, message: str) -> None:
        with socket.socket(fileno=os.dup(report)) as opened:
            opened.send(orders.encode(orders.Failed(message)))

    def _end_all(self) -> NoReturn:
        self._link.close()
        for worker in list(self._workers.values()):
            self._kill(worker)
        while self._workers:
            process, _ = os.waitpid(-1, 0)
            self._workers.pop(process, None)
        os._exit(0)


def _run_worker(house: orders.House, start: orders.Start, descriptors: list[int]) -> NoReturn:
    """In a fresh fork: become the worker, then its program. The node hears of a step that fails."""
    report = socket.socket(fileno=descriptors[0])
    try:
        environment = become_worker(house, start, report, descriptors[1], descriptors[2:])
        os.execve(start.arguments[0], start.arguments, environment)  # noqa: S606 - a worker's program
    except (OSError, ValueError) as error:
        report.send(orders.encode(orders.Failed(f"{type(error).__name__}: {error}")))
    finally:
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
