"""Who is let in, over the real door: names, statuses and bodies as AWS's; keys, limits, open pages."""

from __future__ import annotations

import http.client
import json
import urllib.error
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from callers import API_KEY, KNOWN, SLOW_API_KEY, signed, write_credentials
from esb_common.errors import BadInput
from esb_common.log import Log
from esb_gateway.core.rate import Bucket
from esb_gateway.hands.keyring import Keyring, read
from hypothesis import given
from hypothesis import strategies as st

INVOKE = "/2015-03-31/functions/f/invocations"


class Answer:
    """Status, error type and decoded body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.type = response.headers["x-amzn-ErrorType"]
        self.body = json.loads(response.read() or b"null")


@contextmanager
def connection(box: Any, *, plain: bool = False) -> Iterator[http.client.HTTPConnection]:
    opened = (
        http.client.HTTPConnection("127.0.0.1", box.http_port, timeout=20)
        if plain
        else http.client.HTTPSConnection("localhost", box.port, context=box.tls(), timeout=20)
    )
    with closing(opened):
        yield opened


def ask(
    box: Any,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    plain: bool = False,
) -> Answer:
    with connection(box, plain=plain) as opened:
        opened.request(method, path, body, headers or {})
        return Answer(opened.getresponse())


def key(text: str) -> dict[str, str]:
    return {"X-Api-Key": text}


def test_without_credentials_nobody_comes_in(box: Any) -> None:
    for method, path in (
        ("GET", "/2015-03-31/functions"),
        ("POST", INVOKE),
        ("GET", "/"),
        ("GET", "/_esb/status"),
    ):
        answer = ask(box, method, path)
        assert (answer.status, answer.type) == (403, "MissingAuthenticationTokenException")
        assert answer.body == {"message": "Missing Authentication Token"}


def test_health_is_for_everybody_and_logs_and_status_are_not(box: Any) -> None:
    box.create()
    assert ask(box, "GET", "/_esb/health").status == 200
    for path in ("/_esb/status", "/_esb/logs/f"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            box.get(path, sign=False)
        assert box.get(path) is not None


def test_a_package_needs_no_more_than_its_address(box: Any) -> None:
    box.create()
    location = box.client().get_function(FunctionName="f")["Code"]["Location"]
    assert box.get(location, sign=False)


def client(box: Any, access_key: str, secret: str, **more: Any) -> Any:
    return boto3.session.Session().client(
        "lambda",
        endpoint_url=f"https://localhost:{box.port}",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        verify=str(box.certificates / "rootCA.crt"),
        config=Config(retries={"total_max_attempts": 1}),
        **({"region_name": "us-east-1"} | more),
    )


@pytest.mark.parametrize(
    ("access_key", "secret", "more", "code"),
    [
        ("ESBAOTHEROTHEROTHER", KNOWN.secret_access_key, {}, "UnrecognizedClientException"),
        (KNOWN.access_key_id, "another secret", {}, "InvalidSignatureException"),
        (
            KNOWN.access_key_id,
            KNOWN.secret_access_key,
            {"region_name": "eu-west-1"},
            "InvalidSignatureException",
        ),
        (
            KNOWN.access_key_id,
            KNOWN.secret_access_key,
            {"aws_session_token": "t"},
            "UnrecognizedClientException",
        ),
    ],
)
def test_boto3_sees_aws_own_errors(
    box: Any, access_key: str, secret: str, more: dict[str, str], code: str
) -> None:
    with pytest.raises(ClientError) as caught:
        client(box, access_key, secret, **more).list_functions()
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, 403)


def test_a_large_upload_is_checked_too(box: Any) -> None:
    body = json.dumps({"FunctionName": "f", "Description": "x" * 2_000_000}).encode()
    url = f"https://localhost:{box.port}/2015-03-31/functions"
    assert ask(box, "POST", "/2015-03-31/functions", body, headers=signed(url, "POST", body)).status == 400
    answer = ask(box, "POST", "/2015-03-31/functions", body, headers=signed(url, "POST", body + b" "))
    assert (answer.status, answer.type) == (403, "InvalidSignatureException")


def test_what_is_not_there_is_told_to_those_who_may_know(box: Any) -> None:
    url = f"https://localhost:{box.port}/2099-01-01/nothing"
    assert ask(box, "GET", "/2099-01-01/nothing", headers=signed(url)).status == 404
    assert (
        ask(box, "GET", "/2099-01-01/nothing", headers=signed(url, "PUT")).type == "InvalidSignatureException"
    )


def test_an_api_key_invokes_and_does_nothing_else(box: Any) -> None:
    box.create()
    assert ask(box, "POST", INVOKE, b"[1]", headers=key(API_KEY)).body == [1]
    for method, path in (
        ("GET", "/2015-03-31/functions"),
        ("DELETE", "/2015-03-31/functions/f"),
        ("GET", "/_esb/status"),
    ):
        answer = ask(box, method, path, headers=key(API_KEY))
        assert (answer.status, answer.type) == (403, "AccessDeniedException")
    assert ask(box, "POST", INVOKE, b"1", headers=key("wrong")).type == "UnrecognizedClientException"


def test_a_key_calls_no_faster_than_it_may(box: Any) -> None:
    box.create()
    answers = [ask(box, "POST", INVOKE, b"1", headers=key(SLOW_API_KEY)) for _ in range(6)]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(answers) - len(refused) >= 2
    assert len(refused) >= 2
    assert {(answer.type, answer.body["Reason"]) for answer in refused} == {
        ("TooManyRequestsException", "CallerRateLimitExceeded")
    }
    assert ask(box, "POST", INVOKE, b"1", headers=key(API_KEY)).status == 200


def test_plain_http_is_the_same_door(make_box: Any) -> None:
    box = make_box(ESB_HTTP_PORT="0")
    box.create()
    assert ask(box, "POST", INVOKE, b"[1]", plain=True, headers=key(API_KEY)).body == [1]
    assert ask(box, "POST", INVOKE, b"[1]", plain=True).status == 403
    path = "/2015-03-31/functions/f"
    shown = ask(box, "GET", path, plain=True, headers=signed(f"http://127.0.0.1:{box.http_port}{path}"))
    assert shown.body["Code"]["Location"].startswith(f"http://127.0.0.1:{box.http_port}/_esb/code/")


def test_authentication_can_be_left_out_on_this_machine(make_box: Any) -> None:
    box = make_box(ESB_NO_AUTHENTICATION="1")
    assert ask(box, "GET", "/2015-03-31/functions").body == {"Functions": []}
    assert json.loads(box.get("/_esb/status", sign=False))["authentication"] == "none"


# --- the file -----------------------------------------------------------------------------


def test_a_replaced_file_is_seen_and_a_broken_one_changes_nothing(tmp_path: Any) -> None:
    ring = Keyring(write_credentials(tmp_path), Log("gateway"))
    told: list[Any] = []
    ring.look(told.append)
    assert told == []
    fewer = replace(KNOWN, api_keys=())
    write_credentials(tmp_path, fewer)
    ring.look(told.append)
    (tmp_path / "credentials.json").write_text("{")
    ring.look(told.append)
    (tmp_path / "credentials.json").unlink()
    ring.look(told.append)
    assert told == [fewer]
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path / "credentials.json")


def test_a_removed_key_is_refused_within_moments(box: Any) -> None:
    box.create()
    folder = box.settings.credentials_dir
    write_credentials(folder, replace(KNOWN, api_keys=()))
    statuses = iter(lambda: ask(box, "POST", INVOKE, b"1", headers=key(API_KEY)).status, 403)
    assert sum(1 for _ in statuses) < 10_000


# --- the bucket ---------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 50), st.lists(st.floats(0, 2), max_size=200))
def test_a_bucket_never_gives_more_than_its_rate(per_s: int, burst: int, pauses: list[float]) -> None:
    bucket, now, given_out = Bucket(per_s, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        given_out += bucket.take(now)
        assert given_out <= burst + per_s * now + 1e-6


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_bucket_gives_its_burst_at_once_and_then_waits(per_s: int, burst: int) -> None:
    bucket = Bucket(per_s, burst, 5.0)
    assert [bucket.take(5.0) for _ in range(burst + 1)] == [True] * burst + [False]
    assert bucket.take(5.0 + 1.01 / per_s)
