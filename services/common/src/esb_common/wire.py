"""The gateway ⇄ node wire as values: ``contracts/node.md`` in code.

One message is one packet of a SOCK_SEQPACKET Unix socket: a JSON object of at most
:data:`MAX_PACKET` bytes with a ``type``, and for :class:`Started` the descriptors that travel
with it. Encoding and decoding are pure; who owns a socket performs them. A packet that does
not decode is a :class:`WireError`, and the side that sees it closes the connection.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from esb_common import ids

PROTOCOL = 1
MAX_PACKET = 64 * 1024


class WireError(Exception):
    """A packet that is not a message of this wire."""


# --- gateway → node ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """First packet. ``gateway`` is a fresh random text per gateway process."""

    gateway: str
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Start:
    """Start ``worker`` for the function whose blob has digest ``function``."""

    worker: ids.WorkerId
    function: ids.Digest


@dataclass(frozen=True, slots=True)
class Stop:
    """End ``worker`` now.

    A running worker's :class:`Exited` follows. A start is cancelled: :class:`Refused` with the error
    ``Stopped``, or :class:`Started` and then :class:`Exited` where it was too late. For a worker that is
    unknown, or ending already, nothing follows that was not on its way.
    """

    worker: ids.WorkerId


@dataclass(frozen=True, slots=True)
class ListWorkers:
    """Ask for :class:`Workers`."""


# --- node → gateway ---------------------------------------------------------------------

Isolation = Literal["containers", "microvms", "namespaces", "user-namespaces", "none", "memory"]
Network = Literal["all", "loopback", "host"]


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to :class:`Hello`, sent once no worker of an earlier gateway is left.

    ``limits`` says whether each worker is held to its memory, processes and share of CPU.
    """

    node: str
    driver: str
    isolation: Isolation
    network: Network
    limits: bool = False
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Started:
    """The worker's process runs. Travels with two descriptors, or three.

    1. the listening Runtime API socket, opened inside the worker's network namespace;
    2. the read end of its output (standard output and error), non-blocking;
    3. where the kernel counts: its peak-memory file (bytes, decimal), to be ``pread``.

    ``place`` is what a person would look for: a container id or a process id.
    ``phases_ms`` says where the time of the start went, by the driver's own phase names.
    """

    worker: ids.WorkerId
    place: str
    phases_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Refused:
    """The worker was not started and nothing of it is left. ``error`` is a short CamelCase name."""

    worker: ids.WorkerId
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker is gone with all its processes; exactly once per :class:`Started`.

    ``code`` is the exit status; ``signal`` is set instead where a signal ended it. ``peak_memory`` is what it
    used at most, in bytes, where the kernel counted: its peak-memory file may say nothing any more.
    """

    worker: ids.WorkerId
    code: int | None
    signal: int | None
    out_of_memory: bool = False
    peak_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Workers:
    """The living workers, as ``{"worker", "function", "place", "age_s"}`` each."""

    workers: list[dict[str, Any]]


ToNode = Hello | Start | Stop | ListWorkers
ToGateway = Welcome | Started | Refused | Exited | Workers
Message = ToNode | ToGateway

_TYPES: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """The packet of ``message``; WireError where it would exceed :data:`MAX_PACKET`."""
    packet = json.dumps({"type": type(message).__name__} | asdict(message)).encode()
    if len(packet) > MAX_PACKET:
        raise WireError(f"{type(message).__name__} of {len(packet)} bytes is too long for the wire")
    return packet


def decode(packet: bytes) -> Message:
    """The message of ``packet``; WireError where it is none."""
    try:
        members = json.loads(packet)
        kind = _TYPES[members.pop("type")]
        if "worker" in members:
            members["worker"] = ids.worker_id(members["worker"])
        if "function" in members:
            members["function"] = ids.digest(members["function"])
        return kind(**members)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WireError(f"not a message: {error}") from None
