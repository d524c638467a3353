"""Playbooks: events in, commands out."""

from __future__ import annotations

from itertools import count

import pytest
from esb_common.ids import Digest, RequestId, WorkerId
from esb_gateway.core import events as ev
from esb_gateway.core.fleet import AWAY_LEAST_S, FAIR_S, RETURN_S, START_TIMEOUT_S, Fleet, Limits
from esb_gateway.core.outcome import (
    FunctionFailed,
    InitFailed,
    NodeLost,
    NotStarted,
    Returned,
    Throttled,
    TimedOut,
    WorkerExited,
)

DONE = Returned(b"1")


def demand(name: str = "a", memory_mib: int = 128, timeout_s: float = 3.0) -> ev.Demand:
    return ev.Demand(Digest(name), memory_mib, timeout_s)


class Play:
    """A fleet whose workers are called w1, w2, … and whose time stands still unless told."""

    def __init__(self, limits: Limits | None = None, *, node: bool = True) -> None:
        ids = count(1)
        self.fleet = Fleet(limits or Limits(4096), lambda: WorkerId(f"w{next(ids)}"))
        self.now = 100.0
        if node:
            self.do(ev.NodeWelcomed())

    def do(self, event: ev.Event, after: float = 0.0) -> list[ev.Command]:
        self.now += after
        return self.fleet.handle(event, self.now)

    def arrive(self, name: str, wants: ev.Demand | None = None, after: float = 0.0) -> list[ev.Command]:
        return self.do(ev.Arrived(RequestId(name), wants or demand()), after)

    def started(self, worker: str) -> list[ev.Command]:
        return self.do(ev.WorkerStarted(WorkerId(worker)))

    def polled(self, worker: str, after: float = 0.0) -> list[ev.Command]:
        return self.do(ev.Polled(WorkerId(worker)), after)

    def finished(self, worker: str, name: str, after: float = 0.0) -> list[ev.Command]:
        return self.do(ev.Finished(WorkerId(worker), RequestId(name), DONE), after)

    def gone(self, worker: str, code: int | None = 1) -> list[ev.Command]:
        return self.do(ev.WorkerGone(WorkerId(worker), code, None))

    def timer(self, after: float) -> list[ev.Command]:
        return self.do(ev.TimerFired(), after)

    def idle(self, worker: str, name: str, wants: ev.Demand | None = None) -> None:
        """Bring a new worker through one invocation into its poll."""
        assert self.arrive(name, wants) == [start(worker, (wants or demand()).function)]
        self.started(worker)
        assert self.polled(worker) == [hand(worker, name)]
        assert self.finished(worker, name) == [answer(name, DONE, worker)]
        assert self.polled(worker) == []


def start(worker: str, function: str = "a") -> ev.StartWorker:
    return ev.StartWorker(WorkerId(worker), Digest(function))


def stop(worker: str) -> ev.StopWorker:
    return ev.StopWorker(WorkerId(worker))


def hand(worker: str, name: str) -> ev.Hand:
    return ev.Hand(WorkerId(worker), RequestId(name))


def answer(name: str, outcome: object, worker: str | None = None) -> ev.Answer:
    return ev.Answer(RequestId(name), outcome, WorkerId(worker) if worker else None)  # type: ignore[arg-type]


def test_first_invocation_starts_a_worker_and_is_handed_to_it() -> None:
    play = Play()
    assert play.arrive("i1") == [start("w1")]
    assert play.started("w1") == []
    assert play.polled("w1") == [hand("w1", "i1")]
    assert play.finished("w1", "i1") == [answer("i1", DONE, "w1")]
    assert play.polled("w1") == []


def test_warm_invocation_takes_the_worker_used_last() -> None:
    play = Play()
    play.idle("w1", "i1")
    play.arrive("i2")
    play.arrive("i3")
    play.started("w2")
    assert play.polled("w2") == [hand("w2", "i3")]
    play.finished("w1", "i2")
    play.polled("w1")
    play.finished("w2", "i3")
    play.polled("w2")
    assert play.arrive("i4") == [hand("w2", "i4")]
    assert play.arrive("i5") == [hand("w1", "i5")]


def test_an_invocation_takes_whichever_worker_is_free_first() -> None:
    play = Play()
    play.idle("w1", "i1")
    assert play.arrive("i2") == [hand("w1", "i2")]
    assert play.arrive("i3") == [start("w2")]
    assert play.finished("w1", "i2") == [answer("i2", DONE, "w1")]
    assert play.polled("w1") == [hand("w1", "i3")]
    play.started("w2")
    assert play.polled("w2") == []


