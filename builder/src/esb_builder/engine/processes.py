"""Whose process is it? A number alone never says: it is used again after a while.

A process of the engine is one that runs a program out of its prefix, or one in its cgroup (a
container's); no pid file is kept that could go stale. Signals go through a pidfd and only to
the process that was looked at (same number *and* start time).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """A process for as long as it lives: its number and start time (clock ticks since boot)."""

    pid: int
    started: int


def identity(pid: int) -> Identity | None:
    """Who has this number now; None where nobody does or it is only waiting to be collected."""
    try:
        after_name = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else Identity(pid, int(after_name[19]))


def alive(who: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identity(who.pid) == who


def running_from(path: Path) -> list[Identity]:
    """Processes whose program is ``path`` or lies under it."""
    real = path.resolve()
    return [who for pid in _pids() if _program(pid).is_relative_to(real) and (who := identity(pid))]


def sharing_network(program: str) -> list[Identity]:
    """Processes of any program file with this name in our network namespace."""
    here = _network("self")
    return [
        who
        for pid in _pids()
        if _program(pid).name == program and _network(str(pid)) == here and (who := identity(pid))
    ]


def in_cgroup(name: str) -> list[Identity]:
    """Processes in the top-level cgroup ``name`` of any hierarchy, or below it."""
    return [who for pid in _pids() if _in_cgroup(pid, f"/{name}/") and (who := identity(pid))]


def end(everyone: Iterable[Identity], grace_s: float) -> None:
    """SIGTERM, wait up to ``grace_s`` seconds, SIGKILL those that are left and wait for them."""
    targets = list(everyone)
    with _opened(targets) as descriptors:
        _signal(descriptors, signal.SIGTERM)
        left = _wait(descriptors, grace_s)
        _signal(left, signal.SIGKILL)
        _wait(left, 5.0)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _program(pid: int) -> Path:
    try:
        return Path(str((PROC / str(pid) / "exe").readlink()).removesuffix(" (deleted)"))
    except OSError:
        return Path()


def _network(pid: str) -> str:
    try:
        return str((PROC / pid / "ns/net").readlink())
    except OSError:
        return ""


def _in_cgroup(pid: int, below: str) -> bool:
    try:
        lines = (PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return False
    return any(line.split(":", 2)[2].startswith(below) for line in lines)


@contextmanager
def _opened(targets: list[Identity]) -> Iterator[list[int]]:
    descriptors: list[int] = []
    try:
        for who in targets:
            with suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(who.pid))
                if not alive(who):
                    os.close(descriptors.pop())
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _signal(descriptors: list[int], number: signal.Signals) -> None:
    for descriptor in descriptors:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)


def _wait(descriptors: list[int], most_s: float) -> list[int]:
    """Those that still run after ``most_s``; a pidfd is readable once its process ended."""
    left, until = list(descriptors), time.monotonic() + most_s
    while left and (rest := until - time.monotonic()) > 0:
        ended, _, _ = select.select(left, (), (), rest)
        left = [descriptor for descriptor in left if descriptor not in ended]
    return left
