"""Reads and checks the AWS signature (version 4) of a request: in its header, or in its query (presigned).

In two steps, as a request comes in two parts: :func:`claimed` needs the head alone and refuses what cannot
be right whatever the body; :func:`check` needs the body's SHA-256. Sentences and names are those of AWS's
front door, without the parts of its sentences that repeat what the client sent.

The payload is always signed: ``UNSIGNED-PAYLOAD`` and ``STREAMING-…`` are S3's and are refused by name.
Of the headers only ``Host`` must be signed, as on AWS; curl signs no more than that and the date.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from esb_common import sigv4
from esb_common.sigv4 import Headers, Scope

from esb_gateway.core.errors import IncompleteSignature, InvalidSignature

SKEW_S = 300
LONGEST_S = 604_800
"""A presigned request holds for a week at most."""

_QUERY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")
_OPTIONAL = ("X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Content-Sha256")
_OWN = frozenset(name.encode() for name in (*_QUERY, *_OPTIONAL))
_MOMENT = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of who signed it.

    ``target`` is what was signed; ``asked`` is that without the parameters that carry the signature.
    ``valid_s`` is None for a signature in the header.
    """

    access_key: str
    scope: Scope
    moment: str
    signed: tuple[bytes, ...]
    signature: str
    target: bytes
    asked: bytes
    valid_s: int | None
    token: bool
    payload: str | None


def claimed(target: bytes, headers: Headers) -> Claim | None:
    """The signature that a request carries, if any. IncompleteSignature where it cannot be read."""
    authorizations = [value for name, value in headers if name == b"authorization"]
    presigned = b"X-Amz-Signature=" in target or b"X-Amz-Algorithm=" in target
    if len(authorizations) + presigned > 1:
        raise IncompleteSignature("The request is signed more than once.")
    if presigned:
        return _from_query(target, headers)
    return _from_header(authorizations[0].decode("latin-1"), target, headers) if authorizations else None


def _from_header(text: str, target: bytes, headers: Headers) -> Claim:
    algorithm, _, rest = text.partition(" ")
    parameters = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    names = ("Credential", "Signature", "SignedHeaders")
    lacking = [
        f"Authorization header requires '{name}' parameter." for name in names if not parameters.get(name)
    ]
    moment = _header(b"x-amz-date", headers) or _http_date(_header(b"date", headers))
    if moment is None:
        lacking.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if lacking and (algorithm == sigv4.ALGORITHM or not algorithm.startswith("AWS4-")):
        raise IncompleteSignature(" ".join(lacking))
    _known(algorithm)
    assert moment is not None
    access_key, scope = _credential(parameters["Credential"])
    return Claim(
        access_key=access_key,
        scope=scope,
        moment=moment,
        signed=_signed(parameters["SignedHeaders"]),
        signature=parameters["Signature"],
        target=target,
        asked=target,
        valid_s=None,
        token=_header(b"x-amz-security-token", headers) is not None,
        payload=_header(b"x-amz-content-sha256", headers),
    )


def _from_query(target: bytes, headers: Headers) -> Claim:
    path, _, query = target.partition(b"?")
    pairs = [(pair.partition(b"=")[0], pair) for pair in query.split(b"&")]
    own = [(name.decode("latin-1"), pair.partition(b"=")[2]) for name, pair in pairs if name in _OWN]
    given = {name: sigv4.parameter(value) for name, value in own}
    lacking = [name for name in (*_QUERY, "X-Amz-Expires") if not given.get(name)]
    if lacking or len(own) != len(given):
        wanted = " ".join(f"AWS query-string parameters must include '{name}'." for name in lacking)
        raise IncompleteSignature(wanted or "A parameter of the signature is there twice.")
    _known(given["X-Amz-Algorithm"])
    access_key, scope = _credential(given["X-Amz-Credential"])
    rest = [pair for name, pair in pairs if name not in _OWN]
    return Claim(
        access_key=access_key,
        scope=scope,
        moment=given["X-Amz-Date"],
        signed=_signed(given["X-Amz-SignedHeaders"]),
        signature=given["X-Amz-Signature"],
        target=_joined(path, [pair for name, pair in pairs if name != b"X-Amz-Signature"]),
        asked=_joined(path, rest),
        valid_s=_validity(given["X-Amz-Expires"]),
        token="X-Amz-Security-Token" in given,
        payload=given.get("X-Amz-Content-Sha256") or _header(b"x-amz-content-sha256", headers),
    )


