"""Playbooks of the desk: events in, commands out."""

from __future__ import annotations

from collections.abc import Iterable

from esb_common import ids, wire
from esb_node.core import desk
from esb_node.core.ports import Exit, StartRefused

A, B = desk.Peer(1), desk.Peer(2)
ONE, TWO = ids.worker_id("w-" + "1" * 16), ids.worker_id("w-" + "2" * 16)
FUNCTION = ids.digest("sha256:" + "f" * 64)
WELCOME = wire.Welcome("n", "memory", "memory", "host", limits=True)
STOPPED = Exit(None, 9)


def fresh() -> desk.Desk:
    return desk.Desk("n", "memory", "memory", "host", limits=True)


def play(table: desk.Desk, events: Iterable[desk.Event], now: float = 0) -> list[desk.Command]:
    return [command for event in events for command in table.hear(event, now)]


def say(peer: desk.Peer, *messages: wire.Message) -> list[desk.Event]:
    return [desk.Heard(peer, message) for message in messages]


def welcomed(*starting: ids.WorkerId) -> desk.Desk:
    table = fresh()
    play(table, [desk.Connected(A), *say(A, wire.Hello("g"))])
    play(table, say(A, *(wire.Start(worker, FUNCTION) for worker in starting)))
    return table


def started(worker: ids.WorkerId) -> desk.WorkerStarted:
    return desk.WorkerStarted(worker, "here", {"total": 1.0})


def test_a_hello_is_welcomed_at_once_where_nothing_runs() -> None:
    events = [desk.Connected(A), *say(A, wire.Hello("g"))]
    assert play(fresh(), events) == [desk.Send(A, WELCOME)]


def test_a_worker_is_begun_told_and_its_exit_told_once() -> None:
    table = welcomed()
    assert play(table, say(A, wire.Start(ONE, FUNCTION))) == [desk.Begin(ONE, FUNCTION)]
    told = wire.Started(ONE, "here", {"total": 1.0})
    assert play(table, [started(ONE)]) == [desk.Send(A, told)]
    assert play(table, [desk.WorkerExited(ONE, Exit(3, None))]) == [desk.Send(A, wire.Exited(ONE, 3, None))]
    assert table.empty
    assert play(table, say(A, wire.Stop(ONE))) == []


def test_out_of_memory_is_passed_on() -> None:
    table = welcomed(ONE)
    play(table, [started(ONE)])
    ended = desk.WorkerExited(ONE, Exit(None, 9, out_of_memory=True))
    assert play(table, [ended]) == [desk.Send(A, wire.Exited(ONE, None, 9, out_of_memory=True))]


def test_a_refusal_is_passed_on() -> None:
    table = welcomed(ONE)
    refused = desk.WorkerRefused(ONE, StartRefused("NoRoom", "full"))
    assert play(table, [refused]) == [desk.Send(A, wire.Refused(ONE, "NoRoom", "full"))]
    assert table.empty


def test_a_stop_of_a_starting_worker_cancels_it_once() -> None:
    table = welcomed(ONE)
    assert play(table, say(A, wire.Stop(ONE), wire.Stop(ONE))) == [desk.Cancel(ONE)]
    refused = desk.WorkerRefused(ONE, StartRefused("StartFailed", "whatever"))
    message = wire.Refused(ONE, "Stopped", "the start was cancelled")
    assert play(table, [refused]) == [desk.Send(A, message)]


def test_a_stop_that_comes_too_late_for_the_start_kills_what_started() -> None:
    table = welcomed(ONE)
    play(table, say(A, wire.Stop(ONE)))
    told = wire.Started(ONE, "here", {"total": 1.0})
    assert play(table, [started(ONE)]) == [desk.Send(A, told), desk.Kill(ONE)]
    assert play(table, [desk.WorkerExited(ONE, STOPPED)]) == [desk.Send(A, wire.Exited(ONE, None, 9))]


def test_a_stop_of_a_running_worker_kills_it_once() -> None:
    table = welcomed(ONE)
    play(table, [started(ONE)])
    assert play(table, say(A, wire.Stop(ONE), wire.Stop(ONE))) == [desk.Kill(ONE)]


def test_everything_ends_with_the_gateway_and_is_told_to_nobody() -> None:
    table = welcomed(ONE, TWO)
    play(table, [started(ONE)])
    assert play(table, [desk.Disconnected(A)]) == [desk.Kill(ONE), desk.Cancel(TWO)]
    assert play(table, [started(TWO)]) == [desk.Discard(TWO), desk.Kill(TWO)]
    assert play(table, [desk.WorkerExited(ONE, STOPPED), desk.WorkerExited(TWO, STOPPED)]) == []
    assert table.empty


def test_a_second_gateway_ends_the_first_and_is_welcomed_once_no_worker_is_left() -> None:
    table = welcomed(ONE, TWO)
    play(table, [started(ONE)])
    assert play(table, [desk.Connected(B)]) == [desk.Kill(ONE), desk.Cancel(TWO), desk.Close(A)]
    assert play(table, say(B, wire.Hello("h"))) == []
    assert play(table, [desk.WorkerExited(ONE, STOPPED)]) == []
    last = desk.WorkerRefused(TWO, StartRefused("Stopped", ""))
    assert play(table, [last]) == [desk.Send(B, WELCOME)]
    assert play(table, say(A, wire.ListWorkers())) == []


def test_nothing_may_be_said_before_the_welcome() -> None:
    for message in (wire.Start(ONE, FUNCTION), wire.Stop(ONE), wire.ListWorkers()):
        assert play(fresh(), [desk.Connected(A), *say(A, message)]) == [desk.Close(A)]


def test_another_protocol_a_second_hello_and_a_used_id_end_the_connection() -> None:
    assert play(fresh(), [desk.Connected(A), *say(A, wire.Hello("g", protocol=2))]) == [desk.Close(A)]
    assert play(welcomed(), say(A, wire.Hello("g"))) == [desk.Close(A)]
    assert play(welcomed(ONE), say(A, wire.Start(ONE, FUNCTION))) == [desk.Cancel(ONE), desk.Close(A)]


def test_the_list_holds_the_running_workers_only() -> None:
    table = welcomed(ONE, TWO)
    play(table, [started(ONE)])
    listed = [{"worker": ONE, "function": FUNCTION, "place": "here", "age_s": 2.5}]
    assert play(table, say(A, wire.ListWorkers()), now=2.5) == [desk.Send(A, wire.Workers(listed))]


def test_closing_ends_all() -> None:
    table = welcomed(ONE)
    assert play(table, [desk.Closing()]) == [desk.Cancel(ONE), desk.Close(A)]
