"""An unmodified boto3 against the running box, in each mode."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.exceptions
import pytest
from e2e.box import Box, zipped
from e2e.conftest import Functions

pytestmark = pytest.mark.box

MISSING = object()
ECHO = "def handler(event, context):\n    return event\n"


def call(aws: Any, name: str, event: Any = MISSING) -> Any:
    """The decoded payload of an invocation that must succeed."""
    answer = aws.invoke(FunctionName=name, Payload="{}" if event is MISSING else json.dumps(event))
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    return payload


def failure(aws: Any, name: str, event: Any = None) -> dict[str, Any]:
    """The decoded payload of an invocation whose function must fail."""
    answer = aws.invoke(FunctionName=name, Payload=json.dumps(event))
    payload: dict[str, Any] = json.loads(answer["Payload"].read())
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled"), payload
    return payload


def test_hello_answers(aws: Any) -> None:
    assert call(aws, "hello", {"name": "ESB"})["message"] == "Hello, ESB!"


def test_a_compiled_dependency_works(aws: Any) -> None:
    answer = call(aws, "packed", {"list": [1, 2, 3], "text": "ü"})
    assert (answer["compiled"], answer["same"]) == (True, True)


@pytest.mark.parametrize("event", [None, 0, "ü\u2028", [], {}, {"deep": [[[[1.5]]]]}, "x" * 200_000])
def test_an_event_comes_back_as_it_went(functions: Functions, aws: Any, event: Any) -> None:
    assert call(aws, functions.create(ECHO), event) == event


def test_a_payload_of_six_megabytes_passes_and_a_larger_one_is_refused(
    functions: Functions, aws: Any
) -> None:
    name = functions.create("def handler(event, context):\n    return len(event)\n", Timeout=30)
    largest = 6 * 1024 * 1024 - 2
    assert call(aws, name, "x" * largest) == largest
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        aws.invoke(FunctionName=name, Payload=json.dumps("x" * (largest + 1)))
    assert caught.value.response["Error"]["Code"] == "RequestTooLargeException"


def test_the_context_is_as_on_aws(functions: Functions, aws: Any) -> None:
    name = functions.create(
        "def handler(event, context):\n"
        "    return [context.function_name, context.function_version, context.memory_limit_in_mb,\n"
        "            context.invoked_function_arn, context.aws_request_id,\n"
        "            context.get_remaining_time_in_millis()]\n",
        MemorySize=256,
        Timeout=7,
    )
    answer = aws.invoke(FunctionName=name, Payload="{}")
    function, version, memory, arn, request, remaining = json.loads(answer["Payload"].read())
    assert (function, version, memory) == (name, "$LATEST", "256")
    assert arn == aws.get_function_configuration(FunctionName=name)["FunctionArn"]
    assert request == answer["ResponseMetadata"]["RequestId"]
    assert 5000 < remaining <= 7000
    assert answer["ExecutedVersion"] == "$LATEST"


def test_the_log_tail_holds_what_was_printed_before_the_answer(functions: Functions, aws: Any) -> None:
    name = functions.create(
        "def handler(event, context):\n    for i in range(100):\n        print('line', i)\n"
    )
    for _ in range(5):
        answer = aws.invoke(FunctionName=name, LogType="Tail")
        tail = base64.b64decode(answer["LogResult"]).decode()
        request = answer["ResponseMetadata"]["RequestId"]
        lines = tail.splitlines()
        assert lines[0] == f"START RequestId: {request} Version: $LATEST"
        assert lines[1:101] == [f"line {i}" for i in range(100)]
        assert lines[101] == f"END RequestId: {request}"
        assert lines[102].startswith(f"REPORT RequestId: {request}\tDuration: ")
        assert "Max Memory Used: " in lines[102]


def test_the_tail_is_the_last_four_kilobytes(functions: Functions, aws: Any) -> None:
    name = functions.create("def handler(event, context):\n    print('x' * 10000)\n    print('the end')\n")
    answer = aws.invoke(FunctionName=name, LogType="Tail")
    tail = base64.b64decode(answer["LogResult"])
    assert len(tail) == 4096
    assert b"the end\n" in tail


def test_an_exception_is_answered_as_aws_does(functions: Functions, aws: Any) -> None:
    name = functions.create("def handler(event, context):\n    raise KeyError('missing')\n")
    answer = failure(aws, name)
    assert (answer["errorType"], answer["errorMessage"]) == ("KeyError", "'missing'")
    assert "app.py" in answer["stackTrace"][0]


@pytest.mark.parametrize(
    ("code", "handler", "kind"),
    [
        ("import nothing_of_that_name\n", "app.handler", "Runtime.ImportModuleError"),
        ("def handler(event, context:\n", "app.handler", "Runtime.UserCodeSyntaxError"),
        ("handler = None\n", "app.missing", "Runtime.HandlerNotFound"),
        (ECHO, "nowhere.handler", "Runtime.ImportModuleError"),
        ("import os\nos._exit(3)\n", "app.handler", "Runtime.ExitError"),
        ("def handler(event, context):\n    import os; os._exit(3)\n", "app.handler", "Runtime.ExitError"),
        (
            "def handler(event, context):\n    import ctypes; ctypes.string_at(0)\n",
            "app.handler",
            "Runtime.ExitError",
        ),
        ("def handler(event, context):\n    return object()\n", "app.handler", "Runtime.MarshalError"),
        (
            "def handler(event, context):\n    return 'x' * 7_000_000\n",
            "app.handler",
            "Function.ResponseSizeTooLarge",
        ),
    ],
)
def test_a_broken_function_fails_and_the_box_stays_well(
    functions: Functions, aws: Any, code: str, handler: str, kind: str
) -> None:
    name = functions.create(code, handler=handler)
    assert failure(aws, name)["errorType"].startswith(kind)
    assert failure(aws, name)["errorType"].startswith(kind)
    assert call(aws, "hello")["message"] == "Hello, world!"


def test_an_exit_is_told_with_its_status(functions: Functions, aws: Any) -> None:
    name = functions.create("def handler(event, context):\n    import os; os._exit(3)\n")
    answer = aws.invoke(FunctionName=name)
    request = answer["ResponseMetadata"]["RequestId"]
    assert json.loads(answer["Payload"].read()) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request} Error: Runtime exited with error: exit status 3",
    }


def test_a_timeout_is_told_and_the_next_call_gets_a_fresh_worker(functions: Functions, aws: Any) -> None:
    name = functions.create(
        "import threading\nseen = []\n"
        "def handler(event, context):\n"
        "    seen.append(1)\n"
        "    event and threading.Event().wait()\n"
        "    return len(seen)\n",
        Timeout=1,
    )
    assert call(aws, name) == 1
    assert call(aws, name) == 2
    answer = failure(aws, name, "wait")
    assert answer["errorType"] == "Sandbox.Timedout"
    assert answer["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    assert call(aws, name) == 1


def test_memory_is_limited(functions: Functions, aws: Any) -> None:
    name = functions.create(
        "def handler(event, context):\n    return len(bytearray(event << 20))\n", MemorySize=128, Timeout=20
    )
    assert call(aws, name, 16) == 16 << 20
    assert failure(aws, name, 512)["errorType"] == "Runtime.OutOfMemory"
    assert call(aws, name, 16) == 16 << 20


@pytest.mark.parametrize(
    ("handler", "least", "most"),
    [
        ("x = bytearray(50 << 20); import os; os._exit(3)", 50, 128),
        ("x = bytearray(50 << 20); import threading; threading.Event().wait()", 50, 128),
        ("x = bytearray(600 << 20)", 126, 128),
    ],
)
def test_the_report_says_what_a_worker_that_ended_had_used(
    functions: Functions, aws: Any, handler: str, least: int, most: int
) -> None:
    name = functions.create(f"def handler(event, context):\n    {handler}\n", MemorySize=128, Timeout=2)
    tail = base64.b64decode(aws.invoke(FunctionName=name, LogType="Tail")["LogResult"]).decode()
    used = int(tail.partition("\tMax Memory Used: ")[2].partition(" MB")[0])
    assert least <= used <= most


def test_a_worker_is_warm_and_keeps_its_state(functions: Functions, aws: Any) -> None:
    name = functions.create(
        "count = 0\ndef handler(event, context):\n    global count; count += 1; return count\n"
    )
    assert [call(aws, name) for _ in range(5)] == [1, 2, 3, 4, 5]


def test_calls_at_once_get_a_worker_each(functions: Functions, box: Box) -> None:
    slow = "import time\ndef handler(event, context):\n    time.sleep(1); return context.aws_request_id\n"
    name = functions.create(slow, Timeout=30)
    client = box.client(max_pool_connections=6)
    start = threading.Barrier(6)

    def one() -> str:
        start.wait()
        answer: str = call(client, name)
        return answer

    with ThreadPoolExecutor(6) as pool:
        answers = [future.result() for future in [pool.submit(one) for _ in range(6)]]
    assert len(set(answers)) == 6
    workers = [worker for worker in box.json("status")["workers"] if worker["function"] == name]
    assert 2 <= len(workers) <= 6


def test_an_update_reaches_the_next_call(functions: Functions, aws: Any) -> None:
    name = functions.create("def handler(event, context):\n    return 'old'\n")
    assert call(aws, name) == "old"
    new = "import os\ndef handler(event, context):\n    return os.environ.get('WORD', 'new')\n"
    aws.update_function_code(FunctionName=name, ZipFile=zipped(app=new))
    assert call(aws, name) == "new"
    aws.update_function_configuration(FunctionName=name, Environment={"Variables": {"WORD": "told"}})
    assert call(aws, name) == "told"


SEEN = """
import os

