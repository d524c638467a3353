"""Who may call the running box, and where its secrets do not show."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from e2e.box import WAIT_S, Box
from e2e.conftest import Functions
from esb_builder import engine
from esb_builder.voice import Recorded

pytestmark = pytest.mark.box

INVOKE = "/2015-03-31/functions/hello/invocations"
MARK = "envvalue7f3a9c51"
SECRETIVE = """
import os

def handler(event, context):
    if event:
        os._exit(3)
    return len(os.environ["SECRET"])
"""


def status_of(opened: http.client.HTTPConnection, method: str, path: str, **headers: str) -> int:
    with closing(opened):
        body = "{}" if method == "POST" else None
        opened.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return opened.getresponse().status


def secured(box: Box) -> http.client.HTTPSConnection:
    trust = ssl.create_default_context(cafile=box.variables()["AWS_CA_BUNDLE"])
    return http.client.HTTPSConnection("localhost", box.port, context=trust, timeout=WAIT_S)


def plain(box: Box) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", box.http_port, timeout=WAIT_S)


@pytest.mark.parametrize("connect", [secured, plain])
def test_a_stranger_gets_the_health_and_nothing_else(box: Box, connect: Any) -> None:
    assert status_of(connect(box), "GET", "/_esb/health") == 200
    for method, path in (
        ("POST", INVOKE),
        ("GET", "/_esb/status"),
        ("GET", "/_esb/logs/hello"),
        ("GET", "/"),
    ):
        assert status_of(connect(box), method, path) == 403


def test_a_wrong_secret_is_aws_own_error(box: Box, aws: Any) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidSignatureException"):
        box.client(secret="not the secret of this box").list_functions()


@pytest.fixture
def key(box: Box) -> Iterator[str]:
    made = box.json("api-key", "add", "a-test", "--rate", "50")
    yield made["key"]
    if made["name"] in {one["name"] for one in box.json("api-key", "list")["keys"]}:
        box.esb("api-key", "remove", "a-test")


@pytest.mark.parametrize("connect", [secured, plain])
def test_an_api_key_calls_until_it_is_removed(box: Box, key: str, connect: Any) -> None:
    # The gateway takes a changed file over within a second; every turn is a whole call.
    statuses = iter(lambda: status_of(connect(box), "POST", INVOKE, X_Api_Key=key), 200)
    assert set(statuses) <= {403}
    assert status_of(connect(box), "GET", "/_esb/status", X_Api_Key=key) == 403
    box.esb("api-key", "remove", "a-test")
    assert set(iter(lambda: status_of(connect(box), "POST", INVOKE, X_Api_Key=key), 403)) <= {200, 429}


def logs(box: Box) -> str:
    """All that gateway and node said."""
    if box.mode == "embedded":
        return "".join(path.read_text(errors="replace") for path in (box.home / "box/log").iterdir())
    found = engine.ensure(engine.Place.from_environ(box.environ), Recorded())
    programs = box.json("status")["programs"].values()
    done = [found.docker("logs", program["container"]) for program in programs]
    return "".join(one.stdout + one.stderr for one in done)


def processes(pids: set[str] | None = None) -> str:
    """Every process's arguments, and the environment of ``pids``."""
    texts = []
    for place in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            if name == "environ" and place.name not in (pids or ()):
                continue
            try:
                texts.append((place / name).read_bytes().decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return "\n".join(texts)


def test_secrets_show_in_no_log_error_argument_or_status(
    box: Box, aws: Any, functions: Functions, key: str
) -> None:
    told = box.variables()
    name = functions.create(SECRETIVE, Environment={"Variables": {"SECRET": MARK}})
    assert json.loads(aws.invoke(FunctionName=name, Payload="0")["Payload"].read()) == len(MARK)
    errors = [aws.invoke(FunctionName=name, Payload="1")["Payload"].read().decode()]
    for variables in ({"SECRET": MARK * 500}, {"1": MARK}, {"AWS_REGION": MARK}):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            aws.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        errors.append(str(caught.value))
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        box.client(secret="another").list_functions()
    errors.append(str(refused.value))
    status = box.json("status")
    pids = {str(program["pid"]) for program in status["programs"].values()}
    seen = [*errors, json.dumps(status), logs(box), box.esb("logs", name), processes(pids)]
    assert all(seen)
    for secret in (MARK, told["AWS_SECRET_ACCESS_KEY"], key):
        assert not [text[:200] for text in seen if secret in text]
