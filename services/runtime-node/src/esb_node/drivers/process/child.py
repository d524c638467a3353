"""From a fresh fork of the spawner to a worker's program: what a worker may see, use and do.

In order: its cgroups, its namespaces, its Runtime API socket (sent to the node, which passes it
on), its private root, its powers, its program. Everything here runs in the worker's own process,
so several starts overlap; the isolated part takes a few milliseconds.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator

from esb_node.core.worker import MOST_FILES, OOM_SCORE, RUNTIME_API_HOST, RUNTIME_API_PORT
from esb_node.drivers.process import orders
from esb_node.hands import linux, view

_BACKLOG = 128
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 512 << 20,  # AWS's default size of /tmp
    resource.RLIMIT_NOFILE: MOST_FILES,
}
_PRIVATE = os.CLONE_NEWNS | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS | os.CLONE_NEWCGROUP


def become_worker(
    house: orders.House, start: orders.Start, report: socket.socket, output: int, groups: list[int]
) -> dict[str, str]:
    """Turn this fresh fork into the worker that ``start`` asks for, all but its program.

    Tells the node through ``report`` that it listens. Returns the environment for the program.
    OSError where the kernel refuses a step.
    """
    phases = _Phases()
    _forget_spawner()
    join_groups(groups)
    phases.ended("cgroup")
    isolated = house.isolation != "none"
    if isolated:
        os.unshare(_PRIVATE)
        socket.sethostname("localhost")
        linux.raise_loopback()
    listener = _listen(RUNTIME_API_PORT if isolated else 0)
    phases.ended("namespaces")
    if isolated:
        os.umask(0o022)
        view.enter(list(things_of_a_worker(house, start)))
    phases.ended("view")
    _give_up_powers(house)
    _arrange(output, start, isolated)
    socket.send_fds(report, [orders.encode(orders.Ready(phases.ms))], [listener.fileno()])
    return _environment(start, listener)


def join_groups(descriptors: list[int]) -> None:
    """Become a member of each cgroup by its descriptor."""
    for descriptor in descriptors:
        os.write(descriptor, b"0")
        os.close(descriptor)


def things_of_a_worker(house: orders.House, start: orders.Start) -> Iterator[view.Thing]:
    """All that a worker sees of the machine's files."""
    yield from view.host_programs()
    yield from view.present("/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/openssl.cnf")
    yield from _accounts(house)
    yield from view.devices()
    yield view.Processes(read_only=True)
    yield view.Bind(house.python_prefix, "/var/lang")
    # The machine's own packages are not the function's: only /var/runtime and the code provide any.
    yield view.Folder("/var/lang/lib/python3.12/site-packages")
    yield view.Bind(house.runtime_folder, "/var/runtime")
    yield view.Bind(start.code, "/var/task")
    yield view.Bind(start.scratch, "/tmp", writable=True)  # noqa: S108 - where AWS's functions write
    yield view.Folder("/opt")


def _accounts(house: orders.House) -> Iterator[view.Thing]:
    ours = f"sandbox:x:{house.uid}:{house.gid}:sandbox:/tmp:/usr/sbin/nologin"
    yield view.Text("/etc/passwd", f"root:x:0:0:root:/root:/usr/sbin/nologin\n{ours}\n")
    yield view.Text("/etc/group", f"root:x:0:\nsandbox:x:{house.gid}:\n")
    yield view.Text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    yield view.Text("/etc/hosts", "127.0.0.1 localhost\n")


class _Phases:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self.ms: dict[str, float] = {}

    def ended(self, name: str) -> None:
        now = time.monotonic()
        self.ms[name] = round((now - self._last) * 1e3, 2)
        self._last = now


def _forget_spawner() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(OOM_SCORE))


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind((RUNTIME_API_HOST, port))
    listener.listen(_BACKLOG)
    return listener


def _give_up_powers(house: orders.House) -> None:
    for limit, value in _LIMITS.items():
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if house.isolation == "user-namespaces":
        linux.empty_capability_bounds()
    elif os.geteuid() == 0:
        linux.empty_capability_bounds()
        os.setgroups(())
        os.setresgid(house.gid, house.gid, house.gid)
        os.setresuid(house.uid, house.uid, house.uid)
    linux.drop_capabilities()
    linux.never_gain_powers()


def _arrange(output: int, start: orders.Start, isolated: bool) -> None:
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir("/var/task" if isolated else start.code)


def _environment(start: orders.Start, listener: socket.socket) -> dict[str, str]:
    address, port = listener.getsockname()
    return start.environment | {"AWS_LAMBDA_RUNTIME_API": f"{address}:{port}"}