def test_a_worker_about_to_ask_again_is_waited_for_shortly() -> None:
    play = Play()
    play.idle("w1", "i1")
    play.arrive("i2")
    play.finished("w1", "i2")
    assert play.arrive("i3") == []
    due = play.fleet.next_timer()
    assert due is not None
    assert due <= play.now + RETURN_S
    assert play.timer(RETURN_S) == [start("w2")]


def test_full_capacity_waits_in_order_until_a_worker_is_free() -> None:
    play = Play(Limits(4096, workers=1))
    assert play.arrive("i1") == [start("w1")]
    assert play.arrive("i2") == []
    assert play.arrive("i3") == []
    play.started("w1")
    assert play.polled("w1") == [hand("w1", "i1")]
    play.finished("w1", "i1")
    assert play.polled("w1") == [hand("w1", "i2")]
    play.finished("w1", "i2")
    assert play.polled("w1") == [hand("w1", "i3")]


def test_waiting_past_its_deadline_is_throttled() -> None:
    play = Play(Limits(4096, workers=1))
    play.idle("w1", "i0", demand(timeout_s=60))
    play.arrive("i1", demand(timeout_s=60))
    play.arrive("i2")
    assert play.timer(2.9) == []
    assert play.timer(0.1) == [answer("i2", Throttled())]


def test_capacity_by_memory_counts_each_functions_size() -> None:
    play = Play(Limits(1024))
    assert play.arrive("i1", demand("a", 512)) == [start("w1", "a")]
    assert play.arrive("i2", demand("b", 512)) == [start("w2", "b")]
    assert play.arrive("i3", demand("c", 128)) == []
    assert play.fleet.used == 1024


def test_a_function_larger_than_the_budget_takes_all_of_it() -> None:
    play = Play(Limits(1024))
    assert play.arrive("i1", demand("a", 10240)) == [start("w1", "a")]
    assert play.fleet.used == 1024
    assert play.arrive("i2", demand("b", 128)) == []


def test_the_longest_idle_worker_of_another_pool_makes_room() -> None:
    play = Play(Limits(4096, workers=2))
    play.idle("w1", "i1", demand("a"))
    play.now += 1
    play.idle("w2", "i2", demand("b"))
    assert play.arrive("i3", demand("c")) == [stop("w1")]
    assert play.gone("w1", None) == [start("w3", "c")]


def test_no_worker_is_stopped_when_that_would_not_make_enough_room() -> None:
    play = Play(Limits(1024))
    play.idle("w1", "i1", demand("a", 128))
    play.arrive("i2", demand("b", 896))
    assert play.arrive("i3", demand("c", 512)) == []


def test_room_that_is_coming_is_not_made_twice() -> None:
    play = Play(Limits(4096, workers=2))
    play.idle("w1", "i1", demand("a"))
    play.idle("w2", "i2", demand("b"))
    assert play.arrive("i3", demand("c")) == [stop("w1")]
    assert play.arrive("i4", demand("c")) == [stop("w2")]
    assert play.arrive("i5", demand("c")) == []
    assert play.gone("w1", None) == [start("w3", "c")]
    assert play.gone("w2", None) == [start("w4", "c")]


def saturated(play: Play, workers: int, name: str = "a") -> None:
    """Keep ``workers`` of a function busy, with as many calls waiting behind."""
    for number in range(1, workers + 1):
        play.arrive(f"{name}{number}", demand(name, timeout_s=60))
        play.started(f"w{number}")
        play.polled(f"w{number}")
    for number in range(1, workers + 1):
        assert play.arrive(f"{name}-next{number}", demand(name, timeout_s=60)) == []


def test_a_function_without_a_worker_gets_its_turn_from_a_saturated_one() -> None:
    play = Play(Limits(4096, workers=2))
    saturated(play, 2)
    assert play.arrive("b1", demand("b", timeout_s=60)) == []
    play.finished("w1", "a1", after=FAIR_S / 2)
    assert play.polled("w1") == [hand("w1", "a-next1")]
    play.finished("w2", "a2", after=FAIR_S / 2)
    assert play.polled("w2") == [stop("w2")]
    play.finished("w1", "a-next1")
    assert play.polled("w1") == [hand("w1", "a-next2")]
    assert play.gone("w2", None) == [start("w3", "b")]


