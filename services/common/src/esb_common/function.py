"""What a worker must know of a function, as one immutable blob.

The gateway writes a :class:`FunctionBlob` into the store and names it by its digest; the node
reads it by that digest. So a message to the node carries no path, image or argument, and the
digest says exactly what runs. Shape: ``contracts/function.schema.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from esb_common import ids

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class FunctionBlob:
    """One function version as a worker sees it. ``environment`` is never logged."""

    name: ids.FunctionName
    version: str
    arn: str
    region: str
    runtime: str
    handler: str
    code: ids.Digest
    memory_mib: int
    timeout_s: int
    environment: Mapping[str, str] = field(default=MappingProxyType({}), repr=False)

    def encode(self) -> bytes:
        """The canonical bytes: sorted keys, no spaces, UTF-8."""
        members: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        members |= {"schema": SCHEMA, "environment": dict(self.environment)}
        return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def digest(self) -> ids.Digest:
        """The blob's name in the store."""
        return ids.digest_of(self.encode())


_TYPES: Mapping[str, type] = MappingProxyType(
    dict.fromkeys(("name", "version", "arn", "region", "runtime", "handler", "code"), str)
    | {"memory_mib": int, "timeout_s": int, "environment": dict}
)


def decode_function(content: bytes) -> FunctionBlob:
    """A blob from its bytes. ValueError where a member is missing, unknown or of a wrong type."""
    raw = json.loads(content)
    if not isinstance(raw, dict) or raw.pop("schema", None) != SCHEMA:
        raise ValueError(f"not a function blob of schema {SCHEMA}")
    if set(raw) != set(_TYPES):
        raise ValueError(f"members differ from the schema: {sorted(set(raw) ^ set(_TYPES))}")
    for name, kind in _TYPES.items():
        if type(raw[name]) is not kind:
            raise ValueError(f"{name} is not {kind.__name__}")
    environment = raw.pop("environment")
    if not all(isinstance(value, str) for value in environment.values()):
        raise ValueError("environment is not text to text")
    raw["code"] = ids.digest(raw["code"])
    return FunctionBlob(**raw, environment=MappingProxyType(environment))


def blob_path(store: Path, name: ids.Digest) -> Path:
    """Where the store keeps a blob: ``store/sha256/<hex>``, the layout of OCI's blobs folder."""
    algorithm, _, value = name.partition(":")
    return store / algorithm / value
