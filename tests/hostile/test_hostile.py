"""Every kind of bad input against the running box: the answer is the table's, and the box stays well."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from e2e.box import Box
from hostile.caller import Caller
from hostile.kind import Kind, told
from hostile.page import KINDS, PAGE, page

LEAST = 50
Slow = dict[str, "Future[str]"]
on_a_box = pytest.mark.box


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == page()
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= LEAST


@pytest.fixture(scope="module")
def slow(caller: Caller) -> Iterator[Slow]:
    """The kinds that wait for a time limit of the box, begun together before the others."""
    kinds = [kind for kind in KINDS if kind.slow]
    with ThreadPoolExecutor(len(kinds)) as pool:
        yield {kind.name: pool.submit(told, kind, caller) for kind in kinds}


@on_a_box
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_answer_is_clear_and_the_box_stays_well(caller: Caller, slow: Slow, kind: Kind) -> None:
    outcome = slow[kind.name].result() if kind.slow else told(kind, caller)
    caller.delete("hostile")
    assert outcome == kind.outcome
    answer = caller.keyed("Host: localhost", "Content-Length: 2", body=b"{}")
    assert (answer.status, b"Hello" in answer.body) == (200, True)


@on_a_box
def test_nothing_is_left(caller: Caller, box: Box) -> None:
    """Runs last: no call, no function but the examples, no worker of another."""
    status = box.json("status")
    assert (status["functions"], status["calls"]) == (2, {"in_flight": 0, "waiting": 0})
    assert {worker["function"] for worker in status["workers"]} <= {"hello", "packed"}
