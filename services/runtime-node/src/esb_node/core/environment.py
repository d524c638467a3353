"""The environment of a worker, complete, as AWS's page lists it.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html

Nothing of the node's own environment is in it. A function's own variables come first and can
change what AWS lets them change (LANG, PATH, TZ, …) but none of the reserved names, whose
values say what is true. No credentials are set: the box has no roles to take them from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from esb_common import ids
from esb_common.function import FunctionBlob

from esb_node.core.worker import RUNTIME_API_HOST, RUNTIME_API_PORT


@dataclass(frozen=True, slots=True)
class Places:
    """Where a worker finds things, as it sees them."""

    task: str = "/var/task"
    runtime: str = "/var/runtime"
    language: str = "/var/lang"
    layers: str = "/opt"
    scratch: str = "/tmp"  # noqa: S108 - the path a worker sees, its own
    runtime_api: str = f"{RUNTIME_API_HOST}:{RUNTIME_API_PORT}"

    def seen(self, path: str) -> str:
        """``path``, given as AWS's workers see it, as it is seen here."""
        for name in ("task", "runtime", "language"):
            aws: str = getattr(AWS_PLACES, name)
            if path.startswith(f"{aws}/"):
                return str(getattr(self, name)) + path.removeprefix(aws)
        return path


AWS_PLACES = Places()

NEVER_SET = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "_ESB_OUTPUT",
        "_X_AMZN_TRACE_ID",
    }
)
"""Reserved names that a worker starts without: a function's value for one of them is dropped."""


def worker_environment(
    function: FunctionBlob, worker: ids.WorkerId, day: str, places: Places = AWS_PLACES
) -> dict[str, str]:
    """Every variable of ``worker``. ``day`` is ``YYYY/MM/DD``, part of AWS's log stream names."""
    own = {name: value for name, value in function.environment.items() if name not in NEVER_SET}
    return _changeable(places) | own | _placed(places) | _told(function, worker, day)


def relocate(environment: Mapping[str, str], places: Places) -> dict[str, str]:
    """``environment``, made for :data:`AWS_PLACES`, for a worker that finds things at ``places``.

    What a function set itself stays. Where /tmp is not the worker's own, TMPDIR names what is.
    """
    before, after = (_changeable(one) | _placed(one) for one in (AWS_PLACES, places))
    moved = {name: after[name] if before.get(name) == value else value for name, value in environment.items()}
    return moved if places.scratch == AWS_PLACES.scratch else {"TMPDIR": places.scratch} | moved


def _placed(places: Places) -> dict[str, str]:
    return {
        "AWS_LAMBDA_RUNTIME_API": places.runtime_api,
        "LAMBDA_RUNTIME_DIR": places.runtime,
        "LAMBDA_TASK_ROOT": places.task,
    }


def _changeable(places: Places) -> dict[str, str]:
    libraries = (
        f"{places.language}/lib",
        "/lib64",
        "/usr/lib64",
        places.runtime,
        f"{places.runtime}/lib",
        places.task,
        f"{places.task}/lib",
        f"{places.layers}/lib",
    )
    return {
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PATH": f"{places.language}/bin:/usr/local/bin:/usr/bin:/bin:{places.layers}/bin",
        "PYTHONPATH": places.runtime,
        "TZ": ":UTC",
    }


def _told(function: FunctionBlob, worker: ids.WorkerId, day: str) -> dict[str, str]:
    stream = worker.removeprefix("w-").rjust(32, "0")
    return {
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mib),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{day}/[{function.version}]{stream}",
        "AWS_REGION": function.region,
        "_HANDLER": function.handler,
    }
