"""The verifier against botocore as the signer: what botocore signs holds, and nothing else does."""

from __future__ import annotations

import hashlib
import string
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from esb_common.sigv4 import Headers, iso, signing_key
from esb_gateway.core import signature
from esb_gateway.core.errors import Denied, IncompleteSignature, InvalidSignature
from esb_gateway.core.signature import Claim
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_700_000_000.0
KEYS = Credentials("ESBATESTTESTTESTTEST", "a/secret+of=forty characters or so, as AWS's")
Request = tuple[bytes, bytes, Headers, bytes]
"""Method, target, headers and body, as they come over the wire."""


def sign(
    kind: type[auth.SigV4Auth], method: str, url: str, headers: Any, body: bytes, **options: Any
) -> Request:
    """A request signed by botocore at :data:`NOW`."""
    request = AWSRequest(method, url, headers=dict(headers), data=body)
    moment = datetime.fromtimestamp(NOW, UTC)
    with patch("botocore.auth.get_current_datetime", lambda: moment):  # botocore takes no clock
        kind(KEYS, "lambda", "eu-west-1", **options).add_auth(request)
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    return method.encode(), target.encode(), [*sent, (b"host", parts.netloc.encode())], body


def judge(request: Request, *, now: float = NOW, secret: str = KEYS.secret_key) -> Claim:
    """The claim of a request whose signature holds. Raises what the verifier raises."""
    method, target, headers, body = request
    claim = signature.claimed(target, headers)
    assert claim is not None
    assert claim.access_key == KEYS.access_key
    signature.check_scope(claim, "eu-west-1", now)
    signature.check_payload(claim)
    key = signing_key(secret, claim.scope)
    signature.check(claim, method, headers, key, hashlib.sha256(body).hexdigest())
    return claim


texts = st.text(min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
segments = st.lists(
    st.one_of(texts.map(lambda text: quote(text, safe="")), st.sampled_from(["", ".", ".."])), max_size=5
)
queries = st.dictionaries(texts, st.text(max_size=12), max_size=5)
names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12).map(
    lambda name: f"X-Amz-Meta{name}"
)
values = st.text(string.ascii_letters + string.digits + string.punctuation + " \t", max_size=20)
headers = st.dictionaries(names, values, max_size=4)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE"])
hosts = st.sampled_from(["localhost:8443", "127.0.0.1", "[::1]:8443", "gateway"])


@st.composite
def urls(draw: Any) -> str:
    query = urlencode(draw(queries), quote_via=quote, safe="-_.~")
    path = "/" + "/".join(draw(segments))
    return f"https://{draw(hosts)}{path}" + (f"?{query}" if query else "")


@given(methods, urls(), headers, st.binary(max_size=100))
def test_what_botocore_signs_holds(method: str, url: str, given_headers: dict[str, str], body: bytes) -> None:
    request = sign(auth.SigV4Auth, method, url, given_headers, body)
    claim = judge(request)
    assert claim.asked == request[1]


@given(methods, urls(), st.integers(1, 604_800))
def test_what_botocore_presigns_holds_and_asks_for_what_was_signed(
    method: str, url: str, valid_s: int
) -> None:
    asked = sign(auth.SigV4Auth, method, url, {}, b"")[1]
    request = sign(auth.SigV4QueryAuth, method, url, {}, b"", expires=valid_s)
    path, _, query = judge(request).asked.partition(b"?")
    assert path == asked.partition(b"?")[0]
    assert sorted(query.split(b"&")) == sorted(asked.partition(b"?")[2].split(b"&"))
    judge(request, now=NOW + valid_s)
    with pytest.raises(InvalidSignature, match="Signature expired"):
        judge(request, now=NOW + valid_s + 1)


@given(urls(), st.binary(min_size=1, max_size=100), st.data())
def test_any_change_breaks_it(url: str, body: bytes, data: st.DataObject) -> None:
    method, target, sent, _ = sign(auth.SigV4Auth, "POST", url, {"X-Amz-Log-Type": "Tail"}, body)
    changed: list[Request] = [
        (b"PUT", target, sent, body),
        (method, target + b"x", sent, body),
        (method, target + (b"&" if b"?" in target else b"?") + b"added=1", sent, body),
        (method, target, sent, body + b"x"),
        (method, target, sent, body[:-1]),
        (method, target, [(name, b"evil" if name == b"host" else value) for name, value in sent], body),
        (
            method,
            target,
            [(name, b"None" if name == b"x-amz-log-type" else value) for name, value in sent],
            body,
        ),
        (method, target, [*sent, (b"x-amz-log-type", b"None")], body),
    ]
    with pytest.raises(InvalidSignature, match="does not match"):
        judge(data.draw(st.sampled_from(changed)))


@given(st.text(max_size=40).filter(lambda secret: secret != KEYS.secret_key))
def test_another_secret_breaks_it(secret: str) -> None:
    with pytest.raises(InvalidSignature, match="does not match"):
        judge(sign(auth.SigV4Auth, "GET", "https://x/", {}, b""), secret=secret)


@given(st.floats(-301, 301))
def test_a_clock_may_be_five_minutes_off(off: float) -> None:
    request = sign(auth.SigV4Auth, "GET", "https://x/", {}, b"")
    if abs(off) <= 300:
        judge(request, now=NOW + off)
        return
    says = "Signature expired: 2" if off > 0 else "Signature not yet current: 2"
    with pytest.raises(InvalidSignature, match=says):
        judge(request, now=NOW + off)


