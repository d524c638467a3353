"""What the node decides: a desk at which one gateway at a time is served.

Events in, commands out; no clock, socket or process. The life of a worker at this desk:

    Start → STARTING ─ WorkerStarted → RUNNING ─ WorkerExited → gone
               │ Stop, or its gateway went          │ likewise
               ▼                                    ▼
            CANCELLED ─ WorkerRefused → gone      ENDING ─ WorkerExited → gone

Every worker belongs to the gateway that asked for it, by the number of its connection; what
happens to a worker of a gone gateway is done but told to nobody. So ``Exited`` is sent exactly
once per ``Started``, and ``Welcome`` only once no worker of an earlier gateway is left.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NewType, assert_never

from esb_common import ids, wire

from esb_node.core.ports import Exit, StartRefused

Peer = NewType("Peer", int)
"""One connection of a gateway; never used again."""


# --- events -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """An accepted peer."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet that decoded."""

    peer: Peer
    message: wire.Message


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection ended, or its peer broke the wire's rules."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """The driver started it."""

    worker: ids.WorkerId
    place: str
    phases_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class WorkerRefused:
    """The driver did not start it; nothing of it is left."""

    worker: ids.WorkerId
    reason: StartRefused


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """No process of it is left."""

    worker: ids.WorkerId
    exit: Exit


@dataclass(frozen=True, slots=True)
class Closing:
    """The node itself is to end."""


Event = Connected | Heard | Disconnected | WorkerStarted | WorkerRefused | WorkerExited | Closing

# --- commands ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``message``; a ``Started`` travels with its worker's descriptors, which are then closed."""

    peer: Peer
    message: wire.ToGateway


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection. No event comes of it."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Begin:
    """Start a worker; :class:`WorkerStarted` or :class:`WorkerRefused` follows."""

    worker: ids.WorkerId
    function: ids.Digest


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give up a start. :class:`WorkerRefused` follows, or :class:`WorkerStarted` where it was too late."""

    worker: ids.WorkerId


@dataclass(frozen=True, slots=True)
class Discard:
    """Close the descriptors of a worker that nobody waits for any more."""

    worker: ids.WorkerId


@dataclass(frozen=True, slots=True)
class Kill:
    """End a running worker; :class:`WorkerExited` follows."""

    worker: ids.WorkerId


Command = Send | Close | Begin | Cancel | Discard | Kill


class _Stage(enum.Enum):
    STARTING = enum.auto()
    CANCELLED = enum.auto()
    RUNNING = enum.auto()
    ENDING = enum.auto()


@dataclass(slots=True)
class _Worker:
    peer: Peer
    function: ids.Digest
    since: float
    stage: _Stage = _Stage.STARTING
    place: str = ""


class Desk:
    """The node's state and its rules. ``node``, ``driver``… are what ``Welcome`` says."""

    def __init__(
        self, node: str, driver: str, isolation: wire.Isolation, network: wire.Network, *, limits: bool
    ) -> None:
        self._welcome = wire.Welcome(node, driver, isolation, network, limits)
        self._workers: dict[ids.WorkerId, _Worker] = {}
        self._peer: Peer | None = None
        self._greeted = False
        self._welcomed = False

    @property
    def empty(self) -> bool:
        """Whether no worker is left, starting and ending ones included."""
        return not self._workers

    def hear(self, event: Event, now: float) -> list[Command]:
        """What is to be done about ``event``; ``now`` in monotonic seconds."""
        match event:
            case Connected(peer):
                return self._seat(peer)
            case Heard(peer, message):
                return self._answer(message, now) if peer == self._peer else []
            case Disconnected(peer):
                return self._leave() if peer == self._peer else []
            case WorkerStarted(worker, place, phases_ms):
                return self._started(worker, place, phases_ms)
            case WorkerRefused(worker, reason):
                return self._refused(worker, reason)
            case WorkerExited(worker, exit_):
                return self._exited(worker, exit_)
            case Closing():
                return self._stop_all() + self._close()
            case _:
                assert_never(event)

    # --- the gateway ---

    def _seat(self, peer: Peer) -> list[Command]:
        commands = self._stop_all() + self._close()
        self._peer, self._greeted, self._welcomed = peer, False, False
        return commands

    def _leave(self) -> list[Command]:
        self._peer = None
        return self._stop_all()

    def _close(self) -> list[Command]:
        peer, self._peer = self._peer, None
        return [Close(peer)] if peer is not None else []

    def _answer(self, message: wire.Message, now: float) -> list[Command]:
        match message:
            case wire.Hello(protocol=wire.PROTOCOL) if not self._greeted:
                self._greeted = True
                return self._welcome_if_ready()
            case wire.Start(worker, function) if self._welcomed and worker not in self._workers:
                assert self._peer is not None
                self._workers[worker] = _Worker(self._peer, function, now)
                return [Begin(worker, function)]
            case wire.Stop(worker) if self._welcomed:
                return self._stop(worker)
            case wire.ListWorkers() if self._welcomed:
                return self._tell(self._peer, wire.Workers(self._listing(now)))
            case _:
                return self._stop_all() + self._close()

    def _welcome_if_ready(self) -> list[Command]:
        if not self._greeted or self._welcomed or self._workers:
            return []
        self._welcomed = True
        return self._tell(self._peer, self._welcome)

    def _tell(self, peer: Peer | None, message: wire.ToGateway) -> list[Command]:
        return [Send(peer, message)] if peer is not None and peer == self._peer else []

    def _listing(self, now: float) -> list[dict[str, object]]:
        return [
            {
                "worker": name,
                "function": worker.function,
                "place": worker.place,
                "age_s": round(now - worker.since, 3),
            }
            for name, worker in self._workers.items()
            if worker.stage is _Stage.RUNNING
        ]

    # --- workers ---

    def _stop_all(self) -> list[Command]:
        return [command for worker in list(self._workers) for command in self._stop(worker)]

    def _stop(self, name: ids.WorkerId) -> list[Command]:
        worker = self._workers.get(name)
        match worker.stage if worker else None:
            case _Stage.STARTING:
                assert worker is not None
                worker.stage = _Stage.CANCELLED
                return [Cancel(name)]
            case _Stage.RUNNING:
                assert worker is not None
                worker.stage = _Stage.ENDING
                return [Kill(name)]
            case _:
                return []

    def _started(self, name: ids.WorkerId, place: str, phases_ms: dict[str, float]) -> list[Command]:
        worker = self._workers[name]
        cancelled, worker.place = worker.stage is _Stage.CANCELLED, place
        worker.stage = _Stage.ENDING if cancelled else _Stage.RUNNING
        told = self._tell(worker.peer, wire.Started(name, place, phases_ms)) or [Discard(name)]
        return [*told, *([Kill(name)] if cancelled else [])]

    def _refused(self, name: ids.WorkerId, reason: StartRefused) -> list[Command]:
        worker = self._workers.pop(name)
        if worker.stage is _Stage.CANCELLED:
            reason = StartRefused("Stopped", "the start was cancelled")
        return self._tell(worker.peer, wire.Refused(name, reason.error, reason.message)) + (
            self._welcome_if_ready()
        )

    def _exited(self, name: ids.WorkerId, exit_: Exit) -> list[Command]:
        worker = self._workers.pop(name)
        exited = wire.Exited(name, exit_.code, exit_.signal, exit_.out_of_memory, exit_.peak_memory)
        told = self._tell(worker.peer, exited)
        return told + self._welcome_if_ready()
