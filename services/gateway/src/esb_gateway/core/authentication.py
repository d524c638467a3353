"""Who may do what, decided on a request's head and the SHA-256 of its body.

Whoever signs with the box's key pair may do everything. An API key may invoke functions and nothing else, no
faster than its limit: it stands in a plain HTTP client's configuration, so it is worth little. Secrets
are compared in constant time; API keys are found by their SHA-256, which says nothing of the key.

Lifetimes: a signing key is kept for its day, a bucket until its key's limits change or it is removed.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from esb_common.credentials import ApiKey, Credentials, sha256_of
from esb_common.sigv4 import Headers, Scope, signing_key

from esb_gateway.core import signature
from esb_gateway.core.errors import AccessDenied, MissingToken, TooManyRequests, UnrecognizedClient
from esb_gateway.core.rate import Bucket
from esb_gateway.core.signature import Claim


@dataclass(frozen=True, slots=True)
class Signed:
    """Let in as soon as :meth:`Authentication.check` finds the signature right."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Keyed:
    """Let in by an API key."""

    name: str


class Authentication:
    """Decides for one region, by credentials that may be replaced at any time."""

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._region = region
        self._scope: Scope | None = None
        self._signing_key = b""
        self._buckets: dict[ApiKey, Bucket] = {}
        self.replace(credentials)

    def replace(self, credentials: Credentials) -> None:
        """Decide by these from now on."""
        self._credentials = credentials
        self._scope = None
        self._keys = {key.sha256: key for key in credentials.api_keys}
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key in credentials.api_keys}

    def admit(
        self, target: bytes, headers: Headers, *, invokes: bool, wall: float, now: float
    ) -> Signed | Keyed:
        """Who asks, by the head alone. ``wall`` and ``now`` are seconds since 1970 and of a steady clock.

        Raises one of ``Denied``, or TooManyRequests.
        """
        claim = signature.claimed(target, headers)
        if claim is not None:
            self._admit_signed(claim, wall)
            return Signed(claim)
        for name, value in headers:
            if name == b"x-api-key":
                return self._admit_key(value.decode("latin-1").strip(), invokes, now)
        raise MissingToken

    def _admit_signed(self, claim: Claim, wall: float) -> None:
        known = hmac.compare_digest(claim.access_key.encode(), self._credentials.access_key_id.encode())
        if not known or claim.token:
            raise UnrecognizedClient
        signature.check_scope(claim, self._region, wall)
        signature.check_payload(claim)

    def _admit_key(self, text: str, invokes: bool, now: float) -> Keyed:
        key = self._keys.get(sha256_of(text))
        if key is None:
            raise UnrecognizedClient
        if not invokes:
            raise AccessDenied("An API key may invoke functions and nothing else; sign the request instead.")
        if key.calls_per_s:
            bucket = self._buckets.get(key) or self._buckets.setdefault(
                key, Bucket(key.calls_per_s, key.burst, now)
            )
            if not bucket.take(now):
                raise TooManyRequests("CallerRateLimitExceeded")
        return Keyed(key.name)

    def check(self, signed: Signed, method: bytes, headers: Headers, payload_sha256: str) -> None:
        """InvalidSignature where the signature is wrong, now that the body is known."""
        claim = signed.claim
        if claim.scope != self._scope:
            self._signing_key = signing_key(self._credentials.secret_access_key, claim.scope)
            self._scope = claim.scope
        signature.check(claim, method, headers, self._signing_key, payload_sha256)
