"""Whatever AWS's model of the Lambda API lets a client ask: an answer, no failure of ours, no wait."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from e2e.box import Box
from hostile.caller import FUNCTIONS, Caller
from hostile.shapes import OPERATIONS, SUPPORTED, Generated, requests
from hypothesis import HealthCheck, given, settings

pytestmark = pytest.mark.box

SHORT, SOAK = 300, 10_000
PROMPT_S = 10.0
"""A created function's default timeout is 3 s; the rest is this machine's noise."""


@pytest.mark.parametrize("count", [SHORT, pytest.param(SOAK, marks=pytest.mark.soak)])
def test_no_generated_request_fails_or_hangs(caller: Caller, box: Box, count: int) -> None:
    seen: Counter[tuple[int, bool]] = Counter()

    @settings(
        max_examples=count,
        derandomize=count == SHORT,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def judge(asked: Generated) -> None:
        began = time.monotonic()
        reply = caller.signed(asked.method, asked.target, asked.body, headers=asked.headers)
        seen[reply.status, asked.operation in SUPPORTED] += 1
        assert time.monotonic() - began < PROMPT_S
        assert 200 <= reply.status < 500 or reply.status == 501, reply.body
        if reply.status == 501:
            assert reply.headers["x-amzn-errortype"] == "NotImplementedException"
        assert reply.status != 403, reply.body

    judge()
    assert len(OPERATIONS) > 50
    assert {(200, True), (400, True), (404, True), (501, False)} <= set(seen), seen
    for function in json.loads(caller.signed("GET", FUNCTIONS).body)["Functions"]:
        if function["FunctionName"] not in ("hello", "packed"):
            assert caller.delete(function["FunctionName"]).status == 204
    box.esb("up")
    assert caller.keyed("Host: localhost", "Content-Length: 2", body=b"{}").status == 200
