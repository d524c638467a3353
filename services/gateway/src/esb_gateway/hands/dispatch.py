"""The one place that performs the fleet's commands and tells it what happened.

Everything runs in callbacks of one loop: a warm invocation is an arrival (one write into the
worker's waiting poll) and a result (one write to the client, one to the worker), with no task
and no queue between. A call lives from :meth:`Dispatch.invoke` to its one answer; a worker's socket,
output and memory file live from ``Started`` to ``Exited`` or the node's end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, assert_never

from esb_common import wire
from esb_common.clock import Clock
from esb_common.ids import Digest, FunctionName, RequestId, WorkerId
from esb_common.log import Log

from esb_gateway.core import events as ev
from esb_gateway.core import loglines
from esb_gateway.core.fleet import Fleet
from esb_gateway.core.function import LATEST
from esb_gateway.core.metrics import Metrics
from esb_gateway.core.outcome import NodeLost, Outcome, RanOutcome, Returned, Throttled
from esb_gateway.core.ports import Call, Descriptors, Handed, NodeLink, Spawn, WorkerDoor, WorkerVoice
from esb_gateway.core.worker import WorkerView
from esb_gateway.hands.output import LogBook, WorkerOutput, stamp

OpenDoor = Callable[[WorkerId, WorkerVoice], WorkerDoor]


@dataclass(slots=True, eq=False)
class _Worker:
    """What we hold of a started worker."""

    id: WorkerId
    function: FunctionName
    place: str
    phases_ms: dict[str, float]
    door: WorkerDoor
    started: float
    peak_memory: int | None
    last_peak: int | None = None
    output: WorkerOutput = field(init=False)
    init_ms: float | None = None
    reported_init: bool = False
    call: Call | None = None
    handed: float = 0.0


class Dispatch:
    """Joins the fleet, the node, the workers' doors and the logs."""

    def __init__(
        self,
        fleet: Fleet,
        node: NodeLink,
        logs: LogBook,
        clock: Clock,
        log: Log,
        spawn: Spawn,
        open_door: OpenDoor,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._fleet = fleet
        self._node = node
        self._logs = logs
        self._clock = clock
        self._log = log
        self._spawn = spawn
        self._open_door = open_door
        self._loop = asyncio.get_running_loop()
        self._calls: dict[RequestId, Call] = {}
        self._workers: dict[WorkerId, _Worker] = {}
        self._functions: dict[WorkerId, Digest] = {}
        self._names: dict[Digest, FunctionName] = {}
        self._ordered: dict[WorkerId, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.pool_closed: Callable[[Digest], None] = lambda _: None

    # --- for the API ---------------------------------------------------------------------

    def invoke(self, call: Call) -> None:
        """Run ``call`` to its answer, whatever becomes of the client."""
        call.arrived = self._clock.monotonic()
        self._calls[call.request] = call
        self._quiet.clear()
        self._names[call.deployed.blob] = call.deployed.function.name
        self._handle(ev.Arrived(call.request, call.deployed.demand))

    def retire(self, blob: Digest) -> None:
        """No new call will name this function version."""
        self._handle(ev.Retired(blob))

    async def quiet(self) -> None:
        """Wait until every call is answered."""
        await self._quiet.wait()

    @property
    def calls(self) -> int:
        """Calls without an answer."""
        return len(self._calls)

    def workers(self) -> list[dict[str, Any]]:
        """Every worker, for people."""
        return [self._shown(view) for view in self._fleet.workers(self._clock.monotonic())]

    def _shown(self, view: WorkerView) -> dict[str, Any]:
        held = self._workers.get(view.id)
        shown: dict[str, Any] = {
            "id": view.id,
            "function": self._names.get(view.function),
            "version": view.function,
            "state": view.state,
            "age_s": round(view.age_s, 3),
            "state_age_s": round(view.state_age_s, 3),
            "place": held.place if held else None,
            "phases_ms": held.phases_ms if held else None,
            "init_ms": held.init_ms if held else None,
            "peak_memory_bytes": _peak(held) if held else None,
        }
        return shown

    # --- what workers say (WorkerVoice) --------------------------------------------------

    def polled(self, worker: WorkerId) -> None:
        held = self._workers.get(worker)
        if held is not None and held.init_ms is None:
            took = self._clock.monotonic() - held.started
            held.init_ms = took * 1000
            self._metrics.took("init", took)
        self._handle(ev.Polled(worker))

    def poll_lost(self, worker: WorkerId) -> None:
        self._handle(ev.PollLost(worker))

    def finished(self, worker: WorkerId, request: RequestId, outcome: RanOutcome) -> None:
        self._handle(ev.Finished(worker, request, outcome))

    def init_failed(self, worker: WorkerId, body: bytes) -> None:
        self._handle(ev.InitErrorPosted(worker, body))

    # --- what the node says (NodeEvents) -------------------------------------------------

    def welcomed(self, _: wire.Welcome) -> None:
        self._from_node(ev.NodeWelcomed())

    def started(self, message: wire.Started, descriptors: Descriptors) -> None:
        blob = self._functions.get(message.worker)
        if blob is None:
            _give_back(descriptors)
            raise wire.WireError(f"Started for {message.worker}, which was not asked for")
        held = _Worker(
            message.worker,
            self._names[blob],
            message.place,
            message.phases_ms,
            self._open_door(message.worker, self),
            self._clock.monotonic(),
            descriptors.peak_memory,
        )
        self._metrics.took("start", held.started - self._ordered.pop(message.worker, held.started))
        held.output = WorkerOutput(descriptors.output, lambda lines: self._printed(held, lines))
        self._workers[message.worker] = held
        self._from_node(ev.WorkerStarted(message.worker))
        self._spawn(self._serve(held, descriptors))

    async def _serve(self, held: _Worker, descriptors: Descriptors) -> None:
        try:
            await held.door.open(descriptors.listener)
        except OSError as error:
            self._log.error("a worker's socket cannot be served", worker=held.id, why=str(error))
            descriptors.listener.close()
            self._node.send(wire.Stop(held.id))

    def refused(self, message: wire.Refused) -> None:
        self._log.warning(
            "a worker was refused", worker=message.worker, error=message.error, why=message.message
        )
        self._from_node(ev.WorkerRefused(message.worker, message.error, message.message))
        self._functions.pop(message.worker, None)
        self._ordered.pop(message.worker, None)

    def exited(self, message: wire.Exited) -> None:
        held = self._workers.get(message.worker)
        if held is not None:
            held.last_peak = message.peak_memory
        self._from_node(ev.WorkerGone(message.worker, message.code, message.signal, message.out_of_memory))
        self._functions.pop(message.worker, None)
        self._let_go(message.worker)

    def node_lost(self) -> None:
        self._handle(ev.NodeWentAway())
        self._functions.clear()
        self._ordered.clear()
        for worker in list(self._workers):
            self._let_go(worker)

    def _from_node(self, event: ev.Event) -> None:
        try:
            self._handle(event)
        except ev.Forbidden as error:
            raise wire.WireError(str(error)) from None

    def _let_go(self, worker: WorkerId) -> None:
        held = self._workers.pop(worker, None)
        if held is None:
            return
        held.output.close()
        held.door.close()
        if held.peak_memory is not None:
            os.close(held.peak_memory)

    # --- performing ----------------------------------------------------------------------

    def _handle(self, event: ev.Event) -> None:
        for command in self._fleet.handle(event, self._clock.monotonic()):
            match command:
                case ev.Hand(worker, invocation):
                    self._hand(self._workers[worker], self._calls[invocation])
                case ev.Answer(invocation, outcome, worker):
                    self._answer(self._calls.pop(invocation), outcome, worker)
                case ev.StartWorker(worker, function):
                    self._functions[worker] = function
                    self._ordered[worker] = self._clock.monotonic()
                    self._node.send(wire.Start(worker, function))
                case ev.StopWorker(worker):
                    self._node.send(wire.Stop(worker))
                case ev.ClosePool(function):
                    self._names.pop(function, None)
                    self.pool_closed(function)
                case _:
                    assert_never(command)
        self._arm()

    def _hand(self, held: _Worker, call: Call) -> None:
        function = call.deployed.function
        if not held.reported_init:
            held.output.drain()  # what the init printed belongs before START
        held.output.begin()
        held.call = call
        held.handed = self._clock.monotonic()
        self._metrics.took("queue", held.handed - call.arrived)
        deadline_ms = int((self._clock.wall() + function.timeout_s) * 1000)
        held.door.hand(
            Handed(call.request, call.payload, deadline_ms, function.arn, call.trace, call.client_context)
        )
        self._say(call, [loglines.start(call.request, LATEST)])

    def _answer(self, call: Call, outcome: Outcome, worker: WorkerId | None) -> None:
        held = self._workers.get(worker) if worker is not None else None
        self._metrics.answered(call.deployed.function.name, type(outcome).__name__)
        if call.tail is None:
            call.answered(outcome, b"")
        self._log_end(call, outcome, held)
        if call.tail is not None:
            call.answered(outcome, call.tail.content)
        if not self._calls:
            self._quiet.set()

    def _arm(self) -> None:
        due = self._fleet.next_timer()
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._handle(ev.TimerFired())

    # --- logs ----------------------------------------------------------------------------

    def _printed(self, held: _Worker, lines: list[bytes]) -> None:
        self._logs.write(held.function, lines)
        if held.call is not None and held.call.tail is not None:
            held.call.tail.add(lines)

    def _say(self, call: Call, lines: list[str]) -> None:
        encoded = [line.encode() for line in lines]
        self._logs.write(call.deployed.function.name, encoded)
        if call.tail is not None:
            call.tail.add(encoded)

    def _log_end(self, call: Call, outcome: Outcome, held: _Worker | None) -> None:
        """The lines that AWS prints after an invocation's own output."""
        if held is None:
            if not isinstance(outcome, Throttled | NodeLost):
                self._say(call, self._trouble(call, outcome))
            return
        ran = held.call is call
        held.output.drain()
        held.call = None
        now = self._clock.monotonic()
        if ran:
            self._metrics.took("run", now - held.handed)
        init_ms = held.init_ms if not held.reported_init else None
        held.reported_init = True
        report = loglines.report(
            call.request,
            outcome,
            duration_ms=(now - (held.handed if ran else held.started)) * 1000,
            memory_mib=call.deployed.function.memory_mib,
            peak_bytes=_peak(held),
            init_ms=init_ms,
        )
        begin = [] if ran else [loglines.start(call.request, LATEST)]
        trouble = self._trouble(call, outcome)
        self._say(call, [*begin, *trouble, loglines.end(call.request), report])

    def _trouble(self, call: Call, outcome: Outcome) -> list[str]:
        if isinstance(outcome, Returned):
            return []
        return loglines.trouble(call.request, outcome, stamp(self._clock.wall()))


def _peak(held: _Worker) -> int | None:
    """Bytes that a worker used at most: told with its end, read from its file before."""
    if held.last_peak is not None or held.peak_memory is None:
        return held.last_peak
    try:
        return int(os.pread(held.peak_memory, 32, 0))
    except (OSError, ValueError):
        return None


def _give_back(descriptors: Descriptors) -> None:
    descriptors.listener.close()
    os.close(descriptors.output)
    if descriptors.peak_memory is not None:
        os.close(descriptors.peak_memory)
