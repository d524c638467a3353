"""How an invocation ends, and what the client is told.

An outcome is a value: the fleet makes it, the log prints it, the API answers it. Bodies are
AWS's, byte for byte where AWS documents them
(https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html).
"""

from __future__ import annotations

import json
import signal as signals
from dataclasses import dataclass
from typing import assert_never

from esb_common.ids import RequestId

from esb_gateway.core.errors import LambdaError, ServiceFailure, TooManyRequests

MAX_RESPONSE = 6_291_556
"""Bytes a function may return: AWS's 6 MB quota as its runtime counts it."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The handler's value, as the runtime posted it."""

    body: bytes


@dataclass(frozen=True, slots=True)
class FunctionFailed:
    """The handler raised; the body is what the runtime posted."""

    body: bytes


@dataclass(frozen=True, slots=True)
class InitFailed:
    """The runtime could not load the handler and posted why."""

    body: bytes


@dataclass(frozen=True, slots=True)
class ResponseTooLarge:
    """The handler returned more than :data:`MAX_RESPONSE`."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Seconds that the invocation (or the init before it) was given."""

    after_s: float


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The worker ended before it answered: exit status, or the signal that ended it."""

    code: int | None
    signal: int | None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """No worker came free before the deadline."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The node refused a worker. ``error`` is one of contracts/node.md's names."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """The node went away while the invocation ran, or (not ``ran``) stayed away until its deadline."""

    ran: bool


RanOutcome = Returned | FunctionFailed | ResponseTooLarge
"""What a worker itself says of an invocation."""

Outcome = RanOutcome | InitFailed | TimedOut | WorkerExited | Throttled | NotStarted | NodeLost


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """A 200 answer; ``error`` is the value of X-Amz-Function-Error."""

    body: bytes
    error: str | None = None


def answer(outcome: Outcome, request: RequestId) -> FunctionResult | LambdaError:
    """What the client of ``request`` is told."""
    match outcome:
        case Returned(body):
            return FunctionResult(body)
        case FunctionFailed(body) | InitFailed(body):
            return FunctionResult(body, "Unhandled")
        case ResponseTooLarge() | TimedOut() | WorkerExited():
            kind, message = sandbox_error(outcome, request)
            body = json.dumps({"errorType": kind, "errorMessage": message}, separators=(",", ":")).encode()
            return FunctionResult(body, "Unhandled")
        case Throttled():
            return TooManyRequests("ConcurrentInvocationLimitExceeded")
        case NotStarted(error, message):
            return ServiceFailure(f"no worker could be started: {error}: {message}")
        case NodeLost(ran):
            gone = "the runtime node went away; the invocation may have run"
            return ServiceFailure(gone if ran else "no runtime node is connected; the invocation did not run")
        case _:
            assert_never(outcome)


def sandbox_error(outcome: ResponseTooLarge | TimedOut | WorkerExited, request: RequestId) -> tuple[str, str]:
    """AWS's errorType and errorMessage for an end that the runtime did not report itself."""
    match outcome:
        case ResponseTooLarge():
            limit = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
            return "Function.ResponseSizeTooLarge", limit
        case TimedOut(after_s):
            return (
                "Sandbox.Timedout",
                f"RequestId: {request} Error: Task timed out after {after_s:.2f} seconds",
            )
        case WorkerExited(out_of_memory=out_of_memory):
            kind = "Runtime.OutOfMemory" if out_of_memory else "Runtime.ExitError"
            return kind, f"RequestId: {request} Error: {exit_text(outcome)}"
        case _:
            assert_never(outcome)


def exit_text(end: WorkerExited) -> str:
    """AWS's sentence for a runtime that exited."""
    if end.signal is not None:
        name = signals.strsignal(end.signal) or f"signal {end.signal}"
        return f"Runtime exited with error: signal: {name.lower()}"
    if end.code:
        return f"Runtime exited with error: exit status {end.code}"
    return "Runtime exited without providing a reason"
