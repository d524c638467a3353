import json
from pathlib import Path

import jsonschema
import pytest
from esb_common import ids
from esb_common.function import FunctionBlob, blob_path, decode_function
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "contracts/function.schema.json").read_text())


def blob(**changes: object) -> FunctionBlob:
    members: dict[str, object] = {
        "name": "hello",
        "version": "$LATEST",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
        "region": "us-east-1",
        "runtime": "python3.12",
        "handler": "app.handler",
        "code": ids.digest_of(b"zip"),
        "memory_mib": 128,
        "timeout_s": 3,
        "environment": {"KEY": "väl"},
    }
    return FunctionBlob(**(members | changes))  # type: ignore[arg-type]


def test_a_blob_survives_the_store() -> None:
    assert decode_function(blob().encode()) == blob()


def test_a_blob_follows_its_contract() -> None:
    jsonschema.validate(json.loads(blob().encode()), SCHEMA)


def test_the_contract_and_the_code_know_the_same_members() -> None:
    assert set(json.loads(blob().encode())) == set(SCHEMA["required"]) == set(SCHEMA["properties"])


def test_the_digest_changes_with_every_member() -> None:
    others = [blob(handler="app.other"), blob(memory_mib=256), blob(environment={}), blob(timeout_s=4)]
    assert len({blob().digest, *(other.digest for other in others)}) == 5


def test_environment_values_do_not_show_in_a_representation() -> None:
    assert "s3cret" not in repr(blob(environment={"PASSWORD": "s3cret"}))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"handler": 5},
        {"memory_mib": "128"},
        {"memory_mib": True},
        {"environment": {"A": 1}},
        {"code": "sha256:short"},
        {"extra": "member"},
    ],
)
def test_a_blob_that_breaks_the_contract_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_function(json.dumps(json.loads(blob().encode()) | change).encode())


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_function(content)


def test_blobs_lie_where_oci_keeps_them() -> None:
    digest = ids.digest_of(b"")
    assert blob_path(Path("/store"), digest) == Path("/store/sha256") / digest.removeprefix("sha256:")