def test_a_function_that_has_a_worker_does_not_take_one_from_others() -> None:
    play = Play(Limits(4096, workers=2))
    play.idle("w1", "b0", demand("b", timeout_s=60))
    play.arrive("b1", demand("b", timeout_s=60))
    play.arrive("a1", demand("a", timeout_s=60))
    play.started("w2")
    play.polled("w2")
    play.arrive("a2", demand("a", timeout_s=60))
    play.arrive("b2", demand("b", timeout_s=60))
    play.finished("w2", "a1", after=10)
    assert play.polled("w2") == [hand("w2", "a2")]


def test_one_place_is_shared_in_turns() -> None:
    play = Play(Limits(4096, workers=1))
    saturated(play, 1)
    play.arrive("b1", demand("b", timeout_s=60))
    play.finished("w1", "a1", after=FAIR_S)
    assert play.polled("w1") == [stop("w1")]
    assert play.gone("w1", None) == [start("w2", "b")]
    play.started("w2")
    assert play.polled("w2") == [hand("w2", "b1")]
    play.finished("w2", "b1")
    play.arrive("b2", demand("b"))
    assert play.polled("w2") == [stop("w2")]
    assert play.gone("w2", None) == [start("w3", "a")]


def test_a_short_timeout_does_not_wait_for_its_turn_until_it_is_over() -> None:
    play = Play(Limits(4096, workers=1))
    saturated(play, 1)
    play.arrive("b1", demand("b", timeout_s=1))
    play.finished("w1", "a1", after=0.5)
    assert play.polled("w1") == [stop("w1")]


def test_a_large_function_gets_as_many_places_as_it_takes_and_nobody_takes_them_again() -> None:
    play = Play(Limits(384))
    saturated(play, 3)
    play.arrive("b1", demand("b", 256, timeout_s=60))
    play.finished("w1", "a1", after=FAIR_S)
    assert play.polled("w1") == [stop("w1")]
    assert play.gone("w1", None) == []
    play.finished("w2", "a2")
    assert play.polled("w2") == [stop("w2")]
    play.finished("w3", "a3")
    assert play.polled("w3") == [hand("w3", "a-next1")]
    assert play.gone("w2", None) == [start("w4", "b")]


def test_idle_workers_stop_down_to_zero() -> None:
    play = Play(Limits(4096, idle_s=300))
    play.idle("w1", "i1")
    assert play.timer(299) == []
    assert play.timer(1) == [stop("w1")]
    assert play.gone("w1", None) == []
    assert not play.fleet.uses(Digest("a"))
    assert play.fleet.used == 0


def test_a_timed_out_invocation_is_answered_and_its_worker_replaced_on_demand() -> None:
    play = Play(Limits(4096, workers=1))
    play.idle("w1", "i0")
    play.arrive("i1")
    play.arrive("i2", after=1.0)
    assert play.timer(2.0) == [answer("i1", TimedOut(3.0), "w1"), stop("w1")]
    assert play.finished("w1", "i1") == []
    assert play.polled("w1") == []
    assert play.gone("w1", None) == [start("w2")]


def test_a_crashed_worker_fails_its_invocation_and_is_replaced_on_demand() -> None:
    play = Play(Limits(4096, workers=1))
    play.idle("w1", "i0")
    play.arrive("i1")
    play.arrive("i2")
    assert play.gone("w1") == [answer("i1", WorkerExited(1, None), "w1"), start("w2")]


def test_an_exit_before_the_first_poll_fails_exactly_one_invocation() -> None:
    play = Play()
    play.arrive("i1")
    play.arrive("i2")
    play.started("w1")
    assert play.gone("w1") == [answer("i1", WorkerExited(1, None), "w1")]
    play.started("w2")
    assert play.gone("w2") == [answer("i2", WorkerExited(1, None), "w2")]
    assert not play.fleet.uses(Digest("a"))


def test_an_init_error_fails_one_invocation_and_stops_the_worker() -> None:
    play = Play()
    play.arrive("i1")
    play.started("w1")
    posted = ev.InitErrorPosted(WorkerId("w1"), b"{}")
    assert play.do(posted) == [stop("w1"), answer("i1", InitFailed(b"{}"), "w1")]
    assert play.gone("w1") == []


def test_an_init_that_takes_too_long_fails_one_invocation() -> None:
    play = Play(Limits(4096, init_s=10))
    play.arrive("i1", demand(timeout_s=60))
    play.started("w1")
    assert play.timer(10) == [stop("w1"), answer("i1", TimedOut(10), "w1")]


def test_an_invocation_whose_worker_is_starting_is_not_throttled() -> None:
    play = Play()
    play.arrive("i1", demand(timeout_s=1))
    play.started("w1")
    assert play.timer(5) == []
    assert play.polled("w1") == [hand("w1", "i1")]


