"""A function as the gateway keeps it and as the Lambda API shows it.

A record is immutable; every change makes a new one with a new revision and, where a worker
would notice, a new blob digest. The blob's digest is the version's identity in the fleet.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from esb_common.function import FunctionBlob
from esb_common.ids import Digest, FunctionName, digest

from esb_gateway.core.events import Demand

LATEST = "$LATEST"
DEFAULT_MEMORY_MIB = 128
DEFAULT_TIMEOUT_S = 3


@dataclass(frozen=True, slots=True)
class Function:
    """One function. ``modified`` is AWS's LastModified text; ``environment`` is never logged."""

    name: FunctionName
    arn: str
    region: str
    role: str
    runtime: str
    handler: str
    description: str
    memory_mib: int
    timeout_s: int
    architecture: str
    code: Digest
    code_bytes: int
    revision: str
    modified: str
    environment: Mapping[str, str] = field(default=MappingProxyType({}), repr=False)

    @property
    def blob(self) -> FunctionBlob:
        """What a worker must know of it."""
        return FunctionBlob(
            name=self.name,
            version=LATEST,
            arn=self.arn,
            region=self.region,
            runtime=self.runtime,
            handler=self.handler,
            code=self.code,
            memory_mib=self.memory_mib,
            timeout_s=self.timeout_s,
            environment=self.environment,
        )

    def changed(self, changes: Mapping[str, Any], revision: str, modified: str) -> Function:
        """This function with ``changes`` (members of this class) applied."""
        return replace(self, **changes, revision=revision, modified=modified)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A function beside what an invocation needs of it, worked out once."""

    function: Function
    blob: Digest
    demand: Demand


def deployed(function: Function) -> Deployed:
    """``function`` with its blob's digest and its demand."""
    blob = function.blob.digest
    return Deployed(function, blob, Demand(blob, function.memory_mib, float(function.timeout_s)))


def encode(function: Function) -> str:
    """The record as the state keeps it."""
    members = {name: getattr(function, name) for name in Function.__dataclass_fields__}
    return json.dumps(members | {"environment": dict(function.environment)}, sort_keys=True)


def decode(record: str) -> Function:
    """The function of a record that :func:`encode` made."""
    members = json.loads(record)
    environment = MappingProxyType(members.pop("environment"))
    return Function(**members | {"code": digest(members["code"])}, environment=environment)


def code_sha256(code: Digest) -> str:
    """AWS's CodeSha256: the digest of the zip in base64."""
    return base64.b64encode(bytes.fromhex(code.partition(":")[2])).decode()


def configuration(function: Function) -> dict[str, Any]:
    """AWS's FunctionConfiguration. What ESB does not have yet shows AWS's default."""
    shown: dict[str, Any] = {
        "FunctionName": function.name,
        "FunctionArn": function.arn,
        "Runtime": function.runtime,
        "Role": function.role,
        "Handler": function.handler,
        "CodeSize": function.code_bytes,
        "Description": function.description,
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mib,
        "LastModified": function.modified,
        "CodeSha256": code_sha256(function.code),
        "Version": LATEST,
        "TracingConfig": {"Mode": "PassThrough"},
        "RevisionId": function.revision,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": [function.architecture],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function.name}"},
    }
    if function.environment:
        shown["Environment"] = {"Variables": dict(function.environment)}
    return shown
