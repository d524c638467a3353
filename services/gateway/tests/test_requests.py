"""What request bodies, names and headers may say."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import botocore
import pytest
from esb_gateway.core import invoke, operations, requests
from esb_gateway.core.errors import (
    InvalidParameterValue,
    InvalidRequestContent,
    LambdaError,
    NotFound,
    Validation,
)
from esb_gateway.core.names import Place, new_name, resolve
from hypothesis import given, settings
from hypothesis import strategies as st

PLACE = Place("eu-west-1", "123456789012")
CREATE: dict[str, Any] = {
    "FunctionName": "f",
    "Role": "arn:aws:iam::123456789012:role/service-role/r",
    "Runtime": "python3.12",
    "Handler": "app.handler",
    "Code": {"ZipFile": base64.b64encode(b"zip").decode()},
}


def model() -> dict[str, Any]:
    """botocore's model of Lambda."""
    folder = Path(botocore.__file__).parent / "data" / "lambda" / "2015-03-31"
    with gzip.open(folder / "service-2.json.gz") as file:
        content: dict[str, Any] = json.load(file)
        return content


@pytest.mark.parametrize("missing", ["FunctionName", "Role", "Code"])
def test_a_required_member_is_missed(missing: str) -> None:
    members = {name: value for name, value in CREATE.items() if name != missing}
    with pytest.raises(
        Validation, match=r"Value null at '.*' failed to satisfy constraint: Member must not be null"
    ):
        requests.creation(members, "x86_64")


@pytest.mark.parametrize("missing", ["Runtime", "Handler"])
def test_a_package_needs_runtime_and_handler(missing: str) -> None:
    members = {name: value for name, value in CREATE.items() if name != missing}
    with pytest.raises(InvalidParameterValue, match="Runtime and Handler are mandatory"):
        requests.creation(members, "x86_64")


def test_an_unknown_member_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestContent, match="MemorySise"):
        requests.creation(CREATE | {"MemorySise": 128}, "x86_64")
    with pytest.raises(InvalidRequestContent, match="Zipfile"):
        requests.creation(CREATE | {"Code": {"Zipfile": ""}}, "x86_64")
    with pytest.raises(InvalidRequestContent, match="variables"):
        requests.configuration_update({"Environment": {"variables": {}}})


@pytest.mark.parametrize("operation", ["CreateFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration"])
def test_every_member_of_awss_model_is_known(operation: str) -> None:
    members = set(model()["shapes"][f"{operation}Request"]["members"])
    for member in members - {"FunctionName"}:
        assert "has no member" not in refused_by(operation, {member: object()})


def refused_by(operation: str, members: dict[str, Any]) -> str:
    """Why ``members`` are refused; empty where they are not."""
    try:
        match operation:
            case "CreateFunction":
                requests.creation(CREATE | members, "x86_64")
            case "UpdateFunctionCode":
                requests.code_update(members, "x86_64")
            case _:
                requests.configuration_update(members)
    except LambdaError as error:
        return f"{error.status} {error.fact}"
    return ""


def test_every_operation_of_awss_model_is_found_by_its_path() -> None:
    for name, operation in model()["operations"].items():
        path, _, query = operation["http"]["requestUri"].partition("?")
        filled = path.replace("{", "").replace("}", "")
        found = operations.find(operation["http"]["method"], filled, query)
        assert found is not None
        assert found[0] == name


@pytest.mark.parametrize(
    "members",
    [
        {"MemorySize": "128"},
        {"MemorySize": True},
        {"MemorySize": 128.5},
        {"Timeout": [3]},
        {"Handler": 1},
        {"Description": {}},
        {"Environment": []},
        {"Environment": {"Variables": {"AA": 1}}},
        {"Environment": {"Variables": {"AA": "\0"}}},
        {"Architectures": "x86_64"},
        {"Code": "zip"},
        {"Code": {"ZipFile": "%%%"}},
        {"Code": {"ZipFile": 1}},
    ],
    ids=str,
)
def test_a_wrong_type_is_refused_by_name(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestContent, match="Could not parse request body into json: "):
        requests.creation(CREATE | members, "x86_64")


@settings(deadline=None)  # a noisy machine is not what is judged
@given(
    st.dictionaries(
        st.sampled_from([*CREATE, "MemorySize", "Timeout", "Environment", "Layers", "X"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
            ),
        ),
    )
)
def test_any_json_object_is_answered_with_a_refusal_or_a_creation(members: dict[str, Any]) -> None:
    for operation in ("CreateFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration"):
        assert refused_by(operation, members)[:3] in ("", "400", "501")


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"a": Infinity}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestContent):
        requests.body_members(body)


def test_a_name_of_another_region_or_account_is_not_found() -> None:
    with pytest.raises(NotFound, match="not reachable in this region"):
        resolve("arn:aws:lambda:us-east-1:123456789012:function:f", None, PLACE)
    with pytest.raises(NotFound):
        resolve("999999999999:function:f", None, PLACE)


@pytest.mark.parametrize("text", ["", "a b", "é", "f" * 65, "../x", "a:b:c:d", "f\n", "x" * 1000])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(Validation, match="functionName"):
        resolve(text, None, PLACE)


def test_qualifiers_must_agree() -> None:
    assert resolve("f:$LATEST", "$LATEST", PLACE) == "f"
    with pytest.raises(InvalidParameterValue, match="derived qualifier"):
        resolve("f:live", "$LATEST", PLACE)
    with pytest.raises(InvalidParameterValue):
        new_name("f:live", PLACE)


def test_a_trace_header_is_passed_on_or_made() -> None:
    given_trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    assert invoke.trace(given_trace, 0.0, lambda n: "0" * 2 * n) == given_trace
    made = "Root=1-0000000a-" + "0" * 24 + ";Parent=" + "0" * 16 + ";Sampled=0"
    assert invoke.trace(None, 10.0, lambda n: "0" * 2 * n) == made
    assert invoke.trace("a\r\nb", 10.0, lambda n: "0" * 2 * n) == made


def test_a_client_context_becomes_one_line_of_ascii() -> None:
    text = base64.b64encode('{"a": "é\\n"}'.encode()).decode()
    assert invoke.client_context(text) == '{"a":"\\u00e9\\n"}'


@pytest.mark.parametrize(("value", "runs"), [(None, True), ("RequestResponse", True), ("DryRun", False)])
def test_invocation_types(value: str | None, runs: bool) -> None:
    assert invoke.invocation_type(value) is runs


@pytest.mark.parametrize("value", ["Event", "event", ""])
def test_other_invocation_types_are_refused(value: str) -> None:
    with pytest.raises(LambdaError):
        invoke.invocation_type(value)


@pytest.mark.parametrize(
    "text", ['{"Description": "\\ud800"}', '{"Environment": {"Variables": {"A\\udfff": "x"}}}']
)
def test_half_of_a_letter_is_not_a_text(text: str) -> None:
    with pytest.raises(InvalidRequestContent, match="half of a surrogate pair"):
        requests.body_members(text.encode())
    assert requests.body_members(b'{"Description": "\\ud83d\\ude00"}') == {"Description": "\U0001f600"}
