"""What the gateway's decisions need of the world, and what the world may tell them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from esb_common import wire
from esb_common.ids import Digest, FunctionName, RequestId, WorkerId

from esb_gateway.core.function import Deployed, Function
from esb_gateway.core.logtail import Tail
from esb_gateway.core.outcome import Outcome, RanOutcome
from esb_gateway.core.requests import CodeUpdate, ConfigurationUpdate, Creation

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Runs something in the background, its failure contained."""


class State(Protocol):
    """The box's functions. Reading is instant; a change returns once it would survive a power cut.

    One suite runs over every implementation (``tests/test_state.py``).
    """

    def find(self, name: FunctionName) -> Deployed | None:
        """The function called ``name``."""

    def page(self, after: str, limit: int) -> Sequence[Function]:
        """At most ``limit`` functions in the order of their names, those after ``after``."""

    def count(self) -> int:
        """How many functions there are."""

    def refers_to(self, blob: Digest) -> bool:
        """Whether a function's blob or code has this digest."""

    async def save(self, function: Function) -> Deployed:
        """Store ``function`` under its name, in place of what was there."""

    async def remove(self, name: FunctionName) -> None:
        """Forget the function; nothing happens where there is none."""

    async def close(self) -> None:
        """Give back what is held; nothing may be called afterwards."""


class Store(Protocol):
    """Immutable content under its own digest."""

    async def put(self, content: bytes) -> Digest:
        """Keep ``content``: wholly there when this returns, or not at all."""

    async def remove(self, name: Digest) -> None:
        """Forget a content; nothing happens where there is none."""

    async def names(self) -> Sequence[Digest]:
        """All that is kept."""

    async def size(self, name: Digest) -> int | None:
        """Bytes of a content; None where there is none."""

    async def read(self, name: Digest, offset: int, length: int) -> bytes:
        """A part of a content. FileNotFoundError where there is none."""


class NodeLink(Protocol):
    """What may be asked of the node; answers come to a :class:`NodeEvents`."""

    def send(self, message: wire.ToNode) -> None:
        """Send in order. Dropped where the node is gone, which is then also told as an event."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What travels with ``Started``; the receiver owns and closes all of it."""

    listener: socket.socket
    output: int
    peak_memory: int | None


class NodeEvents(Protocol):
    """Who listens to the node."""

    def welcomed(self, welcome: wire.Welcome, /) -> None:
        """A node is there, without any worker of ours."""

    def started(self, message: wire.Started, descriptors: Descriptors) -> None:
        """A worker's process runs."""

    def refused(self, message: wire.Refused) -> None:
        """A worker will not come."""

    def exited(self, message: wire.Exited) -> None:
        """Nothing of a worker is left."""

    def node_lost(self) -> None:
        """The connection ended, and with it every worker."""


@dataclass(frozen=True, slots=True)
class Handed:
    """An invocation as a worker gets it. ``deadline_ms`` is milliseconds of the wall clock."""

    request: RequestId
    payload: bytes
    deadline_ms: int
    arn: str
    trace: str
    client_context: str | None = None


class WorkerDoor(Protocol):
    """One worker's Runtime API."""

    async def open(self, listener: socket.socket) -> None:
        """Serve ``listener``, which the door owns from here on."""

    def hand(self, invocation: Handed) -> None:
        """Answer the waiting poll."""

    def close(self) -> None:
        """Stop serving and cut the worker's connections off."""


class WorkerVoice(Protocol):
    """Who listens to what workers say. All of it may raise Forbidden."""

    def polled(self, worker: WorkerId) -> None:
        """The worker waits for an invocation; a :meth:`WorkerDoor.hand` answers it."""

    def poll_lost(self, worker: WorkerId) -> None:
        """The waiting connection closed."""

    def finished(self, worker: WorkerId, request: RequestId, outcome: RanOutcome) -> None:
        """The worker posted a result."""

    def init_failed(self, worker: WorkerId, body: bytes) -> None:
        """The worker posted an init error."""


@dataclass(slots=True, eq=False)
class Call:
    """One accepted invocation. ``answered`` is called once, with the outcome and the log's tail."""

    request: RequestId
    deployed: Deployed
    payload: bytes
    trace: str
    answered: Callable[[Outcome, bytes], None]
    client_context: str | None = None
    tail: Tail | None = None
    arrived: float = 0.0
    """Of a steady clock; set by who accepts the call."""


class Calls(Protocol):
    """Where the API brings invocations."""

    def invoke(self, call: Call) -> None:
        """Run ``call`` to its answer, whatever becomes of the client."""


class Functions(Protocol):
    """Where the API keeps functions. Raises what ``core/errors.py`` lists."""

    def find(self, name: FunctionName) -> Deployed | None:
        """The function called ``name``."""

    def get(self, name: FunctionName) -> Deployed:
        """The same; NotFound where there is none."""

    def page(self, after: str, limit: int) -> Sequence[Function]:
        """At most ``limit`` functions in the order of their names, those after ``after``."""

    async def create(self, creation: Creation) -> Function:
        """A new function. Conflict where its name is taken."""

    async def update_code(self, name: FunctionName, update: CodeUpdate) -> Function:
        """New code; with ``dry_run`` only what would come of it."""

    async def update_configuration(self, name: FunctionName, update: ConfigurationUpdate) -> Function:
        """New settings."""

    async def delete(self, name: FunctionName) -> None:
        """Forget the function; calls that were accepted still run."""

    async def code_size(self, code: Digest) -> int | None:
        """Bytes of a package; None where there is none."""

    async def code_part(self, code: Digest, offset: int, length: int) -> bytes:
        """A part of a package. FileNotFoundError where there is none."""


class Logs(Protocol):
    """Functions' logs, for reading."""

    async def tail(self, function: FunctionName, lines: int) -> bytes:
        """The last ``lines`` lines."""

    def follow(self, function: FunctionName, follower: Callable[[bytes], None]) -> Callable[[], None]:
        """Call ``follower`` with every further text until the returned callback is called."""
