"""Every worker and every waiting invocation of the box: one pure state machine.

Events go in with the time, commands come out; :meth:`Fleet.next_timer` says when to come back.
Nothing here knows sockets, clocks or the node. The rules:

* One pool per function version. A worker holds one invocation at a time.
* An invocation takes the idle worker used last, so that the others can idle out. Otherwise a
  worker is started for it, and it takes whichever of its pool is free first.
* When the capacity is taken, the longest-idle workers of other pools make room if that is enough.
  The rest waits in arrival order for at most its function's timeout, then is throttled; those for
  whom a worker is starting at that moment wait for its init, which has its own limit.
* A function that has no worker at all gets the next room before any other grows. After a second of waiting
  it gets that room made: workers of others that have answered end, one after the other, until it suffices.
* Whatever ends a worker before its first poll fails exactly one waiting invocation, so a broken
  function never loops and never waits for ever.
* A worker that has answered gets :data:`RETURN_S` to ask again before another is started in its
  stead, since it usually takes a tenth of a millisecond.

Cost: a warm invocation touches one pool and one heap entry, whatever the number of workers,
pools and waiting invocations. Making room looks at all idle workers.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import assert_never

from esb_common.ids import Digest, RequestId, WorkerId

from esb_gateway.core import events as ev
from esb_gateway.core.outcome import (
    InitFailed,
    NodeLost,
    NotStarted,
    Outcome,
    Throttled,
    TimedOut,
    WorkerExited,
)
from esb_gateway.core.worker import NEVER, STARTING, State, Worker, WorkerView

START_TIMEOUT_S = 60.0
"""The node's time to say Started or Refused; unpacking a large package is part of it."""

RETURN_S = 0.05
"""How long a worker that has answered counts as about to be free."""

FAIR_S = 1.0
"""How long a function without a worker waits before others' workers end for it; half its timeout at most."""

AWAY_LEAST_S = 1.0
"""What a worker has at least, after its answer, to ask for more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run at once, and for how long it may idle or start.

    ``workers`` counts heads; where it is None, ``memory_mib`` is shared by the functions' sizes
    (a function larger than all of it takes all of it).
    """

    memory_mib: int
    workers: int | None = None
    idle_s: float = 300.0
    init_s: float = 10.0

    @property
    def budget(self) -> int:
        """The whole capacity, in workers or in MiB."""
        return self.memory_mib if self.workers is None else self.workers

    def charge(self, demand: ev.Demand) -> int:
        """What one worker takes of :attr:`budget`."""
        return min(demand.memory_mib, self.memory_mib) if self.workers is None else 1


@dataclass(slots=True, eq=False)
class _Waiting:
    invocation: RequestId
    timeout_s: float
    arrived: float
    deadline: float


@dataclass(slots=True, eq=False)
class _Pool:
    function: Digest
    charge: int
    workers: set[Worker] = field(default_factory=set)
    idle: list[Worker] = field(default_factory=list)
    waiting: deque[_Waiting] = field(default_factory=deque)
    returning: set[Worker] = field(default_factory=set)
    starting: int = 0
    retired: bool = False
    handed: float = -NEVER
    watched: float = NEVER

    @property
    def unserved(self) -> bool:
        """Whether invocations wait and no worker is there or coming."""
        return bool(self.waiting) and all(worker.state is State.STOPPING for worker in self.workers)

    @property
    def unserved_since(self) -> float:
        """When the oldest waiting invocation arrived, or another was last handed over, if that was later."""
        return max(self.waiting[0].arrived, self.handed)

    def supply(self, now: float) -> int:
        """Workers that will take a waiting invocation without anything being started."""
        return self.starting + sum(worker.soon_until > now for worker in self.returning)


