"""What node and spawner say to each other: JSON, one packet of a socket pair each.

node → spawner: :class:`Start` (with the descriptors report, output and one per cgroup to join),
:class:`Kill`. spawner → node: :class:`Ended`, exactly once per :class:`Start`. A starting worker
itself tells the node through *report*: :class:`Ready` with its listening socket, then the end of
the connection when its program runs; or :class:`Failed`, then that end.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Isolation = Literal["namespaces", "user-namespaces", "none"]

MAX_PACKET = 128 * 1024
MOST_DESCRIPTORS = 8


@dataclass(frozen=True, slots=True)
class House:
    """What is the same for all workers of a spawner."""

    isolation: Isolation
    python_prefix: str
    runtime_folder: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Start:
    """``scratch`` is the folder shown as /tmp; ``code`` the one shown as /var/task."""

    worker: str
    arguments: list[str]
    environment: dict[str, str]
    code: str
    scratch: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End the worker, if it lives."""

    worker: str


@dataclass(frozen=True, slots=True)
class Ended:
    """``status`` is as waitpid(2) gave it; no process of the worker is left."""

    worker: str
    status: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker listens and is about to run its program."""

    phases_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker could not be set up."""

    message: str


Packet = Start | Kill | Ended | Ready | Failed
_TYPES: dict[str, type[Packet]] = {kind.__name__: kind for kind in get_args(Packet)}


def encode(packet: Packet) -> bytes:
    """The bytes of ``packet``."""
    return json.dumps({"type": type(packet).__name__} | asdict(packet)).encode()


def decode(content: bytes) -> Packet:
    """The packet of bytes that :func:`encode` made."""
    members = json.loads(content)
    return _TYPES[members.pop("type")](**members)
