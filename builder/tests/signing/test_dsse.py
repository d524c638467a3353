"""Envelopes: what they say is what was signed, byte for byte and type for type."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from esb_builder.signing import dsse
from esb_builder.signing.keys import Signer
from esb_common.errors import BadInput
from hypothesis import given
from hypothesis import strategies as st

KIND = "application/vnd.in-toto+json"
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ENVELOPE = dsse.sign(b"what was said", KIND, SIGNER)


def test_the_signature_is_over_type_and_payload_as_the_specification_says() -> None:
    envelope = json.loads(dsse.sign(b"hello world", "http://example.com/HelloWorld", SIGNER))
    (signature,) = envelope["signatures"]
    signed = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    SIGNER.verifier.key.verify(base64.b64decode(signature["sig"]), signed)
    assert base64.b64decode(envelope["payload"]) == b"hello world"
    assert signature["keyid"] == SIGNER.verifier.fingerprint


def test_the_same_is_signed_the_same() -> None:
    assert dsse.sign(b"what was said", KIND, SIGNER) == ENVELOPE


@given(st.binary(), st.text(min_size=1))
def test_whatever_is_signed_comes_out_again(payload: bytes, kind: str) -> None:
    assert dsse.opened(dsse.sign(payload, kind, SIGNER), kind, SIGNER.verifier, "it") == payload


def test_another_key_is_not_taken() -> None:
    with pytest.raises(BadInput, match=f"provenance.json is not signed by {OTHER.verifier.fingerprint}"):
        dsse.opened(ENVELOPE, KIND, OTHER.verifier, "provenance.json")


def test_another_type_is_not_taken_even_under_the_signature() -> None:
    with pytest.raises(BadInput, match="is of type"):
        dsse.opened(ENVELOPE, "text/plain", SIGNER.verifier, "it")
    renamed = altered(payloadType="text/plain")
    with pytest.raises(BadInput, match="not signed by"):
        dsse.opened(renamed, "text/plain", SIGNER.verifier, "it")


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        (b"", "not a signed envelope"),
        (b"[]", "not a signed envelope"),
        (b"[" * 100_000, "not a signed envelope"),
        (b"{}", "payload is missing"),
    ],
)
def test_what_is_no_envelope_is_refused(envelope: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        dsse.opened(envelope, KIND, SIGNER.verifier, "it")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"signatures": []}, "no signature"),
        ({"signatures": "none"}, "no signature"),
        ({"signatures": [{"keyid": "x"}]}, "sig is missing"),
        ({"signatures": [{"sig": "****"}]}, "sig is missing or not base64"),
        ({"signatures": [1]}, "not signed by"),
        ({"payload": 1}, "payload is missing"),
        ({"payload": base64.b64encode(b"something else").decode()}, "not signed by"),
    ],
)
def test_a_changed_envelope_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        dsse.opened(altered(**changes), KIND, SIGNER.verifier, "it")


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(0, 255))
def test_no_changed_byte_changes_what_is_said(place: int, value: int) -> None:
    spoiled = ENVELOPE[:place] + bytes([value]) + ENVELOPE[place + 1 :]
    try:
        assert dsse.opened(spoiled, KIND, SIGNER.verifier, "it") == b"what was said"
    except BadInput:
        assert spoiled != ENVELOPE


def altered(**changes: Any) -> bytes:
    return json.dumps(json.loads(ENVELOPE) | changes).encode()