class Fleet:
    """All pools. ``new_id`` gives worker ids that were never used."""

    def __init__(self, limits: Limits, new_id: Callable[[], WorkerId]) -> None:
        self.limits = limits
        self._new_id = new_id
        self._pools: dict[Digest, _Pool] = {}
        self._workers: dict[WorkerId, Worker] = {}
        self._hungry: dict[Digest, _Pool] = {}
        self._used = 0
        self._leaving = 0
        self._node = False
        self._timers: list[tuple[float, int, Worker | _Pool]] = []
        self._order = count()
        self._out: list[ev.Command] = []

    # --- the two calls -------------------------------------------------------------------

    def handle(self, event: ev.Event, now: float) -> list[ev.Command]:
        """What to do about ``event``. Forbidden, with nothing changed, where it cannot be."""
        out: list[ev.Command] = []
        self._out = out
        match event:
            case ev.Arrived(invocation, demand):
                self._arrived(invocation, demand, now)
            case ev.Finished():
                self._finished(event, now)
            case ev.Polled(worker):
                self._polled(self._known(worker), now)
            case ev.TimerFired():
                self._timer_fired(now)
            case ev.PollLost(worker):
                self._poll_lost(worker, now)
            case ev.InitErrorPosted(worker, body):
                self._init_error_posted(self._known(worker), body, now)
            case ev.WorkerStarted(worker):
                self._started(self._known(worker), now)
            case ev.WorkerRefused(worker, error, message):
                self._refused(self._known(worker), NotStarted(error, message), now)
            case ev.WorkerGone():
                self._gone(event, now)
            case ev.NodeWelcomed():
                self._node = True
                self._balance(now)
            case ev.NodeWentAway():
                self._node_went_away(now)
            case ev.Retired(function):
                self._retired(function, now)
            case _:
                assert_never(event)
        return out

    def next_timer(self) -> float | None:
        """When :class:`~events.TimerFired` is due at the latest; None while nothing can run out."""
        return self._timers[0][0] if self._timers else None

    # --- looking in ----------------------------------------------------------------------

    def workers(self, now: float) -> Iterator[WorkerView]:
        """Every worker that is not known to be gone."""
        for w in self._workers.values():
            yield WorkerView(w.id, w.function, w.state.value, now - w.born, now - w.since)

    def state_of(self, worker: WorkerId) -> State | None:
        """A worker's state; None where it is gone or never was."""
        known = self._workers.get(worker)
        return known.state if known else None

    @property
    def used(self) -> int:
        """Capacity in use, in the unit of ``limits.budget``."""
        return self._used

    @property
    def waiting(self) -> int:
        """Invocations without a worker."""
        return sum(len(pool.waiting) for pool in self._hungry.values())

    def hungry(self) -> list[Digest]:
        """The function versions that invocations wait for."""
        return list(self._hungry)

    def uses(self, function: Digest) -> bool:
        """Whether a worker or an invocation of this function version is left."""
        return function in self._pools

    # --- invocations ---------------------------------------------------------------------

    def _arrived(self, invocation: RequestId, demand: ev.Demand, now: float) -> None:
        pool = self._pools.get(demand.function)
        if pool is None:
            pool = self._pools[demand.function] = _Pool(demand.function, self.limits.charge(demand))
        pool.retired = False
        waiting = _Waiting(invocation, demand.timeout_s, now, now + demand.timeout_s)
        if pool.idle:
            self._hand(pool.idle.pop(), waiting, now)
            return
        pool.waiting.append(waiting)
        self._hungry[pool.function] = pool
        self._wake(pool, waiting.deadline)
        self._balance(now)

    def _hand(self, worker: Worker, waiting: _Waiting, now: float) -> None:
        worker.become(State.BUSY, now, now + waiting.timeout_s)
        worker.invocation = waiting.invocation
        self._pools[worker.function].handed = now
        self._watch(worker)
        self._out.append(ev.Hand(worker.id, waiting.invocation))

    def _finished(self, event: ev.Finished, now: float) -> None:
        worker = self._known(event.worker)
        if worker.state is State.STOPPING:
            return
        if worker.state is not State.BUSY or worker.invocation != event.invocation:
            raise ev.WrongInvocation(f"worker {worker.id} does not hold {event.invocation}")
        worker.become(State.AWAY, now, max(worker.due, now + AWAY_LEAST_S))
        worker.invocation = None
        worker.soon_until = now + RETURN_S
        self._pools[worker.function].returning.add(worker)
        self._out.append(ev.Answer(event.invocation, event.outcome, worker.id))

    def _next_waiting(self, pool: _Pool) -> _Waiting | None:
        if not pool.waiting:
            return None
        first = pool.waiting.popleft()
        if not pool.waiting:
            del self._hungry[pool.function]
        return first

    def _fail_one(self, pool: _Pool, outcome: Outcome, worker: Worker) -> None:
        first = self._next_waiting(pool)
        if first is not None:
            self._out.append(ev.Answer(first.invocation, outcome, worker.id))

    def _expire(self, pool: _Pool, now: float) -> None:
        """Throttle who has waited too long, except those for whom a worker is starting."""
        served = list(islice(pool.waiting, pool.starting))
        kept = deque(served)
        outcome = Throttled() if self._node else NodeLost(ran=False)
        for waiting in islice(pool.waiting, pool.starting, None):
            if waiting.deadline <= now:
                self._out.append(ev.Answer(waiting.invocation, outcome))
            else:
                kept.append(waiting)
        pool.waiting = kept
        if not kept:
            self._hungry.pop(pool.function, None)

    # --- what workers say ----------------------------------------------------------------

    def _polled(self, worker: Worker, now: float) -> None:
        if worker.state is State.STOPPING:
            return
        if worker.state not in (State.INITIALISING, State.AWAY):
            raise ev.Forbidden(f"worker {worker.id} asks for more while it is {worker.state.value}")
        pool = self._pools[worker.function]
        if pool.retired and not pool.waiting:
            self._stop(worker, now)
            return
        if worker.state is State.INITIALISING:
            pool.starting -= 1
        else:
            pool.returning.discard(worker)
            if self._hungry and self._is_owed(worker, now):
                self._stop(worker, now)
                return
        waiting = self._next_waiting(pool)
        if waiting is not None:
            self._hand(worker, waiting, now)
        else:
            worker.become(State.IDLE, now, now + self.limits.idle_s)
            pool.idle.append(worker)
            self._watch(worker)
        if self._hungry:
            self._balance(now)

    def _poll_lost(self, worker_id: WorkerId, now: float) -> None:
        worker = self._workers.get(worker_id)
        if worker is None or worker.state is not State.IDLE:
            return
        self._pools[worker.function].idle.remove(worker)
        worker.become(State.AWAY, now, now + self.limits.init_s)
        self._watch(worker)

    def _init_error_posted(self, worker: Worker, body: bytes, now: float) -> None:
        if worker.state is State.STOPPING:
            return
        if worker.state is not State.INITIALISING:
            raise ev.Forbidden(f"worker {worker.id} reports an init error while it is {worker.state.value}")
        self._fail_start(worker, InitFailed(body), now)

    def _fail_start(self, worker: Worker, outcome: Outcome, now: float) -> None:
        pool = self._pools[worker.function]
        self._stop(worker, now)
        self._fail_one(pool, outcome, worker)
        self._expire(pool, now)
        self._balance(now)

    # --- what the node says --------------------------------------------------------------

    def _started(self, worker: Worker, now: float) -> None:
        if worker.state is State.STOPPING:
            return
        worker.become(State.INITIALISING, now, now + self.limits.init_s)
        self._watch(worker)

    def _refused(self, worker: Worker, outcome: NotStarted, now: float) -> None:
        if worker.state not in (State.REQUESTED, State.STOPPING):
            raise ev.Forbidden(f"worker {worker.id} was refused while it is {worker.state.value}")
        pool = self._pools[worker.function]
        failed = worker.state is State.REQUESTED
        self._remove(worker)
        if failed:
            self._fail_one(pool, outcome, worker)
        self._settle(pool, now)

    def _gone(self, event: ev.WorkerGone, now: float) -> None:
        worker = self._known(event.worker)
        if worker.state is State.REQUESTED:
            raise ev.Forbidden(f"worker {worker.id} exited before it was started")
        pool = self._pools[worker.function]
        outcome = WorkerExited(event.code, event.signal, event.out_of_memory)
        state = worker.state
        self._remove(worker)
        if state is State.INITIALISING:
            self._fail_one(pool, outcome, worker)
        elif state is State.BUSY and worker.invocation is not None:
            self._out.append(ev.Answer(worker.invocation, outcome, worker.id))
        self._settle(pool, now)

    def _node_went_away(self, now: float) -> None:
        self._node = False
        for worker in list(self._workers.values()):
            self._remove(worker)
            if worker.state is State.BUSY and worker.invocation is not None:
                self._out.append(ev.Answer(worker.invocation, NodeLost(ran=True), worker.id))
        for pool in list(self._pools.values()):
            self._settle(pool, now)

    def _settle(self, pool: _Pool, now: float) -> None:
        self._expire(pool, now)
        self._balance(now)
        self._close_if_empty(pool)

    # --- starting and stopping -----------------------------------------------------------

    def _balance(self, now: float) -> None:
        """Start workers for waiting invocations, oldest first, as far as there is room."""
        while self._node and (pool := self._hungriest(now)) is not None:
            if self._used + pool.charge > self.limits.budget:
                self._make_room(pool, now)
                return
            worker = Worker(self._new_id(), pool.function, pool.charge, now, due=now + START_TIMEOUT_S)
            self._workers[worker.id] = worker
            pool.workers.add(worker)
            pool.starting += 1
            self._used += worker.charge
            self._watch(worker)
            self._out.append(ev.StartWorker(worker.id, pool.function))

    def _hungriest(self, now: float) -> _Pool | None:
        """The pool whose oldest invocation without a prospect has waited longest; unserved pools first."""
        best: tuple[bool, float, float] | None = None
        hungriest = None
        for pool in self._hungry.values():
            supply = pool.supply(now)
            if supply > pool.starting:
                soon = min(w.soon_until for w in pool.returning if w.soon_until > now)
                self._wake(pool, soon)
            if len(pool.waiting) > supply:
                unserved = pool.unserved
                since = pool.unserved_since if unserved else pool.waiting[supply].arrived
                rank = (not unserved, since, pool.handed)
                if best is None or rank < best:
                    best, hungriest = rank, pool
        return hungriest

    def _make_room(self, pool: _Pool, now: float) -> None:
        """Stop just as many idle workers of others as help; room that is coming counts."""
        room = self.limits.budget - self._used + self._leaving
        wanted = len(pool.waiting) - pool.supply(now)
        others = [w for p in self._pools.values() if p is not pool for w in p.idle]
        others.sort(key=lambda worker: worker.since)
        helpful = 0
        for number, worker in enumerate(others, 1):
            fits = room // pool.charge
            if fits >= wanted:
                break
            room += worker.charge
            if room // pool.charge > fits:
                helpful = number
        for worker in others[:helpful]:
            self._stop(worker, now)

    def _is_owed(self, worker: Worker, now: float) -> bool:
        """Whether a function without any worker has waited long enough for the room that this one takes."""
        room = self.limits.budget - self._used + self._leaving
        return any(
            pool.unserved
            and room < pool.charge
            and pool.unserved_since + min(FAIR_S, pool.waiting[0].timeout_s / 2) <= now
            for pool in self._hungry.values()
            if pool.function != worker.function
        )

    def _stop(self, worker: Worker, now: float) -> None:
        pool = self._pools[worker.function]
        self._unlist(worker, pool)
        worker.become(State.STOPPING, now, NEVER)
        worker.invocation = None
        self._leaving += worker.charge
        self._out.append(ev.StopWorker(worker.id))

    def _remove(self, worker: Worker) -> None:
        pool = self._pools[worker.function]
        self._unlist(worker, pool)
        if worker.state is State.STOPPING:
            self._leaving -= worker.charge
        pool.workers.remove(worker)
        del self._workers[worker.id]
        self._used -= worker.charge
        worker.due = NEVER

    def _unlist(self, worker: Worker, pool: _Pool) -> None:
        """Take a worker out of the lists that its state put it into."""
        if worker.state is State.IDLE:
            pool.idle.remove(worker)
        elif worker.state in STARTING:
            pool.starting -= 1
        pool.returning.discard(worker)

    def _retired(self, function: Digest, now: float) -> None:
        pool = self._pools.get(function)
        if pool is None:
            self._out.append(ev.ClosePool(function))
            return
        pool.retired = True
        surplus = [w for w in pool.workers if w.state in STARTING]
        surplus.sort(key=lambda worker: worker.since)
        for worker in pool.idle[:] + surplus[len(pool.waiting) :]:
            self._stop(worker, now)
        self._close_if_empty(pool)

    def _close_if_empty(self, pool: _Pool) -> None:
        if pool.workers or pool.waiting or self._pools.get(pool.function) is not pool:
            return
        del self._pools[pool.function]
        if pool.retired:
            self._out.append(ev.ClosePool(pool.function))

    # --- time ----------------------------------------------------------------------------

    def _watch(self, worker: Worker) -> None:
        """See to it that ``worker.due`` is noticed; an earlier look at it is put off then."""
        if worker.due < worker.watched:
            worker.watched = worker.due
            heapq.heappush(self._timers, (worker.due, next(self._order), worker))

    def _wake(self, pool: _Pool, when: float) -> None:
        """Look at ``pool`` then, or earlier."""
        if when < pool.watched:
            pool.watched = when
            heapq.heappush(self._timers, (when, next(self._order), pool))

    def _timer_fired(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            when, _, subject = heapq.heappop(self._timers)
            if when != subject.watched:
                continue
            subject.watched = NEVER
            if isinstance(subject, _Pool):
                self._look_at(subject, now)
            elif subject.due <= now:
                self._ran_out(subject, now)
            elif subject.due < NEVER:
                self._watch(subject)

    def _look_at(self, pool: _Pool, now: float) -> None:
        if pool.waiting:
            self._settle(pool, now)
        later = next((w.deadline for w in pool.waiting if w.deadline > now), None)
        if later is not None:
            self._wake(pool, later)

    def _ran_out(self, worker: Worker, now: float) -> None:
        """The state of ``worker`` has lasted too long."""
        match worker.state:
            case State.REQUESTED:
                slow = NotStarted("StartTimedOut", f"the node said nothing for {START_TIMEOUT_S:.0f} s")
                self._fail_start(worker, slow, now)
            case State.INITIALISING:
                self._fail_start(worker, TimedOut(self.limits.init_s), now)
            case State.BUSY:
                assert worker.invocation is not None
                outcome = TimedOut(round(worker.due - worker.since, 6))
                self._out.append(ev.Answer(worker.invocation, outcome, worker.id))
                self._stop(worker, now)
                self._balance(now)
            case State.IDLE | State.AWAY:
                self._stop(worker, now)
            case State.STOPPING:
                raise AssertionError("a stopping worker has no time of its own")
            case _:
                assert_never(worker.state)

    def _known(self, worker: WorkerId) -> Worker:
        known = self._workers.get(worker)
        if known is None:
            raise ev.Forbidden(f"no worker {worker}")
        return known
