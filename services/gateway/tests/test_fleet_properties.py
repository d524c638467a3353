"""Whatever happens in whatever order: the fleet keeps its promises."""

from __future__ import annotations

from itertools import count

from esb_common.ids import Digest, RequestId, WorkerId
from esb_gateway.core import events as ev
from esb_gateway.core.fleet import START_TIMEOUT_S, Fleet, Limits
from esb_gateway.core.outcome import Returned
from esb_gateway.core.worker import State
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

SIZES = {"a": 128, "b": 512, "c": 4096}
TIMEOUT_S = 3.0


class FleetMachine(RuleBasedStateMachine):
    """A node and workers that do all they may, and keep the books that the fleet must agree with."""

    limits = Limits(1024, idle_s=20, init_s=5)

    def __init__(self) -> None:
        super().__init__()
        self.workers = count(1)
        self.invocations = count(1)
        self.fleet = Fleet(self.limits, lambda: WorkerId(f"w{next(self.workers)}"))
        self.now = 0.0
        self.node = False
        self.asked: set[WorkerId] = set()
        self.running: set[WorkerId] = set()
        self.stopping: set[WorkerId] = set()
        self.polling: set[WorkerId] = set()
        self.holds: dict[WorkerId, RequestId] = {}
        self.function_of: dict[WorkerId, Digest] = {}
        self.open: dict[RequestId, float] = {}
        self.answered: set[RequestId] = set()
        self.retired: set[Digest] = set()

    # --- performing what the fleet orders ---

    def tell(self, event: ev.Event) -> None:
        for command in self.fleet.handle(event, self.now):
            match command:
                case ev.StartWorker(worker, function):
                    assert self.node
                    self.asked.add(worker)
                    self.function_of[worker] = function
                case ev.StopWorker(worker):
                    assert worker in self.asked | self.running
                    assert worker not in self.stopping
                    self.stopping.add(worker)
                case ev.Hand(worker, invocation):
                    assert worker in self.polling
                    assert worker not in self.stopping
                    assert worker not in self.holds
                    assert invocation in self.open
                    assert invocation not in self.holds.values()
                    self.polling.discard(worker)
                    self.holds[worker] = invocation
                case ev.Answer(invocation, _, _):
                    assert invocation in self.open
                    assert invocation not in self.answered
                    del self.open[invocation]
                    self.answered.add(invocation)
                    self.holds = {w: i for w, i in self.holds.items() if i != invocation}
                case ev.ClosePool(function):
                    assert function in self.retired
                    self.retired.discard(function)

    def forget(self, worker: WorkerId) -> None:
        for group in (self.asked, self.running, self.stopping, self.polling):
            group.discard(worker)

    # --- rules ---

    @rule(name=st.sampled_from(sorted(SIZES)), timeout_s=st.sampled_from([1.0, TIMEOUT_S]))
    def arrive(self, name: str, timeout_s: float) -> None:
        invocation = RequestId(f"i{next(self.invocations)}")
        self.open[invocation] = self.now
        self.retired.discard(Digest(name))
        self.tell(ev.Arrived(invocation, ev.Demand(Digest(name), SIZES[name], timeout_s)))

    @rule(name=st.sampled_from(sorted(SIZES)))
    def retire(self, name: str) -> None:
        self.retired.add(Digest(name))
        self.tell(ev.Retired(Digest(name)))

    @precondition(lambda self: not self.node)
    @rule()
    def node_comes(self) -> None:
        self.node = True
        self.tell(ev.NodeWelcomed())

    @precondition(lambda self: self.node)
    @rule()
    def node_goes(self) -> None:
        self.node = False
        for group in (self.asked, self.running, self.stopping, self.polling):
            group.clear()
        self.tell(ev.NodeWentAway())
        assert not self.holds

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.asked)))
        self.asked.discard(worker)
        self.running.add(worker)
        self.tell(ev.WorkerStarted(worker))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.asked)))
        self.forget(worker)
        self.tell(ev.WorkerRefused(worker, "NoRoom", ""))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.running)))
        self.forget(worker)
        self.tell(ev.WorkerGone(worker, None, 9))
        assert worker not in self.holds

    @precondition(lambda self: self.running - self.polling - self.holds.keys())
    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        free = self.running - self.polling - self.holds.keys()
        worker = data.draw(st.sampled_from(sorted(free)))
        self.polling.add(worker)
        self.tell(ev.Polled(worker))

    @precondition(lambda self: self.polling)
    @rule(data=st.data())
    def lose_poll(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.polling)))
        self.polling.discard(worker)
        self.tell(ev.PollLost(worker))

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.holds)))
        invocation = self.holds[worker]
        self.tell(ev.Finished(worker, invocation, Returned(b"")))
        assert invocation in self.answered

    @rule(seconds=st.sampled_from([0.01, 0.06, 1.0, 3.0, 21.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.tell(ev.TimerFired())

    @rule(data=st.data())
    def init_error(self, data: st.DataObject) -> None:
        initialising = [w for w in sorted(self.running) if self.fleet.state_of(w) is State.INITIALISING]
        if initialising:
            self.tell(ev.InitErrorPosted(data.draw(st.sampled_from(initialising)), b"{}"))

    # --- promises ---

    @invariant()
    def capacity_is_never_exceeded(self) -> None:
        charge = {
            w: min(SIZES[self.function_of[w]], self.limits.memory_mib) for w in self.asked | self.running
        }
        assert sum(charge.values()) == self.fleet.used <= self.limits.budget

    @invariant()
    def no_worker_is_leaked(self) -> None:
        assert {view.id for view in self.fleet.workers(self.now)} == self.asked | self.running

    @invariant()
    def every_open_invocation_waits_or_runs(self) -> None:
        assert self.fleet.waiting + len(self.holds) == len(self.open)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        longest = TIMEOUT_S + START_TIMEOUT_S + self.limits.init_s + TIMEOUT_S + 61.0
        for begun in self.open.values():
            assert self.now - begun <= longest * 3

    @invariant()
    def nobody_waits_beside_an_idle_worker(self) -> None:
        idle = {self.function_of[v.id] for v in self.fleet.workers(self.now) if v.state == "idle"}
        assert not idle & set(self.fleet.hungry())

    @invariant()
    def something_wakes_whoever_waits(self) -> None:
        if self.open:
            assert self.fleet.next_timer() is not None

    def teardown(self) -> None:
        """In the end all is answered and all is given back."""
        self.now += 1000
        self.tell(ev.NodeWentAway())
        self.now += 1000
        self.tell(ev.TimerFired())
        assert not self.open
        assert self.fleet.used == 0


class CountedMachine(FleetMachine):
    """The same with a count of workers as the limit."""

    limits = Limits(1024, workers=2, idle_s=20, init_s=5)

    @invariant()
    def capacity_is_never_exceeded(self) -> None:
        assert len(self.asked | self.running) == self.fleet.used <= 2


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestCounted = CountedMachine.TestCase
TestCounted.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
