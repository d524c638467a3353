"""What the fleet hears and what it orders: events are past, commands are imperatives.

Times are seconds of one monotonic clock. An event that comes from a worker may be refused
(:class:`Forbidden`), since a worker is not ours; the same from the node is a broken wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from esb_common.ids import Digest, RequestId, WorkerId

from esb_gateway.core.outcome import Outcome, RanOutcome


class Forbidden(Exception):
    """An event that the present state does not allow. Nothing has changed."""


class WrongInvocation(Forbidden):
    """A worker spoke of an invocation that it does not hold."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the fleet must know of a function version: its blob, its size, its time."""

    function: Digest
    memory_mib: int
    timeout_s: float


# --- events -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrived:
    """An invocation was accepted."""

    invocation: RequestId
    demand: Demand


@dataclass(frozen=True, slots=True)
class Polled:
    """A worker asks for its next invocation; the first time it says that it is ready."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class PollLost:
    """The connection of a waiting poll closed; a hint, not the worker's end."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker posted the result of the invocation it holds."""

    worker: WorkerId
    invocation: RequestId
    outcome: RanOutcome


@dataclass(frozen=True, slots=True)
class InitErrorPosted:
    """A worker says that it cannot load its handler."""

    worker: WorkerId
    body: bytes


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """The node says that the worker's process runs."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class WorkerRefused:
    """The node says that there is and will be no such worker."""

    worker: WorkerId
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """The node says that nothing of the worker is left."""

    worker: WorkerId
    code: int | None
    signal: int | None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class NodeWelcomed:
    """The node is there and has no worker of ours."""


@dataclass(frozen=True, slots=True)
class NodeWentAway:
    """The connection to the node ended, and with it every worker."""


@dataclass(frozen=True, slots=True)
class Retired:
    """No new invocation will name this function version."""

    function: Digest


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time that ``Fleet.next_timer`` named has come."""


Event = (
    Arrived
    | Polled
    | PollLost
    | Finished
    | InitErrorPosted
    | WorkerStarted
    | WorkerRefused
    | WorkerGone
    | NodeWelcomed
    | NodeWentAway
    | Retired
    | TimerFired
)


# --- commands -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Ask the node for a worker."""

    worker: WorkerId
    function: Digest


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Ask the node to end a worker."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Hand:
    """Answer the worker's waiting poll with the invocation."""

    worker: WorkerId
    invocation: RequestId


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the client. ``worker`` is who ran it or should have, where there was one."""

    invocation: RequestId
    outcome: Outcome
    worker: WorkerId | None = None


@dataclass(frozen=True, slots=True)
class ClosePool:
    """A retired function version has no worker and no invocation left."""

    function: Digest


Command = StartWorker | StopWorker | Hand | Answer | ClosePool
