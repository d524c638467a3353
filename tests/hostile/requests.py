"""Bad requests: signatures, JSON, names, values, payloads and operations."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from e2e.box import zipped
from hostile.caller import FUNCTIONS, ROLE, Caller, Reply
from hostile.kind import Kind

HELLO = f"{FUNCTIONS}/hello"
INVOKE = f"{HELLO}/invocations"
GOOD = {
    "FunctionName": "hostile",
    "Runtime": "python3.12",
    "Role": ROLE,
    "Handler": "app.handler",
    "Code": {"ZipFile": base64.b64encode(zipped(app="def handler(e, c): return e\n")).decode()},
}


def unsigned(**headers: str) -> Callable[[Caller], Reply]:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return lambda caller: caller.raw(
        "\r\n".join([f"GET {HELLO} HTTP/1.1", "Host: x", *lines, "", ""]).encode()
    )


def spoilt(**options: Any) -> Callable[[Caller], Reply]:
    """A good request whose signature is not."""
    return lambda caller: caller.signed("GET", HELLO, **options)


def elsewhere(**changed: str) -> Callable[[Caller], Reply]:
    return lambda caller: caller.signed("GET", HELLO, keys=replace(caller.keys, **changed))


def asked(method: str, target: str, body: bytes = b"", **headers: str) -> Callable[[Caller], Reply]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda caller: caller.signed(method, target, body, headers=sent)


def made(**members: Any) -> Callable[[Caller], Reply]:
    """CreateFunction with members that differ from a good request; ``...`` leaves one out."""
    content = {name: value for name, value in (GOOD | members).items() if value is not ...}
    return lambda caller: caller.json("POST", FUNCTIONS, content)


def told(content: bytes) -> Callable[[Caller], Reply]:
    """CreateFunction with this body."""
    return asked("POST", FUNCTIONS, content)


def variables(content: Mapping[str, Any]) -> Callable[[Caller], Reply]:
    return made(Environment={"Variables": content})


def called(event: bytes = b"{}", **headers: str) -> Callable[[Caller], Reply]:
    return asked("POST", INVOKE, event, **headers)


def replayed(caller: Caller) -> Reply:
    """A signature of another body."""
    head = caller.head("POST", INVOKE, b"{}", {}, caller.keys, time.time(), None)
    return caller.raw(head + b"[]")


def moved(caller: Caller) -> Reply:
    """A signature of another path."""
    head = caller.head("GET", HELLO, b"", {}, caller.keys, time.time(), None)
    return caller.raw(head.replace(HELLO.encode(), FUNCTIONS.encode(), 1))


DEEP = b"[" * 200_000 + b"]" * 200_000

KINDS = (
    # --- who asks
    Kind("no credentials", "403 MissingAuthenticationTokenException", unsigned()),
    Kind("a password", "403 IncompleteSignatureException", unsigned(Authorization="Basic dXNlcjpwYXNz")),
    Kind(
        "an Authorization of random letters",
        "403 IncompleteSignatureException",
        unsigned(Authorization="AWS4-HMAC-SHA256 ,,,===;;;//\\x00"),
    ),
    Kind(
        "a signature of another algorithm",
        "403 IncompleteSignatureException",
        unsigned(Authorization="AWS4-ECDSA-P256-SHA256 Credential=a"),
    ),
    Kind(
        "an access key that was never given out",
        "403 UnrecognizedClientException",
        elsewhere(access_key="ESBAFORGEDFORGEDFORG"),
    ),
    Kind("a wrong secret", "403 InvalidSignatureException", elsewhere(secret="wrong")),
    Kind("a signature for another region", "403 InvalidSignatureException", elsewhere(region="eu-west-1")),
    Kind("a signature of an hour ago", "403 InvalidSignatureException", spoilt(ago_s=3600)),
    Kind("a signature of tomorrow", "403 InvalidSignatureException", spoilt(ago_s=-86_400)),
    Kind(
        "a session token",
        "403 UnrecognizedClientException",
        spoilt(headers={"X-Amz-Security-Token": "token"}),
    ),
    Kind("an unsigned payload", "403 InvalidSignatureException", spoilt(payload="UNSIGNED-PAYLOAD")),
    Kind(
        "a streamed payload",
        "403 InvalidSignatureException",
        spoilt(payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    ),
    Kind("the signature of another body", "403 InvalidSignatureException", replayed),
    Kind("the signature of another path", "403 InvalidSignatureException", moved),
    Kind(
        "a presigned address without its date",
        "403 IncompleteSignatureException",
        asked("GET", f"{HELLO}?X-Amz-Signature=0"),
    ),
    Kind(
        "an API key that was never given out", "403 UnrecognizedClientException", unsigned(X_Api_Key="wrong")
    ),
    Kind(
        "an API key that wants more than a call",
        "403 AccessDeniedException",
        lambda caller: caller.raw(
            f"DELETE {HELLO} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {caller.api_key}\r\n\r\n".encode()
        ),
    ),
    # --- what is asked
    Kind("a path that there is not", "404 UnknownOperationException", asked("GET", "/2099-01-01/nothing")),
    Kind("a method that the path does not have", "404 UnknownOperationException", asked("PATCH", HELLO)),
    Kind(
        "an operation that ESB has not yet", "501 NotImplementedException", asked("GET", "/2018-10-31/layers")
    ),
    Kind("an asynchronous call", "501 NotImplementedException", called(X_Amz_Invocation_Type="Event")),
    Kind(
        "a kind of call that there is not", "400 ValidationException", called(X_Amz_Invocation_Type="Shout")
    ),
    Kind("a kind of log that there is not", "400 ValidationException", called(X_Amz_Log_Type="Head")),
    Kind(
        "a query parameter that there is not",
        "400 InvalidParameterValueException",
        asked("GET", f"{HELLO}?Colour=red"),
    ),
    Kind(
        "50 query parameters",
        "400 InvalidParameterValueException",
        asked("GET", f"{HELLO}?" + "&".join(f"a{i}=1" for i in range(50))),
    ),
    Kind("a page of no items", "400 ValidationException", asked("GET", f"{FUNCTIONS}?MaxItems=0")),
    Kind(
        "a page of many items, in words",
        "400 ValidationException",
        asked("GET", f"{FUNCTIONS}?MaxItems=many"),
    ),
    Kind(
        "a marker that was never given out",
        "400 InvalidParameterValueException",
        asked("GET", f"{FUNCTIONS}?Marker=%FF%00"),
    ),
    # --- names
    Kind(
        "a function that there is not",
        "404 ResourceNotFoundException",
        asked("POST", f"{FUNCTIONS}/nobody/invocations", b"{}"),
    ),
    Kind(
        "a name that climbs", "400 ValidationException", asked("GET", f"{FUNCTIONS}/..%2F..%2Fetc%2Fpasswd")
    ),
    Kind("dots for a name", "400 ValidationException", asked("GET", f"{FUNCTIONS}/..")),
    Kind("a name with a NUL", "400 ValidationException", asked("GET", f"{FUNCTIONS}/a%00b")),
    Kind("a name that is not UTF-8", "400 ValidationException", asked("GET", f"{FUNCTIONS}/%FF%FE")),
    Kind("a name of 10,000 letters", "400 ValidationException", asked("GET", f"{FUNCTIONS}/{'a' * 10_000}")),
    Kind("no name", "404 UnknownOperationException", asked("GET", f"{FUNCTIONS}//configuration")),
    Kind(
        "an ARN of another region",
        "404 ResourceNotFoundException",
        asked("GET", f"{FUNCTIONS}/arn%3Aaws%3Alambda%3Aeu-west-1%3A000000000000%3Afunction%3Ahello"),
    ),
    Kind(
        "an ARN of another account",
        "404 ResourceNotFoundException",
        asked("GET", f"{FUNCTIONS}/123456789012%3Afunction%3Ahello"),
    ),
    Kind(
        "a version that there is not", "404 ResourceNotFoundException", asked("GET", f"{HELLO}?Qualifier=7")
    ),
    Kind("a name that is taken", "409 ResourceConflictException", made(FunctionName="hello")),
    Kind("a name with a space", "400 ValidationException", made(FunctionName="a b")),
    # --- bodies
    Kind("a body that is not JSON", "400 InvalidRequestContentException", told(b"<xml/>")),
    Kind("half a JSON body", "400 InvalidRequestContentException", told(json.dumps(GOOD).encode()[:-20])),
    Kind("JSON that is not an object", "400 InvalidRequestContentException", told(b"[1, 2]")),
    Kind("NaN in JSON", "400 InvalidRequestContentException", told(b'{"Timeout": NaN}')),
    Kind("JSON nested 200,000 deep", "400 InvalidRequestContentException", told(DEEP)),
    Kind(
        "JSON that is not UTF-8", "400 InvalidRequestContentException", told(b'{"FunctionName": "\xff\xfe"}')
    ),
    Kind(
        "JSON in UTF-16", "400 InvalidRequestContentException", told('{"FunctionName": "f"}'.encode("utf-16"))
    ),
    Kind("JSON after a byte order mark", "400 InvalidRequestContentException", told(b"\xef\xbb\xbf{}")),
    Kind(
        "a compressed body",
        "400 InvalidRequestContentException",
        asked("POST", FUNCTIONS, b"\x1f\x8b\x08\x00" + b"\0" * 40, Content_Encoding="gzip"),
    ),
    Kind(
        "a form instead of JSON",
        "400 InvalidRequestContentException",
        asked("POST", FUNCTIONS, b"FunctionName=f", Content_Type="application/x-www-form-urlencoded"),
    ),
    Kind("a member that there is not", "400 InvalidRequestContentException", made(Colour="red")),
    Kind("a number that is a text", "400 InvalidRequestContentException", made(Timeout="3")),
    Kind("a number that is true", "400 InvalidRequestContentException", made(MemorySize=True)),
    Kind("a number with a fraction", "400 InvalidRequestContentException", made(Timeout=2.5)),
    Kind("a number of 4,000 digits", "400 ValidationException", told(b'{"Timeout": ' + b"9" * 4000 + b"}")),
    Kind(
        "a number of 5,000 digits",
        "400 InvalidRequestContentException",
        told(b'{"Timeout": ' + b"9" * 5000 + b"}"),
    ),
    Kind("a text that is a list", "400 InvalidRequestContentException", made(Handler=["app.handler"])),
    Kind("a time of nothing", "400 ValidationException", made(Timeout=0)),
    Kind("a time of an hour", "400 ValidationException", made(Timeout=3600)),
    Kind("memory of 64 MB", "400 ValidationException", made(MemorySize=64)),
    Kind("memory of a terabyte", "400 ValidationException", made(MemorySize=1_048_576)),
    Kind("a role that is none", "400 ValidationException", made(Role="root")),
    Kind("a handler with spaces", "400 ValidationException", made(Handler="rm -rf /")),
    Kind("a runtime that ESB has not yet", "501 NotImplementedException", made(Runtime="nodejs22.x")),
    Kind("a runtime that there is not", "400 InvalidParameterValueException", made(Runtime="cobol")),
    Kind("no handler", "400 InvalidParameterValueException", made(Handler=...)),
    Kind("no code", "400 InvalidParameterValueException", made(Code={})),
    Kind(
        "a description with half a letter",
        "400 InvalidRequestContentException",
        told(json.dumps(GOOD | {"Description": "\ud800"}).encode()),
    ),
    Kind("a description of 10,000 letters", "400 ValidationException", made(Description="x" * 10_000)),
    Kind("a variable whose name is a number", "400 ValidationException", variables({"1": "x"})),
    Kind(
        "a variable of AWS's own",
        "400 InvalidParameterValueException",
        variables({"AWS_LAMBDA_RUNTIME_API": "x"}),
    ),
    Kind("a variable that is a number", "400 ValidationException", variables({"A": 1})),
    Kind("a variable with a NUL", "400 InvalidRequestContentException", variables({"AA": "a\0b"})),
    Kind("a variable with half a letter", "400 InvalidRequestContentException", variables({"AA": "\ud800"})),
    Kind("variables of more than 4 KB", "400 InvalidParameterValueException", variables({"AA": "x" * 5000})),
    Kind(
        "variables that are a list",
        "400 InvalidRequestContentException",
        made(Environment={"Variables": ["A"]}),
    ),
    # --- events
    Kind("an event that is not JSON", "400 InvalidRequestContentException", called(b"hello")),
    Kind("an event of NaN", "400 InvalidRequestContentException", called(b"NaN")),
    Kind("an event that is not UTF-8", "400 InvalidRequestContentException", called(b'"\xff"')),
    Kind("an event nested 200,000 deep", "400 InvalidRequestContentException", called(DEEP)),
    Kind("an event of 7 MB", "413 RequestTooLargeException", called(b'"' + b"x" * 7_000_000 + b'"')),
    Kind(
        "a context that is not base64",
        "400 InvalidRequestContentException",
        called(X_Amz_Client_Context="***"),
    ),
    Kind(
        "a context that is a list",
        "400 InvalidRequestContentException",
        called(X_Amz_Client_Context=base64.b64encode(b"[]").decode()),
    ),
    Kind("a context of 8 KB", "400 InvalidRequestContentException", called(X_Amz_Client_Context="A" * 8192)),
    Kind("a trace header of 2,000 letters", "200", called(X_Amzn_Trace_Id="x" * 2000)),
    Kind(
        "an update of 2 MB without code",
        "413 RequestEntityTooLargeException",
        asked("PUT", f"{HELLO}/configuration", b" " * 2_000_000),
    ),
    Kind("an upload of 75 MB", "413 RequestEntityTooLargeException", told(b'"' + b"x" * 75_000_000 + b'"')),
)
