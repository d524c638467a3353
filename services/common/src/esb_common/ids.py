"""Names of things, so that a worker's id is never passed where a digest is meant."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

FunctionName = NewType("FunctionName", str)
"""AWS's function name: 1 to 64 of ``[a-zA-Z0-9-_]``."""

WorkerId = NewType("WorkerId", str)
"""``w-`` and 16 hex digits; chosen by the gateway, unique for ever."""

RequestId = NewType("RequestId", str)
"""A UUID in its usual text form; one per accepted call."""

Digest = NewType("Digest", str)
"""``sha256:`` and 64 hex digits, as OCI writes it."""

_WORKER = re.compile(r"w-[0-9a-f]{16}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def worker_id(text: str) -> WorkerId:
    """``text`` as a worker's id; ValueError where it is not one."""
    if not _WORKER.match(text):
        raise ValueError(f"not a worker id: {text!r}")
    return WorkerId(text)


def digest(text: str) -> Digest:
    """``text`` as a digest; ValueError where it is not one."""
    if not _DIGEST.match(text):
        raise ValueError(f"not a sha256 digest: {text!r}")
    return Digest(text)


def digest_of(content: bytes) -> Digest:
    """The digest of ``content``."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def function_arn(region: str, account: str, name: FunctionName) -> str:
    """The unqualified ARN of a function.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
    """
    return f"arn:aws:lambda:{region}:{account}:function:{name}"
