"""What the node's decisions need of the world."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from esb_common import ids, wire
from esb_common.function import FunctionBlob


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Everything a driver may know of one worker.

    ``code`` is the unpacked, read-only code folder (shown as /var/task). ``environment`` is
    complete, AWS's own variables included, and never logged. ``arguments`` are paths as the
    worker sees them.
    """

    worker: ids.WorkerId
    function: FunctionBlob
    code: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended; the members of ``wire.Exited``."""

    code: int | None
    signal: int | None
    out_of_memory: bool = False
    peak_memory: int | None = field(default=None, compare=False)
    """Bytes, measured and so no part of what an end *is*; None where the kernel counts for nobody."""


class StartRefused(Exception):
    """A worker could not be started and nothing of it is left.

    ``error`` is one of the names that ``contracts/node.md`` lists.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(f"{error}: {message}")
        self.error = error
        self.message = message


class Running(Protocol):
    """A started worker. The caller owns and closes the three descriptors."""

    @property
    def place(self) -> str:
        """The container id or process id that a person would look for."""

    @property
    def phases_ms(self) -> dict[str, float]:
        """Where the time of the start went."""

    @property
    def listener(self) -> socket.socket:
        """Listening on the worker's Runtime API address, inside its network namespace."""

    @property
    def output(self) -> int:
        """Non-blocking read end of its standard output and error."""

    @property
    def peak_memory(self) -> int | None:
        """A descriptor to ``pread`` its peak memory from (bytes, decimal text)."""

    def stop(self) -> None:
        """Kill it now, all of it; returns at once. Harmless when it is gone already."""

    async def wait(self) -> Exit:
        """Return once no process of it is left and all that the start made is cleaned away."""


class Driver(Protocol):
    """One way to run workers. Every driver passes the contract suite in ``tests/contract``."""

    @property
    def name(self) -> str:
        """memory, process, containerd, …"""

    @property
    def isolation(self) -> wire.Isolation:
        """What stands between a worker and the machine."""

    @property
    def network(self) -> wire.Network:
        """What a worker can reach."""

    @property
    def limits(self) -> bool:
        """Whether each worker is held to its memory, processes and share of CPU. Known once open."""

    async def open(self) -> None:
        """Make ready, and clear away whatever an earlier node left behind."""

    async def start(self, plan: WorkerPlan) -> Running:
        """Start a worker; StartRefused where it cannot. Cancelling leaves nothing behind."""

    async def close(self) -> None:
        """Give back all that :meth:`open` took. Workers have been stopped before."""
