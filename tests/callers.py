"""Credentials of a box that a test made, and requests signed with them by botocore."""

from __future__ import annotations

from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Signer
from esb_common import credentials
from esb_common.credentials import ApiKey, Credentials

API_KEY = "an API key of a test, as long as it takes"
SLOW_API_KEY = "an API key that may call twice"
KNOWN = Credentials(
    access_key_id="ESBATESTTESTTESTTEST",
    secret_access_key="test/secret/test/secret/test/secret/test",
    api_keys=(
        ApiKey("till", credentials.sha256_of(API_KEY)),
        ApiKey("slow", credentials.sha256_of(SLOW_API_KEY), 1, 2),
    ),
)


def write_credentials(folder: Path, known: Credentials = KNOWN) -> Path:
    """``credentials.json`` in ``folder``, replaced in one step; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / "new"
    aside.write_bytes(credentials.encode(known))
    aside.rename(folder / credentials.FILE)
    return folder


def signed(url: str, method: str = "GET", body: bytes = b"", known: Credentials = KNOWN) -> dict[str, str]:
    """The headers of a request that botocore signed with the key pair."""
    request = AWSRequest(method, url, data=body)
    pair = Signer(known.access_key_id, known.secret_access_key)
    SigV4Auth(pair, "lambda", "us-east-1").add_auth(request)
    return dict(request.headers.items())
