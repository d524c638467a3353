"""Requests generated from AWS's own model of the Lambda API: mostly of the right shape, never all of it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import botocore.session
from hypothesis import strategies as st

MODEL = botocore.session.get_session().get_service_model("lambda")
OPERATIONS = tuple(sorted(MODEL.operation_names))
SUPPORTED = (
    "CreateFunction",
    "DeleteFunction",
    "GetFunction",
    "GetFunctionConfiguration",
    "Invoke",
    "ListFunctions",
    "UpdateFunctionCode",
    "UpdateFunctionConfiguration",
)
NAMES = (
    "packed",
    "generated",
    "packed:$LATEST",
    "arn:aws:lambda:us-east-1:000000000000:function:packed",
    "nobody",
)
DEPTH = 4
_WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.just([]),
    st.just({}),
    st.just([{"a": [1]}]),
)


@dataclass(frozen=True, slots=True)
class Generated:
    """One request, unsigned."""

    operation: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@st.composite
def requests(draw: st.DrawFn) -> Generated:
    """A request, half of the time of an operation that ESB has; a tenth of all values is of a wrong type."""
    name = draw(st.one_of(st.sampled_from(SUPPORTED), st.sampled_from(OPERATIONS)))
    shape = MODEL.operation_model(name).input_shape
    http = MODEL.operation_model(name).http
    placed: dict[str, dict[str, Any]] = {"uri": {}, "querystring": {}, "header": {}, "body": {}}
    payload: Any = None
    for member, inner in (shape.members if shape else {}).items():
        where = inner.serialization.get("location", "body")
        needed = where == "uri" or (member in shape.required_members and draw(st.integers(0, 9)))
        if not needed and draw(st.integers(0, 3)):
            continue
        value = draw(values(inner, DEPTH, member))
        if member == shape.serialization.get("payload"):
            payload = value
        else:
            placed.setdefault(where, {})[inner.serialization.get("name", member)] = value
    body = _body(payload, placed["body"], draw(st.integers(0, 19)))
    headers = {key: header for key, value in placed["header"].items() if (header := _header(value))}
    return Generated(name, http["method"], _target(http["requestUri"], placed), headers, body)


def values(shape: Any, depth: int, member: str = "") -> st.SearchStrategy[Any]:
    """A value of a shape, or sometimes one of another."""
    right = _right(shape, depth, member)
    return st.integers(0, 9).flatmap(lambda chance: right if chance else _WRONG)


def _right(shape: Any, depth: int, member: str) -> st.SearchStrategy[Any]:
    match shape.type_name:
        case "structure" if depth:
            chosen = {name: values(inner, depth - 1, name) for name, inner in shape.members.items()}
            return st.fixed_dictionaries({}, optional=chosen)
        case "list" if depth:
            return st.lists(values(shape.member, depth - 1), max_size=2)
        case "map" if depth:
            return st.dictionaries(
                st.text("ABCabc_01", max_size=8), values(shape.value, depth - 1), max_size=3
            )
        case "string":
            return _text(shape, member)
        case "integer" | "long":
            return st.one_of(st.integers(0, 1100), st.integers())
        case "float" | "double":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "blob":
            return st.binary(max_size=60).map(lambda content: base64.b64encode(content).decode())
        case "timestamp":
            return st.integers(0, 2**33).map(lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat())
        case _:
            return _WRONG


def _text(shape: Any, member: str) -> st.SearchStrategy[str]:
    if member == "FunctionName":
        return st.one_of(st.sampled_from(NAMES), st.text(max_size=10))
    if shape.enum:
        return st.sampled_from(list(shape.enum))
    free = st.text(max_size=30)
    try:
        pattern = re.compile(shape.metadata.get("pattern", ""), re.ASCII)
    except re.error:  # a pattern that only Java reads
        return free
    return st.one_of(st.from_regex(pattern, fullmatch=True), free) if pattern.pattern else free


def _body(payload: Any, members: dict[str, Any], chance: int) -> bytes:
    if isinstance(payload, str):
        return payload.encode() if chance % 2 else json.dumps(payload).encode()
    if payload is not None or members:
        content = json.dumps(members if payload is None else payload).encode()
        return content[: len(content) // 2] if chance == 0 else content
    return b""


def _header(value: Any) -> str:
    """What of a value a header can carry."""
    return re.sub(r"[^!-~ ]", "", str(value)).strip()


def _target(template: str, placed: dict[str, dict[str, Any]]) -> str:
    path, _, fixed = template.partition("?")
    for name, value in placed["uri"].items():
        text = quote(str(value), safe="").replace(".", "%2E")
        path = path.replace("{" + name + "}", text).replace("{" + name + "+}", text)
    query = urlencode(placed["querystring"], quote_via=quote, safe="-_.~", errors="replace")
    both = "&".join(part for part in (fixed, query) if part)
    return f"{path}?{both}" if both else path
