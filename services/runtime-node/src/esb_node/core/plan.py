"""From a function's blob to the plan of one worker: the only place that knows runtimes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from esb_common import ids
from esb_common.function import FunctionBlob

from esb_node.core.environment import worker_environment
from esb_node.core.ports import StartRefused, WorkerPlan

ARGUMENTS = {"python3.12": ("/var/lang/bin/python3.12", "/var/runtime/bootstrap.py")}
"""What starts a worker of each runtime, as paths that the worker sees."""


def require_runtime(function: FunctionBlob) -> None:
    """StartRefused for a runtime that no driver of this node can start."""
    if function.runtime not in ARGUMENTS:
        known = ", ".join(ARGUMENTS)
        raise StartRefused("UnsupportedRuntime", f"runtime {function.runtime} is not one of: {known}")


def worker_plan(worker: ids.WorkerId, function: FunctionBlob, code: Path, now: float) -> WorkerPlan:
    """All that a driver may know of ``worker``. ``now`` is in seconds since 1970 (its log stream's day)."""
    require_runtime(function)
    day = datetime.fromtimestamp(now, UTC).strftime("%Y/%m/%d")
    return WorkerPlan(
        worker, function, code, ARGUMENTS[function.runtime], worker_environment(function, worker, day)
    )
