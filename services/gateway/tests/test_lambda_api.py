"""The Lambda API by boto3, over TLS that trusts only the test's root CA."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from callers import API_KEY, signed
from esb_gateway.testing import Runtime, package


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int, str]:
    response = caught.value.response
    error = response["Error"]
    return error["Code"], response["ResponseMetadata"]["HTTPStatusCode"], error["Message"]


def invoke(client: Any, payload: Any = None, **members: Any) -> tuple[Any, dict[str, Any]]:
    given = {} if payload is None else {"Payload": json.dumps(payload)}
    response = client.invoke(**{"FunctionName": "f"} | given | members)
    return json.loads(response["Payload"].read() or b"null"), response


# --- functions ----------------------------------------------------------------------------


def test_a_created_function_shows_what_aws_shows(box: Any) -> None:
    made = box.create(MemorySize=256, Timeout=5, Description="d", Environment={"Variables": {"AA": "1"}})
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    shown = {k: v for k, v in made.items() if k not in ("ResponseMetadata", "RevisionId", "LastModified")}
    assert shown == {
        "FunctionName": "f",
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "app.echo",
        "CodeSize": shown["CodeSize"],
        "Description": "d",
        "Timeout": 5,
        "MemorySize": 256,
        "CodeSha256": shown["CodeSha256"],
        "Version": "$LATEST",
        "Environment": {"Variables": {"AA": "1"}},
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
    }


def test_the_code_location_serves_the_package(box: Any) -> None:
    box.create()
    shown = box.client().get_function(FunctionName="f")
    content = box.get(shown["Code"]["Location"])
    assert len(content) == shown["Configuration"]["CodeSize"]


def test_a_changed_code_location_is_refused(box: Any) -> None:
    box.create()
    location = box.client().get_function(FunctionName="f")["Code"]["Location"]
    with pytest.raises(OSError, match="403"):
        box.get(location[:-1] + ("0" if location[-1] != "0" else "1"))


@pytest.mark.parametrize(
    "name",
    [
        "f",
        "f:$LATEST",
        "function:f",
        "000000000000:function:f",
        "arn:aws:lambda:us-east-1:000000000000:function:f",
        "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
    ],
)
def test_every_form_of_a_name_is_understood(box: Any, name: str) -> None:
    box.create()
    assert box.client().get_function_configuration(FunctionName=name)["FunctionName"] == "f"
    assert invoke(box.client(), 1, FunctionName=name)[0] == 1


def test_a_taken_name_is_a_conflict(box: Any) -> None:
    box.create()
    with pytest.raises(ClientError) as caught:
        box.create()
    assert code_of(caught) == ("ResourceConflictException", 409, "Function already exist: f")


@pytest.mark.parametrize(
    "operation",
    [
        "get_function",
        "get_function_configuration",
        "delete_function",
        "invoke",
        "update_function_configuration",
    ],
)
def test_an_unknown_function_is_not_found(box: Any, operation: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(box.client(), operation)(FunctionName="nobody")
    arn = "arn:aws:lambda:us-east-1:000000000000:function:nobody"
    assert code_of(caught) == ("ResourceNotFoundException", 404, f"Function not found: {arn}")


def test_an_unknown_qualifier_is_not_found(box: Any) -> None:
    box.create()
    assert invoke(box.client(), 1, Qualifier="$LATEST")[0] == 1
    with pytest.raises(ClientError) as caught:
        invoke(box.client(), 1, Qualifier="live")
    assert code_of(caught)[0] == "ResourceNotFoundException"


def test_listing_pages_by_name(box: Any) -> None:
    for number in range(5):
        box.create(f"f{number}")
    pages = box.client().get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    names = [[function["FunctionName"] for function in page["Functions"]] for page in pages]
    assert names == [["f0", "f1"], ["f2", "f3"], ["f4"]]


def test_new_code_runs_at_once_and_changes_the_revision(box: Any) -> None:
    made = box.create()
    client = box.client()
    invoke(client, 1)
    content = package({"app.py": "new = 1\n"})
    dry = client.update_function_code(FunctionName="f", ZipFile=content, DryRun=True)
    assert client.get_function_configuration(FunctionName="f")["CodeSha256"] == made["CodeSha256"]
    updated = client.update_function_code(FunctionName="f", ZipFile=content)
    assert dry["CodeSha256"] == updated["CodeSha256"] != made["CodeSha256"]
    assert updated["RevisionId"] != made["RevisionId"]
    assert invoke(client, 2)[0] == 2
    box.until(lambda: len(box.node.workers) == 1)
    assert box.node.started == 2


def test_configuration_changes_only_what_is_named(box: Any) -> None:
    box.create(Environment={"Variables": {"AA": "1"}}, Timeout=9)
    client = box.client()
    client.update_function_configuration(FunctionName="f", MemorySize=512, Handler="app.context")
    shown = client.get_function_configuration(FunctionName="f")
    assert (shown["MemorySize"], shown["Timeout"], shown["Handler"]) == (512, 9, "app.context")
    assert invoke(client, {})[0]["environment"] == {"AA": "1"}


def test_a_stale_revision_is_refused(box: Any) -> None:
    stale = box.create()["RevisionId"]
    client = box.client()
    client.update_function_configuration(FunctionName="f", Timeout=4, RevisionId=stale)
    with pytest.raises(ClientError) as caught:
        client.update_function_configuration(FunctionName="f", Timeout=5, RevisionId=stale)
    assert code_of(caught)[:2] == ("PreconditionFailedException", 412)
    assert client.get_function_configuration(FunctionName="f")["Timeout"] == 4


def test_a_deleted_function_is_gone_with_its_files(box: Any) -> None:
    box.create()
    client = box.client()
    invoke(client, 1)
    assert client.delete_function(FunctionName="f")["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(ClientError) as caught:
        invoke(client, 1)
    assert code_of(caught)[0] == "ResourceNotFoundException"
    box.until(lambda: not box.node.workers)
    box.stop_gateway()
    box.up(node=False)
    assert list((box.settings.data_dir / "store" / "sha256").iterdir()) == []


def test_functions_survive_a_restart(box: Any) -> None:
    made = box.create()
    box.stop_gateway()
    box.up(node=False)
    client = box.client()
    assert client.get_function_configuration(FunctionName="f")["RevisionId"] == made["RevisionId"]
    assert invoke(client, 3)[0] == 3


@pytest.mark.parametrize("waiter", ["function_active_v2", "function_updated_v2", "function_exists"])
def test_botocores_waiters_are_content(box: Any, waiter: str) -> None:
    box.create()
    box.client().get_waiter(waiter).wait(FunctionName="f", WaiterConfig={"Delay": 1, "MaxAttempts": 1})


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "code", "says"),
    [
        ({"Runtime": "nodejs22.x"}, "NotImplementedException", "nodejs22.x"),
        ({"Runtime": "cobol"}, "InvalidParameterValueException", "cobol"),
        (
            {"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]},
            "NotImplementedException",
            "Layers",
        ),
        ({"PackageType": "Image"}, "NotImplementedException", "PackageType"),
        ({"Publish": True}, "NotImplementedException", "Publish"),
        ({"Architectures": ["arm64"]}, "NotImplementedException", "arm64"),
        ({"MemorySize": 64}, "ValidationException", "greater than or equal to 128"),
        ({"MemorySize": 20480}, "ValidationException", "less than or equal to 10240"),
        ({"Timeout": 0}, "ValidationException", "greater than or equal to 1"),
        ({"Timeout": 901}, "ValidationException", "less than or equal to 900"),
        ({"Role": "me"}, "ValidationException", "'role'"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException", "AWS_REGION"),
        ({"Environment": {"Variables": {"AA": "x" * 4096}}}, "InvalidParameterValueException", "4KB"),
        ({"Environment": {"Variables": {"1A": "x"}}}, "ValidationException", "environment"),
        ({"Code": {"ZipFile": b"no zip"}}, "InvalidParameterValueException", "Could not unzip"),
        ({"Code": {"S3Bucket": "bucket", "S3Key": "k"}}, "NotImplementedException", "S3Bucket"),
        ({"Code": {}}, "InvalidParameterValueException", "source"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_function_that_cannot_be_is_refused_by_name(
    box: Any, members: dict[str, Any], code: str, says: str
) -> None:
    with pytest.raises(ClientError) as caught:
        box.create(**members)
    assert code_of(caught)[0] == code
    assert says in code_of(caught)[2]
    assert box.client().list_functions()["Functions"] == []


def test_values_that_change_nothing_are_accepted(box: Any) -> None:
    box.create(
        PackageType="Zip",
        Publish=False,
        TracingConfig={"Mode": "PassThrough"},
        EphemeralStorage={"Size": 512},
        Layers=[],
        Tags={},
        SnapStart={"ApplyOn": "None"},
        Architectures=["x86_64"],
    )


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("list_aliases", {"FunctionName": "f"}),
        ("publish_version", {"FunctionName": "f"}),
        ("put_function_concurrency", {"FunctionName": "f", "ReservedConcurrentExecutions": 1}),
        ("list_layers", {}),
        ("get_account_settings", {}),
        ("list_tags", {"Resource": "arn:aws:lambda:us-east-1:000000000000:function:f"}),
    ],
)
def test_an_operation_that_is_not_there_yet_is_refused_by_name(
    box: Any, operation: str, members: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(box.client(), operation)(**members)
    name = "".join(word.title() for word in operation.split("_"))
    assert code_of(caught) == ("NotImplementedException", 501, f"ESB does not support this yet: {name}")


def test_an_event_invocation_is_refused_by_name(box: Any) -> None:
    box.create()
    with pytest.raises(ClientError) as caught:
        invoke(box.client(), 1, InvocationType="Event")
    assert code_of(caught)[0] == "NotImplementedException"
    assert "Event" in code_of(caught)[2]


def test_tls_older_than_1_2_and_other_roots_are_refused(box: Any) -> None:
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        ssl.get_server_certificate(("localhost", box.port), ca_certs=ssl.get_default_verify_paths().cafile)
    old = box.tls()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("localhost", box.port)) as plain,
        pytest.raises(ssl.SSLError, match="protocol"),
    ):
        old.wrap_socket(plain, server_hostname="localhost")


# --- Invoke -------------------------------------------------------------------------------


def test_an_invocation_returns_the_payload_and_awss_headers(box: Any) -> None:
    box.create()
    result, response = invoke(box.client(), {"a": 1})
    assert result == {"a": 1}
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert response["StatusCode"] == 200
    assert response["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in response
    assert headers["content-type"] == "application/json"
    assert headers["x-amzn-trace-id"].startswith("Root=1-")
    assert len(headers["x-amzn-requestid"]) == 36


def test_a_worker_gets_awss_headers(box: Any) -> None:
    box.create(handler="app.context", Timeout=7)
    context = base64.b64encode(b'{"custom": {"k": "v\\u00e9"}}').decode()
    result, response = invoke(box.client(), {}, ClientContext=context)
    headers = result["headers"]
    assert headers["lambda-runtime-aws-request-id"] == response["ResponseMetadata"]["RequestId"]
    assert headers["lambda-runtime-invoked-function-arn"].endswith(":function:f")
    assert json.loads(headers["lambda-runtime-client-context"]) == {"custom": {"k": "vé"}}
    assert int(headers["lambda-runtime-deadline-ms"]) > 1_700_000_000_000
    assert headers["lambda-runtime-trace-id"].startswith("Root=1-")


def test_no_payload_is_an_empty_object(box: Any) -> None:
    box.create()
    assert invoke(box.client())[0] == {}


def test_a_dry_run_runs_nothing(box: Any) -> None:
    box.create()
    assert invoke(box.client(), 1, InvocationType="DryRun")[1]["StatusCode"] == 204
    assert box.node.started == 0


def test_the_tail_of_the_log_comes_with_the_answer(box: Any) -> None:
    box.create(handler="app.speaks")
    _, response = invoke(box.client(), 1, LogType="Tail")
    request = response["ResponseMetadata"]["RequestId"]
    lines = base64.b64decode(response["LogResult"]).decode().splitlines()
    assert lines[:4] == [
        f"START RequestId: {request} Version: $LATEST",
        "got 1",
        "bye",
        f"END RequestId: {request}",
    ]
    assert lines[4].startswith(f"REPORT RequestId: {request}\tDuration: ")
    assert "\tMemory Size: 128 MB\tMax Memory Used: 33 MB\tInit Duration: " in lines[4]


@pytest.mark.parametrize("payload", [b"{", b"nope", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b"1 2"])
def test_a_payload_that_is_no_json_is_refused(box: Any, payload: bytes) -> None:
    box.create()
    with pytest.raises(ClientError) as caught:
        box.client().invoke(FunctionName="f", Payload=payload)
    assert code_of(caught)[:2] == ("InvalidRequestContentException", 400)
    assert code_of(caught)[2].startswith("Could not parse request body into json")


def test_six_megabytes_pass_and_one_byte_more_does_not(box: Any) -> None:
    box.create()
    largest = b'"' + b"x" * (6_291_456 - 2) + b'"'
    assert box.client().invoke(FunctionName="f", Payload=largest)["Payload"].read() == largest
    with pytest.raises(ClientError) as caught:
        box.client().invoke(FunctionName="f", Payload=largest + b" ")
    assert code_of(caught)[:2] == ("RequestTooLargeException", 413)


@pytest.mark.parametrize("context", ["%%%", base64.b64encode(b"[1]").decode(), "A" * 3_600])
def test_a_client_context_that_cannot_be_is_refused(box: Any, context: str) -> None:
    box.create()
    with pytest.raises(ClientError) as caught:
        invoke(box.client(), 1, ClientContext=context)
    assert code_of(caught)[:2] == ("InvalidRequestContentException", 400)


# --- how functions fail -------------------------------------------------------------------


def test_a_handlers_exception_is_its_body(box: Any) -> None:
    box.create(handler="app.raises")
    result, response = invoke(box.client(), 1, LogType="Tail")
    assert response["FunctionError"] == "Unhandled"
    assert result == {"errorMessage": "no", "errorType": "ValueError", "stackTrace": []}
    assert b"Status: error\tError Type: ValueError" in base64.b64decode(response["LogResult"])


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("app.exits_in_handler", "Runtime.ExitError", "Runtime exited with error: exit status 1"),
        ("app.exits_at_once", "Runtime.ExitError", "Runtime exited with error: exit status 7"),
        ("app.killed", "Runtime.ExitError", "Runtime exited with error: signal: killed"),
        ("app.out_of_memory", "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"),
        ("app.hangs", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    ],
)
def test_a_worker_that_ends_is_told_as_aws_tells_it(box: Any, handler: str, kind: str, message: str) -> None:
    box.create(handler=handler, Timeout=1)
    result, response = invoke(box.client(), 1, LogType="Tail")
    request = response["ResponseMetadata"]["RequestId"]
    assert response["FunctionError"] == "Unhandled"
    assert result == {"errorType": kind, "errorMessage": f"RequestId: {request} Error: {message}"}
    assert message.encode() in base64.b64decode(response["LogResult"])
    assert b"REPORT RequestId" in base64.b64decode(response["LogResult"])


def test_an_import_error_is_the_runtimes_body(box: Any) -> None:
    box.create(handler="app.import_error")
    result, response = invoke(box.client(), 1)
    assert response["FunctionError"] == "Unhandled"
    assert result["errorType"] == "Runtime.ImportModuleError"


def test_an_init_that_never_ends_is_answered(make_box: Any) -> None:
    box = make_box(ESB_INIT_TIMEOUT_S="1")
    box.create(handler="app.never_polls", Timeout=30)
    result, _ = invoke(box.client(), 1)
    assert result["errorType"] == "Sandbox.Timedout"
    box.until(lambda: not box.node.workers)


def test_a_response_that_is_too_large_is_told_as_aws_tells_it(box: Any) -> None:
    box.create(handler="app.too_large")
    result, response = invoke(box.client(), 1)
    assert response["FunctionError"] == "Unhandled"
    assert result == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    }
    assert invoke(box.client(), 2)[0] == result
    assert box.node.started == 1


def test_no_free_worker_in_time_is_throttled(make_box: Any) -> None:
    box = make_box(ESB_MAX_WORKERS="1")
    box.create(handler="app.slow", Timeout=2)
    client = box.client()
    invoke(client, 0)
    with ThreadPoolExecutor(3) as pool:
        long = pool.submit(invoke, client, 1.9)
        others = [pool.submit(invoke, client, 1.9) for _ in range(2)]
        assert long.result()[0] == 1.9
        failed = [other.exception() for other in others]
    errors = [error.response["Error"] for error in failed if isinstance(error, ClientError)]
    assert [error["Code"] for error in errors] == ["TooManyRequestsException"]
    response = next(error.response for error in failed if isinstance(error, ClientError))
    assert response["Reason"] == "ConcurrentInvocationLimitExceeded"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert box.node.started == 1


def test_a_refused_start_is_an_error_of_ours(box: Any) -> None:
    box.create()
    box.node.refuse = ("NoRoom", "no memory left")
    with pytest.raises(ClientError) as caught:
        invoke(box.client(), 1)
    assert code_of(caught)[:2] == ("ServiceException", 500)
    assert "NoRoom" in code_of(caught)[2]
    box.node.refuse = None
    assert invoke(box.client(), 1)[0] == 1


def test_a_crashed_worker_is_replaced(box: Any) -> None:
    box.create(handler="app.exits_in_handler")
    for _ in range(3):
        assert invoke(box.client(), 1)[0]["errorType"] == "Runtime.ExitError"
    assert box.node.started == 3


def test_many_clients_at_once_get_their_own_answers(box: Any) -> None:
    box.create()
    client = box.client()
    with ThreadPoolExecutor(16) as pool:
        assert [result[0] for result in pool.map(lambda n: invoke(client, n), range(200))] == list(range(200))


def test_the_node_comes_back(box: Any) -> None:
    box.create(Timeout=30)
    client = box.client()
    invoke(client, 1)
    box.run(box.node.close())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(invoke, client, 2)
        box.run(box.node.open())
        assert waiting.result()[0] == 2


def test_what_runs_when_the_node_goes_is_answered(box: Any) -> None:
    runs = asyncio.Event()

    async def behaviour(runtime: Runtime) -> int:
        await runtime.next()
        runs.set()
        await asyncio.Event().wait()
        return 0

    box.behaviours["app.runs"] = behaviour
    box.create(handler="app.runs", Timeout=60)
    client = box.client()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(invoke, client, 1)
        box.run(runs.wait())
        box.run(box.node.close())
        error = running.exception(20)
    assert isinstance(error, ClientError)
    assert error.response["Error"]["Code"] == "ServiceException"
    box.run(box.node.open())


# --- cut, stopped, left -------------------------------------------------------------------


def raw(box: Any) -> ssl.SSLSocket:
    """A TLS connection without an HTTP client."""
    plain = socket.create_connection(("localhost", box.port), timeout=20)
    connection: ssl.SSLSocket = box.tls().wrap_socket(plain, server_hostname="localhost")
    return connection


def creation_request() -> bytes:
    members = {
        "FunctionName": "cut",
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "app.echo",
        "Code": {"ZipFile": base64.b64encode(package()).decode()},
    }
    body = json.dumps(members).encode()
    lines = [
        f"{name}: {value}" for name, value in signed("https://x/2015-03-31/functions", "POST", body).items()
    ]
    lines += ["Host: x", f"Content-Length: {len(body)}"]
    return "\r\n".join(["POST /2015-03-31/functions HTTP/1.1", *lines, "", ""]).encode() + body


def test_an_upload_cut_at_any_byte_leaves_nothing(box: Any) -> None:
    request = creation_request()
    for end in [*range(0, len(request), len(request) // 20), len(request) - 1]:
        with raw(box) as connection:
            connection.sendall(request[:end])
    assert box.client().list_functions()["Functions"] == []
    with raw(box) as connection:
        connection.sendall(request)
        assert connection.recv(100).startswith(b"HTTP/1.1 201 ")


def test_a_client_that_leaves_stops_nothing(box: Any) -> None:
    begun, may_end, accepted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        begun.set()
        await may_end.wait()
        reply = await runtime.respond(invocation.request, b"1")
        assert reply.status == 202
        accepted.set()
        return 0

    box.behaviours["app.left"] = behaviour
    box.create(handler="app.left", Timeout=30)
    with raw(box) as connection:
        head = f"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: x\r\nX-Api-Key: {API_KEY}\r\n"
        connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
        box.run(begun.wait())
    box.run(set_event(may_end))
    box.run(accepted.wait())


def test_stopping_answers_what_runs(box: Any) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        begun.set()
        await may_end.wait()
        await runtime.respond(invocation.request, b"1")
        return 0

    box.behaviours["app.stopped"] = behaviour
    box.create(handler="app.stopped", Timeout=30)
    client = box.client()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(invoke, client, 1)
        box.run(begun.wait())
        stopping = pool.submit(box.stop_gateway)
        box.run(refused(box.port))
        box.run(set_event(may_end))
        assert running.result(20)[0] == 1
        stopping.result(20)
    box.until(lambda: not box.node.workers)


async def refused(port: int) -> None:
    """Wait until nobody listens on ``port``."""
    with contextlib.suppress(ConnectionError):
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()


async def set_event(event: asyncio.Event) -> None:
    event.set()