def test_an_expired_signature_is_told_as_aws_does() -> None:
    request = sign(auth.SigV4Auth, "GET", "https://x/", {}, b"")
    with pytest.raises(InvalidSignature) as caught:
        judge(request, now=NOW + 900)
    at, earliest, here = iso(NOW), iso(NOW + 600), iso(NOW + 900)
    assert caught.value.fact == f"Signature expired: {at} is now earlier than {earliest} ({here} - 5 min.)"


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_header_and_no_query_brings_it_down(authorization: str, query: str) -> None:
    headers = [
        (b"authorization", authorization.encode()),
        (b"host", b"x"),
        (b"x-amz-date", b"20250101T000000Z"),
    ]
    for target, sent in ((b"/", headers), (b"/?X-Amz-Algorithm=&" + query.encode(), headers[1:])):
        with pytest.raises(Denied):
            judge((b"GET", target, sent, b""))


GOOD = (
    "AWS4-HMAC-SHA256 Credential=ESBATESTTESTTESTTEST/20231114/eu-west-1/lambda/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)


@pytest.mark.parametrize(
    ("authorization", "error", "says"),
    [
        ("", IncompleteSignature, "requires 'Credential' parameter"),
        ("Basic dXNlcjpwYXNz", IncompleteSignature, "requires 'SignedHeaders' parameter"),
        ("Bearer token", IncompleteSignature, "requires 'Signature' parameter"),
        (
            GOOD.replace("HMAC-SHA256", "ECDSA-P256-SHA256"),
            IncompleteSignature,
            "Unsupported AWS 'algorithm'",
        ),
        (GOOD.replace("Signature=", "Signed="), IncompleteSignature, "requires 'Signature' parameter"),
        (GOOD.replace("/lambda", ""), IncompleteSignature, "exactly 5 slash-delimited"),
        (GOOD.replace("aws4_request", "aws5_request"), InvalidSignature, "valid terminator"),
        (GOOD.replace("eu-west-1", "us-east-1"), InvalidSignature, "valid region"),
        (GOOD.replace("/lambda", "/s3"), InvalidSignature, "correct service"),
        (GOOD.replace("20231114", "20231113"), InvalidSignature, "Date in Credential scope"),
        (GOOD.replace("host;", ""), InvalidSignature, "must be a 'SignedHeader'"),
        (GOOD, InvalidSignature, "does not match the signature you provided"),
    ],
)
def test_a_malformed_signature_is_told(authorization: str, error: type[Denied], says: str) -> None:
    sent = [(b"authorization", authorization.encode()), (b"host", b"x"), (b"x-amz-date", iso(NOW).encode())]
    with pytest.raises(error, match=says):
        judge((b"GET", b"/", sent, b""))


@pytest.mark.parametrize("date", [b"today", b"20231114", b"20231399T000000Z", "２０231114T221320Z".encode()])
def test_a_date_that_is_none_is_told(date: bytes) -> None:
    sent = [(b"authorization", GOOD.encode()), (b"host", b"x"), (b"x-amz-date", date)]
    with pytest.raises(IncompleteSignature, match="ISO-8601"):
        judge((b"GET", b"/", sent, b""))


def test_without_any_date_it_is_incomplete() -> None:
    with pytest.raises(IncompleteSignature, match="'X-Amz-Date' or a 'Date'"):
        judge((b"GET", b"/", [(b"authorization", GOOD.encode()), (b"host", b"x")], b""))


def test_a_date_header_does_as_well() -> None:
    judge(sign(auth.SigV4Auth, "GET", "https://x/", {"Date": "any"}, b""))


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
def test_an_unsigned_payload_is_refused_by_name(payload: str) -> None:
    request = sign(auth.SigV4Auth, "POST", "https://x/", {"X-Amz-Content-SHA256": payload}, b"body")
    with pytest.raises(InvalidSignature, match="always signed here"):
        judge(request)


def test_a_payload_hash_of_another_payload_is_refused() -> None:
    other = hashlib.sha256(b"other").hexdigest()
    request = sign(auth.SigV4Auth, "POST", "https://x/", {"X-Amz-Content-SHA256": other}, b"body")
    with pytest.raises(InvalidSignature, match="does not match what was computed"):
        judge(request)


@pytest.mark.parametrize("lacking", ["Credential", "Date", "SignedHeaders", "Expires"])
def test_a_presigned_request_is_whole_or_incomplete(lacking: str) -> None:
    method, target, sent, body = sign(auth.SigV4QueryAuth, "GET", "https://x/", {}, b"")
    with pytest.raises(IncompleteSignature, match=f"X-Amz-{lacking}"):
        judge((method, target.replace(f"X-Amz-{lacking}=".encode(), b"x="), sent, body))


def test_two_signatures_are_one_too_many() -> None:
    method, target, sent, body = sign(auth.SigV4QueryAuth, "GET", "https://x/", {}, b"")
    with pytest.raises(IncompleteSignature, match="more than once"):
        judge((method, target, [*sent, (b"authorization", GOOD.encode())], body))
    with pytest.raises(IncompleteSignature, match="twice"):
        judge((method, target + b"&X-Amz-Date=20250101T000000Z", sent, body))


def test_without_a_signature_nothing_is_claimed() -> None:
    assert signature.claimed(b"/?a=1", [(b"host", b"x")]) is None
