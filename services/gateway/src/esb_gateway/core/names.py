"""Function names, partial ARNs, full ARNs and qualifiers, as the Lambda API accepts them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from esb_common.ids import FunctionName, function_arn

from esb_gateway.core.errors import InvalidParameterValue, NotFound, Validation
from esb_gateway.core.function import LATEST

PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
_NAME = re.compile(PATTERN)
_QUALIFIER = re.compile(r"\$LATEST|[a-zA-Z0-9-_]{1,128}")


@dataclass(frozen=True, slots=True)
class Place:
    """The region and account that this box stands for."""

    region: str
    account: str

    def arn(self, name: FunctionName) -> str:
        """The unqualified ARN of a function here."""
        return function_arn(self.region, self.account, name)


def resolve(text: str, qualifier: str | None, place: Place) -> FunctionName:
    """The function that ``text`` names, whose qualifier must mean ``$LATEST``.

    Validation where it is no name; NotFound where it names another place or version.
    """
    name, derived = _parse(text, place)
    if qualifier is not None and not _QUALIFIER.fullmatch(qualifier):
        raise violation(
            qualifier, "qualifier", r"Member must satisfy regular expression pattern: (|[a-zA-Z0-9$_-]+)"
        )
    if derived and qualifier and derived != qualifier:
        raise InvalidParameterValue(
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    wanted = derived or qualifier
    if wanted not in (None, LATEST):
        raise NotFound(f"Function not found: {place.arn(name)}:{wanted}")
    return name


def new_name(text: str, place: Place) -> FunctionName:
    """The name for a function that is to be made; it carries no qualifier."""
    name, derived = _parse(text, place)
    if derived:
        raise InvalidParameterValue(f"The function name to create must not have a qualifier: {derived}")
    return name


def _parse(text: str, place: Place) -> tuple[FunctionName, str | None]:
    match = _NAME.fullmatch(text)
    if not match or len(text) > 140:
        raise violation(
            text[:200], "functionName", f"Member must satisfy regular expression pattern: {PATTERN}"
        )
    region, account, name, derived = match[3], match[9], FunctionName(match[11]), match[13]
    if len(name) > 64:
        raise violation(name, "functionName", "Member must have length less than or equal to 64")
    if region and region != place.region + ":":
        raise NotFound(f"Functions from '{region[:-1]}' are not reachable in this region ('{place.region}')")
    if account and account != place.account + ":":
        raise NotFound(f"Function not found: {text}")
    return name, derived


def violation(value: object, member: str, constraint: str) -> Validation:
    """AWS's sentence for a value outside the model."""
    shown = "null" if value is None else f"'{value}'"
    return Validation(
        f"1 validation error detected: Value {shown} at '{member}' failed to satisfy constraint: {constraint}"
    )