def test_a_refused_start_fails_one_invocation() -> None:
    play = Play()
    play.arrive("i1")
    refused = ev.WorkerRefused(WorkerId("w1"), "NoRoom", "no memory")
    assert play.do(refused) == [answer("i1", NotStarted("NoRoom", "no memory"), "w1")]


def test_a_node_that_does_not_answer_a_start_fails_one_invocation() -> None:
    play = Play()
    play.arrive("i1", demand(timeout_s=900))
    commands = play.timer(START_TIMEOUT_S)
    assert commands[0] == stop("w1")
    assert isinstance(commands[1], ev.Answer)
    assert play.do(ev.WorkerRefused(WorkerId("w1"), "Stopped", "")) == []


def test_an_update_stops_idle_workers_and_lets_busy_ones_finish() -> None:
    play = Play()
    play.idle("w1", "i1")
    play.arrive("i2")
    play.arrive("i3")
    play.started("w2")
    play.polled("w2")
    play.finished("w2", "i3")
    play.polled("w2")
    assert play.do(ev.Retired(Digest("a"))) == [stop("w2")]
    assert play.finished("w1", "i2") == [answer("i2", DONE, "w1")]
    assert play.polled("w1") == [stop("w1")]
    assert play.gone("w2", None) == []
    assert play.gone("w1", None) == [ev.ClosePool(Digest("a"))]


def test_an_update_while_starting_keeps_what_is_waited_for() -> None:
    play = Play()
    play.arrive("i1")
    play.arrive("i2")
    play.started("w1")
    play.polled("w1")
    assert play.do(ev.Retired(Digest("a"))) == []
    play.started("w2")
    assert play.polled("w2") == [hand("w2", "i2")]


def test_retiring_an_unused_version_closes_it_at_once() -> None:
    assert Play().do(ev.Retired(Digest("a"))) == [ev.ClosePool(Digest("a"))]


def test_a_version_that_comes_back_is_used_again() -> None:
    play = Play()
    play.idle("w1", "i1")
    play.arrive("i2")
    play.do(ev.Retired(Digest("a")))
    play.arrive("i3")
    play.finished("w1", "i2")
    play.polled("w1")
    play.finished("w1", "i3")
    assert play.polled("w1") == []


def test_a_lost_node_fails_what_runs_and_keeps_what_waits() -> None:
    play = Play(Limits(4096, workers=1))
    play.idle("w1", "i0")
    play.arrive("i1")
    play.arrive("i2")
    assert play.do(ev.NodeWentAway()) == [answer("i1", NodeLost(ran=True), "w1")]
    assert play.do(ev.NodeWelcomed()) == [start("w2")]


def test_waiting_for_a_node_ends_at_the_deadline() -> None:
    play = Play(node=False)
    assert play.arrive("i1") == []
    assert play.timer(3) == [answer("i1", NodeLost(ran=False))]


def test_a_worker_whose_poll_broke_gets_no_invocation_until_it_asks_again() -> None:
    play = Play()
    play.idle("w1", "i1")
    play.do(ev.PollLost(WorkerId("w1")))
    assert play.arrive("i2") == [start("w2")]
    assert play.polled("w1") == [hand("w1", "i2")]


def test_a_worker_that_never_asks_again_is_stopped() -> None:
    play = Play()
    play.idle("w1", "i1")
    play.arrive("i2")
    play.finished("w1", "i2", after=2.9)
    assert play.timer(AWAY_LEAST_S) == [stop("w1")]


@pytest.mark.parametrize(
    "event",
    [
        ev.Polled(WorkerId("w1")),
        ev.InitErrorPosted(WorkerId("w1"), b""),
        ev.WorkerStarted(WorkerId("w1")),
        ev.WorkerRefused(WorkerId("w1"), "NoRoom", ""),
        ev.Finished(WorkerId("w1"), RequestId("other"), FunctionFailed(b"")),
        ev.Polled(WorkerId("unknown")),
        ev.WorkerGone(WorkerId("unknown"), 0, None),
    ],
    ids=lambda event: f"{type(event).__name__} {event.worker}",
)
def test_what_nobody_allowed_is_refused_and_changes_nothing(event: ev.Event) -> None:
    play = Play()
    play.arrive("i1")
    play.started("w1")
    play.polled("w1")
    with pytest.raises(ev.Forbidden):
        play.do(event)
    assert play.finished("w1", "i1") == [answer("i1", DONE, "w1")]


def test_an_exit_before_the_start_breaks_the_wire() -> None:
    play = Play()
    play.arrive("i1")
    with pytest.raises(ev.Forbidden):
        play.gone("w1")
