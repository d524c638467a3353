"""Signed envelopes: a payload, its type, and signatures over both, so that neither can be exchanged.

https://github.com/secure-systems-lab/dsse (``protocol.md``, ``envelope.md``)
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from esb_common.errors import BadInput

from esb_builder.signing.keys import Signer, Verifier

MOST = 64 << 20
"""Bytes: no envelope of ours is larger."""


def sign(payload: bytes, kind: str, signer: Signer) -> bytes:
    """An envelope of ``payload``, whose media type is ``kind``, as JSON."""
    signature = {
        "keyid": signer.verifier.fingerprint,
        "sig": _text(signer.sign(_signed(kind, payload))),
    }
    envelope = {"payloadType": kind, "payload": _text(payload), "signatures": [signature]}
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def opened(envelope: bytes, kind: str, verifier: Verifier, name: str) -> bytes:
    """The payload. BadInput, naming ``name``, unless ``verifier`` signed exactly this of that type."""
    document = _parsed(envelope, name)
    payload, found = _bytes(document, "payload", name), document.get("payloadType")
    if found != kind:
        raise BadInput(f"{name} is of type {found!r}, not {kind!r}")
    signatures = document.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise BadInput(f"{name} has no signature")
    own = [_bytes(one, "sig", name) for one in signatures if isinstance(one, dict)]
    if not any(verifier.holds(one, _signed(kind, payload)) for one in own):
        raise BadInput(
            f"{name} is not signed by {verifier.fingerprint}: it was changed since, or another key signed it"
        )
    return payload


def _signed(kind: str, payload: bytes) -> bytes:
    """What a signature is over (the specification's pre-authentication encoding)."""
    named = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(named), named, len(payload), payload)


def _parsed(envelope: bytes, name: str) -> Mapping[str, Any]:
    try:
        document = json.loads(envelope) if len(envelope) <= MOST else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadInput(f"{name} is not a signed envelope (a JSON object of at most {MOST >> 20} MiB)")
    return document


def _bytes(document: Mapping[str, Any], member: str, name: str) -> bytes:
    try:
        return base64.b64decode(document[member], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise BadInput(f"{name}: {member} is missing or not base64") from None


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
