"""A worker's life as the gateway sees it. States forbid by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from esb_common.ids import Digest, RequestId, WorkerId

from esb_gateway.core.events import Forbidden


class State(Enum):
    """Where a worker is between our order and the node's word that it is gone."""

    REQUESTED = "requested"
    INITIALISING = "initialising"
    IDLE = "idle"
    BUSY = "busy"
    AWAY = "away"
    """Alive, without an invocation, and not (yet) asking for one."""
    STOPPING = "stopping"


ALLOWED: dict[State, frozenset[State]] = {
    State.REQUESTED: frozenset({State.INITIALISING, State.STOPPING}),
    State.INITIALISING: frozenset({State.IDLE, State.BUSY, State.STOPPING}),
    State.IDLE: frozenset({State.BUSY, State.AWAY, State.STOPPING}),
    State.BUSY: frozenset({State.AWAY, State.STOPPING}),
    State.AWAY: frozenset({State.IDLE, State.BUSY, State.STOPPING}),
    State.STOPPING: frozenset(),
}

STARTING = (State.REQUESTED, State.INITIALISING)
NEVER = float("inf")


@dataclass(slots=True, eq=False)
class Worker:
    """One worker. ``charge`` is what it takes of the capacity; ``due`` is when its state runs out."""

    id: WorkerId
    function: Digest
    charge: int
    born: float
    state: State = State.REQUESTED
    since: float = field(init=False)
    due: float = NEVER
    watched: float = NEVER
    invocation: RequestId | None = None
    soon_until: float = 0.0

    def __post_init__(self) -> None:
        self.since = self.born

    def become(self, state: State, now: float, due: float) -> None:
        """Change state; Forbidden where nobody allowed it."""
        if state not in ALLOWED[self.state]:
            raise Forbidden(f"worker {self.id} cannot go from {self.state.value} to {state.value}")
        self.state = state
        self.since = now
        self.due = due


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as ``/_esb/status`` shows it."""

    id: WorkerId
    function: Digest
    state: str
    age_s: float
    state_age_s: float
