"""What an Invoke request asks for, from its headers and its body."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable

from esb_gateway.core.errors import InvalidRequestContent, NotSupported, PayloadTooLarge
from esb_gateway.core.names import violation
from esb_gateway.core.requests import parse_json

MAX_PAYLOAD = 6_291_456
MAX_CLIENT_CONTEXT = 3_583
_TRACE = re.compile(r"[!-~]{1,512}")


def invocation_type(value: str | None) -> bool:
    """Whether it is to be run (RequestResponse) or only checked (DryRun)."""
    match value:
        case None | "RequestResponse":
            return True
        case "DryRun":
            return False
        case "Event":
            raise NotSupported("InvocationType Event of Invoke")
        case _:
            raise violation(
                value[:100],
                "invocationType",
                "Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
            )


def wants_tail(value: str | None) -> bool:
    """Whether the end of the log goes into the answer."""
    if value not in (None, "None", "Tail"):
        raise violation(value[:100], "logType", "Member must satisfy enum value set: [None, Tail]")
    return value == "Tail"


def client_context(value: str | None) -> str | None:
    """The context's JSON on one line of ASCII, as a runtime reads it from a header."""
    if value is None:
        return None
    if len(value) > MAX_CLIENT_CONTEXT:
        raise InvalidRequestContent(
            f"Client context must be at most {MAX_CLIENT_CONTEXT} bytes when base64-encoded."
        )
    try:
        members = parse_json(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        members = None
    if not isinstance(members, dict):
        raise InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.")
    return json.dumps(members, separators=(",", ":"))


def payload(body: bytes) -> bytes:
    """The event; none at all is an empty object, as on AWS."""
    if not body:
        return b"{}"
    try:
        parse_json(body)
    except ValueError as error:
        raise InvalidRequestContent(
            f"Could not parse request body into json: Could not parse payload into json: {error}"
        ) from None
    return body


def too_large() -> PayloadTooLarge:
    """The refusal of an event beyond :data:`MAX_PAYLOAD`."""
    return PayloadTooLarge(
        f"Request must be smaller than {MAX_PAYLOAD} bytes for the InvokeFunction operation"
    )


def trace(value: str | None, wall: float, random_hex: Callable[[int], str]) -> str:
    """The trace header that came with the request, or a new one that is not sampled.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    if value is not None and _TRACE.fullmatch(value):
        return value
    random = random_hex(20)
    return f"Root=1-{int(wall):08x}-{random[:24]};Parent={random[24:]};Sampled=0"