def handler(event, context):
    return {
        "uid": os.getuid(),
        "processes": [name for name in os.listdir("/proc") if name.isdigit()],
        "root": os.listdir("/"),
        "ours": [name for name in os.environ if "ESB" in name],
        "capabilities": open("/proc/self/status").read().split("CapEff:")[1].split()[0],
        "writable": [name for name in ("/", "/etc", "/usr", "/var/task", "/opt") if os.access(name, os.W_OK)],
    }
"""
PLACES = "bin boot dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin srv sys tmp usr var"


def test_a_function_sees_neither_the_machine_nor_the_box(functions: Functions, aws: Any) -> None:
    seen = call(aws, functions.create(SEEN))
    assert seen["uid"] == 993
    assert seen["processes"] == ["1"]
    assert set(seen["root"]) <= set(PLACES.split())
    assert (seen["ours"], int(seen["capabilities"], 16), seen["writable"]) == ([], 0, [])


def test_a_dry_run_starts_nothing(functions: Functions, aws: Any, box: Box) -> None:
    name = functions.create(ECHO)
    assert aws.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
    assert not [worker for worker in box.json("status")["workers"] if worker["function"] == name]


def test_what_is_not_supported_is_an_explicit_error(aws: Any) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="ListLayers"):
        aws.list_layers()
    with pytest.raises(botocore.exceptions.ClientError, match="Event"):
        aws.invoke(FunctionName="hello", InvocationType="Event")


def test_a_missing_function_is_aws_own_error(aws: Any) -> None:
    with pytest.raises(
        aws.exceptions.ResourceNotFoundException, match=r"Function not found: arn:aws:lambda:.*:none"
    ):
        aws.invoke(FunctionName="none")
