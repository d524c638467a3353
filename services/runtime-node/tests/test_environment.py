"""A worker's environment against AWS's list."""

from __future__ import annotations

from pathlib import Path

import pytest
from esb_common import ids
from esb_common.function import FunctionBlob
from esb_node.core import environment
from esb_node.core.plan import worker_plan
from esb_node.core.ports import StartRefused

WORKER = ids.worker_id("w-" + "a" * 16)
AWS_LIST = {
    "_HANDLER", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION",
    "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TZ",
}  # fmt: skip


def function(runtime: str = "python3.12", **own: str) -> FunctionBlob:
    return FunctionBlob(
        ids.FunctionName("f"), "7", "arn", "eu-west-1", runtime, "app.handler", ids.Digest("d"), 256, 3, own
    )


def test_it_is_awss_list_and_the_functions_own() -> None:
    made = environment.worker_environment(function(GREETING="hello"), WORKER, "2026/01/02")
    assert set(made) == AWS_LIST | {"GREETING"}
    assert made["AWS_LAMBDA_LOG_STREAM_NAME"] == "2026/01/02/[7]" + "0" * 16 + "a" * 16
    assert made["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.12"
    assert (made["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], made["AWS_REGION"]) == ("256", "eu-west-1")
    assert made["AWS_LAMBDA_RUNTIME_API"] == "127.0.0.1:9001"


def test_a_function_changes_what_aws_lets_it_change_and_nothing_else() -> None:
    own = dict.fromkeys(AWS_LIST | environment.NEVER_SET, "evil")
    made = environment.worker_environment(function(**own), WORKER, "2026/01/02")
    changed = {name for name, value in made.items() if value == "evil"}
    assert changed == {"LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TZ"}
    assert not environment.NEVER_SET & set(made)


def test_it_moves_with_the_places_but_what_the_function_set_stays() -> None:
    made = environment.worker_environment(function(TZ="Asia/Tokyo", LD_LIBRARY_PATH="mine"), WORKER, "d")
    here = environment.Places("/t", "/r", "/l", scratch="/s")
    moved = environment.relocate(made, here)
    assert moved["LAMBDA_TASK_ROOT"] == "/t"
    assert moved["PYTHONPATH"] == "/r"
    assert moved["PATH"].startswith("/l/bin:")
    assert (moved["TZ"], moved["LD_LIBRARY_PATH"], moved["TMPDIR"]) == ("Asia/Tokyo", "mine", "/s")
    assert environment.relocate(made, environment.AWS_PLACES) == made
    assert here.seen("/var/lang/bin/python3.12") == "/l/bin/python3.12"
    assert here.seen("/var/runtime/bootstrap.py") == "/r/bootstrap.py"
    assert here.seen("/variety") == "/variety"


def test_a_plan_knows_the_runtime() -> None:
    plan = worker_plan(WORKER, function(), Path("/code"), 0.0)
    assert plan.arguments == ("/var/lang/bin/python3.12", "/var/runtime/bootstrap.py")
    assert plan.environment["AWS_LAMBDA_LOG_STREAM_NAME"].startswith("1970/01/01/")
    assert "hello" not in repr(worker_plan(WORKER, function(SECRET="hello"), Path("/code"), 0.0))
    with pytest.raises(StartRefused, match="UnsupportedRuntime: runtime cobol"):
        worker_plan(WORKER, function("cobol"), Path("/code"), 0.0)
