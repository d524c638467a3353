"""A worker's keeper, where there are no namespaces: it adopts all descendants and outlives them.

It stands between spawner and worker as pid 1 would: orphans fall to it, SIGTERM makes it kill
all of them, and it ends as the worker ended, but only when none is left. If the spawner dies,
the kernel sends it that SIGTERM. A process that a worker starts cannot get away from it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from esb_node.drivers.process.child import join_groups
from esb_node.hands import linux

_WATCHED = {signal.SIGTERM, signal.SIGCHLD}


def keep_worker(descriptors: list[int], fork_worker: Callable[[], int]) -> NoReturn:
    """Keep the worker that ``fork_worker`` makes. Called in a fresh fork; never returns.

    ``descriptors``: report and output, which are the worker's, then one per cgroup to join.
    """
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        linux.adopt_orphans()
        linux.die_with_parent(signal.SIGTERM)
        join_groups(descriptors[2:])
        worker = fork_worker()
        for descriptor in descriptors[:2]:
            os.close(descriptor)
        _end_as(_wait(worker))
    finally:
        os._exit(1)


def _wait(worker: int) -> int:
    status = None
    while status is None and signal.sigwait(_WATCHED) != signal.SIGTERM:
        status = _reap(worker, os.WNOHANG)
    while children := list(_children()):
        for child in children:
            os.kill(child, signal.SIGKILL)
        ended = _reap(worker, 0)
        status = ended if status is None else status
    return status or 0


def _reap(worker: int, options: int) -> int | None:
    """Reap what has ended (at least one child, unless WNOHANG); the worker's status if it was among them."""
    found = None
    while True:
        try:
            process, status = os.waitpid(-1, options)
        except ChildProcessError:
            return found
        if not process:
            return found
        found = status if process == worker else found
        options = os.WNOHANG


def _children() -> Iterator[int]:
    """Our children by a walk over /proc: the kernel's own list of them is a build option."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                after_name = (path / "stat").read_text().rpartition(")")[2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(after_name.split()[1]) == os.getpid():
                yield int(path.name)


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)
