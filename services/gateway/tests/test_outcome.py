"""How ends are told: to clients and in logs."""

from __future__ import annotations

import json

import pytest
from esb_common.ids import RequestId
from esb_gateway.core import loglines, outcome
from esb_gateway.core.errors import LambdaError, NotSupported
from esb_gateway.core.logtail import INVOCATION_MOST, LINE_MOST, TAIL_BYTES, Lines, Tail

ID = RequestId("8f507cfc-xmpl-4697-b07a-ac58fc914c95")


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (outcome.WorkerExited(0, None), "Runtime exited without providing a reason"),
        (outcome.WorkerExited(1, None), "Runtime exited with error: exit status 1"),
        (outcome.WorkerExited(None, 9), "Runtime exited with error: signal: killed"),
        (outcome.WorkerExited(None, 11), "Runtime exited with error: signal: segmentation fault"),
        (outcome.WorkerExited(None, 6), "Runtime exited with error: signal: aborted"),
    ],
)
def test_exits_are_told_in_awss_words(end: outcome.WorkerExited, text: str) -> None:
    result = outcome.answer(end, ID)
    assert isinstance(result, outcome.FunctionResult)
    assert json.loads(result.body) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {ID} Error: {text}",
    }


def test_what_is_no_functions_failure_is_an_error_of_the_api() -> None:
    refusals = [
        outcome.answer(end, ID)
        for end in (outcome.Throttled(), outcome.NodeLost(ran=True), outcome.NotStarted("NoRoom", "m"))
    ]
    assert [refusal.status for refusal in refusals if isinstance(refusal, LambdaError)] == [429, 500, 500]


def test_the_report_line_is_awss() -> None:
    line = loglines.report(
        ID, outcome.Returned(b""), duration_ms=15.741, memory_mib=128, peak_bytes=55 * 2**20, init_ms=84.6
    )
    assert line == (
        f"REPORT RequestId: {ID}\tDuration: 15.74 ms\tBilled Duration: 101 ms\tMemory Size: 128 MB\t"
        "Max Memory Used: 55 MB\tInit Duration: 84.60 ms\t"
    )


def test_a_timeout_is_told_in_the_log_and_in_the_report() -> None:
    end = outcome.TimedOut(3.0)
    assert loglines.trouble(ID, end, "2024-01-01T00:00:00.000Z") == [
        f"2024-01-01T00:00:00.000Z {ID} Task timed out after 3.00 seconds",
        "",
    ]
    line = loglines.report(ID, end, duration_ms=3000, memory_mib=128, peak_bytes=None, init_ms=None)
    assert line.endswith(
        "\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tStatus: timeout\t"
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"errorType": "ValueError"}', "ValueError"),
        (b'{"errorType": "a\\nREPORT b"}', "a REPORT b"),
        (b'{"errorType": 1}', "Unknown"),
        (b"[]", "Unknown"),
        (b"no json", "Unknown"),
        (b"[" * 100_000, "Unknown"),
        (b"\xff", "Unknown"),
    ],
)
def test_a_posted_error_type_cannot_forge_a_line(body: bytes, kind: str) -> None:
    assert loglines.posted_type(body) == kind


def test_a_lack_is_named() -> None:
    assert NotSupported("PublishVersion").body == {
        "Type": "User",
        "message": "ESB does not support this yet: PublishVersion",
    }


# --- lines --------------------------------------------------------------------------------


def test_lines_are_cut_where_they_end_wherever_reads_ended() -> None:
    lines = Lines()
    assert lines.feed(b"a") == []
    assert lines.feed(b"b\nc\n\nd") == [b"ab", b"c", b""]
    assert lines.flush() == [b"d"]
    assert lines.flush() == []


def test_the_lines_of_one_event_are_lines() -> None:
    lines = Lines().feed(b"[ERROR] E\rTraceback\r  at\r\nnext\r\n")
    assert lines == [b"[ERROR] E", b"Traceback", b"  at", b"next"]


def test_a_line_without_end_is_cut() -> None:
    lines = Lines()
    assert lines.feed(b"x" * (LINE_MOST + 10)) == [b"x" * LINE_MOST]
    assert lines.flush() == [b"x" * 10]


def test_one_invocations_output_is_bounded_and_says_so() -> None:
    lines = Lines()
    kept = [line for _ in range(100) for line in lines.feed(b"x" * 99_999 + b"\n")]
    assert sum(map(len, kept)) <= INVOCATION_MOST + 100
    assert kept[-1].startswith(b"[ESB: output beyond")
    lines.reset()
    assert lines.feed(b"again\n") == [b"again"]


def test_a_tail_keeps_the_last_bytes() -> None:
    tail = Tail()
    tail.add([b"lost"])
    assert tail.content == b"lost\n"
    tail.add([b"x" * TAIL_BYTES, b"end"])
    assert tail.content == b"x" * (TAIL_BYTES - 5) + b"\nend\n"
