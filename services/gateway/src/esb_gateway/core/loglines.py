"""The platform's own lines in a function's log, as AWS prints them.

https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
"""

from __future__ import annotations

import json
import math
from typing import assert_never

from esb_common.ids import RequestId

from esb_gateway.core.outcome import (
    FunctionFailed,
    InitFailed,
    NodeLost,
    NotStarted,
    Outcome,
    ResponseTooLarge,
    Returned,
    Throttled,
    TimedOut,
    WorkerExited,
    exit_text,
)


def start(request: RequestId, version: str) -> str:
    """The line before an invocation's own output."""
    return f"START RequestId: {request} Version: {version}"


def end(request: RequestId) -> str:
    """The line after an invocation's own output."""
    return f"END RequestId: {request}"


def report(
    request: RequestId,
    outcome: Outcome,
    *,
    duration_ms: float,
    memory_mib: int,
    peak_bytes: int | None,
    init_ms: float | None,
) -> str:
    """The summary line. AWS bills the init too; ``peak_bytes`` is left out where nobody counts."""
    billed = math.ceil(duration_ms + (init_ms or 0.0))
    parts = [
        f"REPORT RequestId: {request}",
        f"Duration: {duration_ms:.2f} ms",
        f"Billed Duration: {billed} ms",
        f"Memory Size: {memory_mib} MB",
    ]
    if peak_bytes is not None:
        parts.append(f"Max Memory Used: {math.ceil(peak_bytes / 2**20)} MB")
    if init_ms is not None:
        parts.append(f"Init Duration: {init_ms:.2f} ms")
    return "\t".join(parts + _status(outcome)) + "\t"


def _status(outcome: Outcome) -> list[str]:
    match outcome:
        case Returned():
            return []
        case TimedOut():
            return ["Status: timeout"]
        case FunctionFailed(body) | InitFailed(body):
            return ["Status: error", f"Error Type: {posted_type(body)}"]
        case ResponseTooLarge():
            return ["Status: error", "Error Type: Function.ResponseSizeTooLarge"]
        case WorkerExited(out_of_memory=out_of_memory):
            return ["Status: error", f"Error Type: Runtime.{'OutOfMemory' if out_of_memory else 'ExitError'}"]
        case Throttled() | NotStarted() | NodeLost():
            return ["Status: failure"]
        case _:
            assert_never(outcome)


def posted_type(body: bytes) -> str:
    """The errorType that a runtime posted, on one line; ``Unknown`` where it posted none."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return "Unknown"
    kind = members.get("errorType") if isinstance(members, dict) else None
    return " ".join(kind.split())[:256] if isinstance(kind, str) and kind.strip() else "Unknown"


def trouble(request: RequestId, outcome: Outcome, at: str) -> list[str]:
    """The platform's lines between the function's output and END. ``at`` is an ISO time in UTC."""
    match outcome:
        case TimedOut(after_s):
            return [f"{at} {request} Task timed out after {after_s:.2f} seconds", ""]
        case WorkerExited(out_of_memory=out_of_memory):
            kind = "Runtime.OutOfMemory" if out_of_memory else "Runtime.ExitError"
            return [f"RequestId: {request} Error: {exit_text(outcome)}", kind]
        case NotStarted(error, message):
            return [f"RequestId: {request} Error: no worker could be started: {error}: {message}"]
        case NodeLost():
            return [f"RequestId: {request} Error: the runtime node went away"]
        case Returned() | FunctionFailed() | InitFailed() | ResponseTooLarge() | Throttled():
            return []
        case _:
            assert_never(outcome)
