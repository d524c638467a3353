"""What CreateFunction, UpdateFunctionCode and UpdateFunctionConfiguration may ask for.

Three kinds of members: those ESB acts on, those AWS has and ESB does not have yet (accepted only
with the value that changes nothing, else NotSupported names them), and unknown ones, which are
refused by name, unlike on AWS: a misspelt member that is dropped in silence costs somebody a day.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from esb_gateway.core.errors import (
    InvalidParameterValue,
    InvalidRequestContent,
    LambdaError,
    NotSupported,
    Validation,
)
from esb_gateway.core.function import DEFAULT_MEMORY_MIB, DEFAULT_TIMEOUT_S
from esb_gateway.core.names import violation

RUNTIMES = ("python3.12",)
KNOWN_RUNTIME = re.compile(
    r"(nodejs|python|java|dotnet|ruby|go)[0-9a-z.]*(-edge)?|dotnetcore[0-9.]+|provided(\.al2|\.al2023)?"
)
ROLE = re.compile(r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
HANDLER = re.compile(r"[^\s]+")
VARIABLE = re.compile(r"[a-zA-Z]([a-zA-Z0-9_])+")
MEMORY_MIB = (128, 10240)
TIMEOUT_S = (1, 900)
ENVIRONMENT_BYTES = 4096
RESERVED = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
    }
)
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""

_CONFIGURATION_LATER: Mapping[str, tuple[Any, ...]] = {
    "VpcConfig": ({}, {"SubnetIds": [], "SecurityGroupIds": []}),
    "DeadLetterConfig": ({},),
    "KMSKeyArn": ("",),
    "TracingConfig": ({"Mode": "PassThrough"},),
    "Layers": ([],),
    "FileSystemConfigs": ([],),
    "ImageConfig": ({},),
    "EphemeralStorage": ({"Size": 512},),
    "SnapStart": ({"ApplyOn": "None"},),
    "LoggingConfig": ({}, {"LogFormat": "Text"}),
    "CapacityProviderConfig": (),
    "DurableConfig": (),
    "RuntimeConfig": (),
    "AcceleratorConfig": (),
}
_CREATE_LATER: Mapping[str, tuple[Any, ...]] = {
    **_CONFIGURATION_LATER,
    "Publish": (False,),
    "PublishTo": (),
    "PackageType": ("Zip",),
    "Tags": ({},),
    "CodeSigningConfigArn": (),
    "TenancyConfig": (),
}
_CODE_LATER: Mapping[str, tuple[Any, ...]] = {
    "S3Bucket": (),
    "S3Key": (),
    "S3ObjectVersion": (),
    "S3ObjectStorageMode": (),
    "ImageUri": (),
    "SourceKMSKeyArn": ("",),
}


@dataclass(frozen=True, slots=True)
class Creation:
    """A valid CreateFunction, its zip not looked into yet."""

    name: str
    zip_file: bytes = field(repr=False)
    members: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CodeUpdate:
    """A valid UpdateFunctionCode."""

    zip_file: bytes = field(repr=False)
    dry_run: bool
    revision: str | None


@dataclass(frozen=True, slots=True)
class ConfigurationUpdate:
    """A valid UpdateFunctionConfiguration; ``changes`` are members of ``Function``."""

    changes: Mapping[str, Any] = field(repr=False)
    revision: str | None


def body_members(body: bytes) -> dict[str, Any]:
    """The JSON object of a request body; an empty body is an empty object."""
    if not body:
        return {}
    try:
        members = parse_json(body)
        _refuse_half_letters(body, members)
    except ValueError as error:
        raise InvalidRequestContent(f"Could not parse request body into json: {error}") from None
    if not isinstance(members, dict):
        raise InvalidRequestContent("Could not parse request body into json: the body is not an object")
    return members


def parse_json(body: bytes) -> Any:
    """Strict JSON (RFC 8259): UTF-8, no NaN, no bottomless nesting. ValueError says where it fails."""
    try:
        return _STRICT.decode(body.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_half_letters(body: bytes, members: Any) -> None:
    """ValueError for half of a surrogate pair, which no UTF-8 can carry; only an escape can bring one in."""
    if b"\\u" not in body:
        return
    try:
        json.dumps(members, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(parse_constant=_no_constant)


def creation(members: Mapping[str, Any], architecture: str) -> Creation:
    """A CreateFunction request, checked against the model and against what ESB has."""
    for required in ("FunctionName", "Role", "Code"):
        if members.get(required) is None:
            raise violation(None, _lower(required), "Member must not be null")
    own = {
        **_SETTINGS,
        "FunctionName": _text,
        "Code": _structure,
        "Architectures": _architectures(architecture),
    }
    values = _checked(members, own, _CREATE_LATER, "CreateFunction")
    if "runtime" not in values or "handler" not in values:
        raise InvalidParameterValue(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )
    name, code = values.pop("FunctionName"), values.pop("Code")
    values.pop("Architectures", None)
    defaults = {
        "description": "",
        "memory_mib": DEFAULT_MEMORY_MIB,
        "timeout_s": DEFAULT_TIMEOUT_S,
        "environment": MappingProxyType({}),
        "architecture": architecture,
    }
    return Creation(name, _zip_file(code, "CreateFunction member Code"), defaults | values)


def code_update(members: Mapping[str, Any], architecture: str) -> CodeUpdate:
    """An UpdateFunctionCode request."""
    later = {**_CODE_LATER, "Publish": (False,), "PublishTo": ()}
    own: dict[str, _Check] = {
        "ZipFile": _text,
        "DryRun": _boolean,
        "RevisionId": _text,
        "Architectures": _architectures(architecture),
    }
    values = _checked(members, own, later, "UpdateFunctionCode")
    zip_file = _zip_file({"ZipFile": values.get("ZipFile")}, "UpdateFunctionCode")
    return CodeUpdate(zip_file, values.get("DryRun", False), values.get("RevisionId"))


def configuration_update(members: Mapping[str, Any]) -> ConfigurationUpdate:
    """An UpdateFunctionConfiguration request."""
    own: dict[str, _Check] = {**_SETTINGS, "RevisionId": _text}
    values = _checked(members, own, _CONFIGURATION_LATER, "UpdateFunctionConfiguration")
    revision = values.pop("RevisionId", None)
    return ConfigurationUpdate(values, revision)


# --- members ------------------------------------------------------------------------------

_Check = Callable[[Any, str], Any]


def _checked(
    members: Mapping[str, Any],
    own: Mapping[str, _Check],
    later: Mapping[str, tuple[Any, ...]],
    operation: str,
) -> dict[str, Any]:
    """The values of ``own`` members, by their name in ``Function`` where they have one."""
    values: dict[str, Any] = {}
    for member, value in members.items():
        if member not in own and member not in later:
            raise InvalidRequestContent(f"{operation} has no member {member}")
        if value is None:
            continue
        if member in own:
            values[_FIELDS.get(member, member)] = own[member](value, _lower(member))
        elif value not in later[member]:
            raise NotSupported(f"{operation} member {member}")
    return values


def _lower(member: str) -> str:
    return member[:1].lower() + member[1:]


def wrong_type(member: str, expected: str) -> LambdaError:
    """AWS calls this a serialization error; the member is named here."""
    return InvalidRequestContent(f"Could not parse request body into json: {member} is not {expected}")


def _text(value: Any, member: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(member, "a string")
    return value


def _boolean(value: Any, member: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(member, "a boolean")
    return value


def _structure(value: Any, member: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(member, "an object")
    return value


def _between(least: int, most: int) -> _Check:
    def check(value: Any, member: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type(member, "an integer")
        if value < least:
            raise violation(value, member, f"Member must have value greater than or equal to {least}")
        if value > most:
            raise violation(value, member, f"Member must have value less than or equal to {most}")
        return value

    return check


def _matching(pattern: re.Pattern[str], most: int) -> _Check:
    def check(value: Any, member: str) -> str:
        text = _text(value, member)
        if len(text) > most:
            raise violation(text[:200], member, f"Member must have length less than or equal to {most}")
        if not pattern.fullmatch(text):
            raise violation(
                text, member, f"Member must satisfy regular expression pattern: {pattern.pattern}"
            )
        return text

    return check


def _description(value: Any, member: str) -> str:
    text = _text(value, member)
    if len(text) > 256:
        raise violation(text, member, "Member must have length less than or equal to 256")
    return text


def _runtime(value: Any, member: str) -> str:
    text = _text(value, member)
    if text in RUNTIMES:
        return text
    if KNOWN_RUNTIME.fullmatch(text):
        raise NotSupported(f"runtime {text} (supported: {', '.join(RUNTIMES)})")
    raise InvalidParameterValue(
        f"Value {text[:200]} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
        f"[{', '.join(RUNTIMES)}] or be a valid ARN"
    )


def _architectures(here: str) -> _Check:
    def check(value: Any, member: str) -> str:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise wrong_type(member, "a list of strings")
        if len(value) != 1 or value[0] not in ("x86_64", "arm64"):
            shown = "[" + ", ".join(value) + "]"
            constraint = (
                "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]"
            )
            raise violation(shown[:200], member, constraint)
        if value[0] != here:
            raise NotSupported(f"architecture {value[0]} on this {here} machine")
        return here

    return check


def _environment(value: Any, member: str) -> Mapping[str, str]:
    content = _structure(value, member)
    for name in content:
        if name != "Variables":
            raise InvalidRequestContent(f"Environment has no member {name}")
    variables = _structure(content.get("Variables") or {}, f"{member}.variables")
    for name, text in variables.items():
        if not VARIABLE.fullmatch(name):
            raise Validation(
                "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: "
                "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: "
                f"{VARIABLE.pattern}]"
            )
        if not isinstance(text, str) or "\0" in text:
            raise wrong_type(f"environment variable {name}", "a string without NUL")
    _refuse_reserved(variables)
    return MappingProxyType(dict(variables))


def _refuse_reserved(variables: Mapping[str, str]) -> None:
    prefix = (
        "Lambda was unable to configure your environment variables because the environment variables "
        "you have provided "
    )
    reserved = sorted(RESERVED & set(variables))
    if reserved:
        raise InvalidParameterValue(
            f"{prefix}contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode(errors="surrogatepass")) > ENVIRONMENT_BYTES:
        raise InvalidParameterValue(f"{prefix}exceeded the 4KB limit.")


def _zip_file(code: Mapping[str, Any], where: str) -> bytes:
    for member, value in code.items():
        if member in _CODE_LATER and value not in (None, *_CODE_LATER[member]):
            raise NotSupported(f"{where}.{member}")
        if member != "ZipFile" and member not in _CODE_LATER:
            raise InvalidRequestContent(f"{where} has no member {member}")
    text = code.get("ZipFile")
    if text is None:
        raise InvalidParameterValue("Please provide a source for function code.")
    try:
        return base64.b64decode(_text(text, "zipFile"), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestContent("Could not parse request body into json: zipFile is not base64") from None


_SETTINGS: Mapping[str, _Check] = {
    "Role": _matching(ROLE, 10000),
    "Runtime": _runtime,
    "Handler": _matching(HANDLER, 128),
    "Description": _description,
    "MemorySize": _between(*MEMORY_MIB),
    "Timeout": _between(*TIMEOUT_S),
    "Environment": _environment,
}
_FIELDS = {
    "Role": "role",
    "Runtime": "runtime",
    "Handler": "handler",
    "Description": "description",
    "MemorySize": "memory_mib",
    "Timeout": "timeout_s",
    "Environment": "environment",
}