def _joined(path: bytes, pairs: list[bytes]) -> bytes:
    return path + b"?" + b"&".join(pairs) if pairs else path


def _header(name: bytes, headers: Headers) -> str | None:
    for key, value in headers:
        if key == name:
            return value.decode("latin-1").strip()
    return None


def _http_date(text: str | None) -> str | None:
    """A ``Date`` header's moment as signatures write it."""
    if text is None or _MOMENT.fullmatch(text):
        return text
    try:
        return sigv4.iso(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        return text


def _known(algorithm: str) -> None:
    if algorithm != sigv4.ALGORITHM:
        raise IncompleteSignature(f"Unsupported AWS 'algorithm': only {sigv4.ALGORITHM} is supported.")


def _credential(text: str) -> tuple[str, Scope]:
    parts = text.split("/")
    if len(parts) != 5:
        raise IncompleteSignature(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        )
    if parts[4] != sigv4.TERMINATOR:
        raise InvalidSignature(f"Credential should be scoped with a valid terminator: '{sigv4.TERMINATOR}'.")
    return parts[0], Scope(*parts[1:4])


def _signed(text: str) -> tuple[bytes, ...]:
    names = tuple(text.encode("latin-1", "replace").split(b";"))
    if b"host" not in names:
        raise InvalidSignature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    return names


def _validity(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= LONGEST_S:
        raise IncompleteSignature(f"X-Amz-Expires must be a number of seconds from 1 to {LONGEST_S}.")
    return int(text)


# --- whether it holds ---------------------------------------------------------------------


def check_scope(claim: Claim, region: str, now: float) -> None:
    """InvalidSignature where the claim is for another place or time. ``now`` is seconds since 1970."""
    moment = _seconds(claim.moment)
    if claim.scope.date != claim.moment[:8]:
        raise InvalidSignature(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
        )
    if claim.scope.region != region:
        raise InvalidSignature(f"Credential should be scoped to a valid region: '{region}'.")
    if claim.scope.service != sigv4.SERVICE:
        raise InvalidSignature(f"Credential should be scoped to correct service: '{sigv4.SERVICE}'.")
    here = sigv4.iso(now)
    if moment > now + SKEW_S:
        latest = f"{sigv4.iso(now + SKEW_S)} ({here} + 5 min.)"
        raise InvalidSignature(f"Signature not yet current: {claim.moment} is still later than {latest}")
    if claim.valid_s is not None and moment + claim.valid_s < now:
        raise InvalidSignature(
            f"Signature expired: {sigv4.iso(moment + claim.valid_s)} is earlier than {here}"
        )
    if claim.valid_s is None and moment < now - SKEW_S:
        earliest = f"{sigv4.iso(now - SKEW_S)} ({here} - 5 min.)"
        raise InvalidSignature(f"Signature expired: {claim.moment} is now earlier than {earliest}")


def _seconds(moment: str) -> float:
    wrong = IncompleteSignature("Date must be in ISO-8601 'basic format', e.g. 20250131T235959Z.")
    if not _MOMENT.fullmatch(moment):
        raise wrong
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        raise wrong from None


def check_payload(claim: Claim) -> None:
    """InvalidSignature where the payload's hash is one of S3's words instead."""
    if claim.payload is not None and not _HEX.fullmatch(claim.payload):
        raise InvalidSignature(
            "x-amz-content-sha256 must be the SHA-256 of the payload: it is always signed here."
        )


def check(claim: Claim, method: bytes, headers: Headers, key: bytes, payload_sha256: str) -> None:
    """InvalidSignature where the signature is not the one that ``key`` gives. In constant time."""
    if claim.payload not in (None, payload_sha256):
        raise InvalidSignature("The provided 'x-amz-content-sha256' header does not match what was computed.")
    canonical = sigv4.canonical_request(method, claim.target, headers, claim.signed, payload_sha256)
    wanted = sigv4.signature(key, claim.moment, claim.scope, canonical)
    if not hmac.compare_digest(wanted.encode(), claim.signature.encode()):
        raise InvalidSignature(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. "
            "Consult the service documentation for details."
        )
