"""What the Lambda API refuses, as AWS names it on the wire.

    LambdaError
    ├── InvalidParameterValue   400   a value that cannot be meant
    ├── Validation              400   a value outside the service model's constraints
    ├── InvalidRequestContent   400   a body that is not the JSON it should be
    ├── Denied                  403   who asks is not known, or may not do this
    │   ├── MissingToken              neither a signature nor a key
    │   ├── IncompleteSignature       a signature whose parts cannot be read
    │   ├── InvalidSignature          a signature that is wrong, expired or for another place
    │   ├── UnrecognizedClient        an access key that this box never gave out
    │   └── AccessDenied              known, but not allowed to do this
    ├── NotFound                404   no such function
    ├── UnknownOperation        404   Lambda has no such method and path
    ├── Conflict                409   the name is taken
    ├── PreconditionFailed      412   the RevisionId is not the latest
    ├── TooLarge                413   a code upload beyond AWS's limit
    ├── PayloadTooLarge         413   an event beyond AWS's limit
    ├── TooManyRequests         429   no worker came free in time
    ├── ServiceFailure          500   our own part failed
    └── NotSupported            501   AWS has it, ESB does not yet; the message names it

A refusal is about the *request*. That a function failed is a value (``outcome``). Names, codes and
the member that carries the message come from botocore's model of ``lambda`` 2015-03-31.
"""

from __future__ import annotations

from typing import ClassVar

from esb_common.errors import EsbError


class LambdaError(EsbError):
    """A refusal; ``fact`` is the message that the client sees."""

    status: ClassVar[int] = 500
    wire_name: ClassVar[str] = "ServiceException"
    message_member: ClassVar[str] = "message"
    fault: ClassVar[str] = "User"

    @property
    def body(self) -> dict[str, str]:
        """The members of the JSON body."""
        return {"Type": self.fault, self.message_member: self.fact}


class InvalidParameterValue(LambdaError):
    """A value that cannot be meant."""

    status = 400
    wire_name = "InvalidParameterValueException"


class Validation(LambdaError):
    """A value outside the model's constraints; AWS's body has no ``Type`` here."""

    status = 400
    wire_name = "ValidationException"

    @property
    def body(self) -> dict[str, str]:
        return {self.message_member: self.fact}


class InvalidRequestContent(LambdaError):
    """A body that is not the JSON it should be."""

    status = 400
    wire_name = "InvalidRequestContentException"


class Denied(LambdaError):
    """Who asks is not let in. AWS's front door answers here, so its body has no ``Type``."""

    status = 403
    wire_name = "UnrecognizedClientException"

    @property
    def body(self) -> dict[str, str]:
        return {self.message_member: self.fact}


class MissingToken(Denied):
    """Neither a signature nor a key came with the request."""

    wire_name = "MissingAuthenticationTokenException"

    def __init__(self) -> None:
        super().__init__("Missing Authentication Token")


class IncompleteSignature(Denied):
    """A signature whose parts are missing or cannot be read."""

    wire_name = "IncompleteSignatureException"


class InvalidSignature(Denied):
    """A signature that does not hold for this request, here and now."""

    wire_name = "InvalidSignatureException"


class UnrecognizedClient(Denied):
    """An access key or token that this box never gave out."""

    def __init__(self) -> None:
        super().__init__("The security token included in the request is invalid.")


class AccessDenied(Denied):
    """Who asks is known and may not do this."""

    wire_name = "AccessDeniedException"


class NotFound(LambdaError):
    """No such function or qualifier."""

    status = 404
    wire_name = "ResourceNotFoundException"
    message_member = "Message"


class Conflict(LambdaError):
    """The name is taken."""

    status = 409
    wire_name = "ResourceConflictException"


class PreconditionFailed(LambdaError):
    """The RevisionId given is not the latest."""

    status = 412
    wire_name = "PreconditionFailedException"

    def __init__(self) -> None:
        super().__init__(
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        )


class TooLarge(LambdaError):
    """A request body beyond the limit of its operation."""

    status = 413
    wire_name = "RequestEntityTooLargeException"


class PayloadTooLarge(LambdaError):
    """An event beyond 6 MB."""

    status = 413
    wire_name = "RequestTooLargeException"


class TooManyRequests(LambdaError):
    """No worker came free before the deadline. ``reason`` is one of AWS's ThrottleReason."""

    status = 429
    wire_name = "TooManyRequestsException"

    def __init__(self, reason: str) -> None:
        super().__init__("Rate Exceeded.")
        self.reason = reason

    @property
    def body(self) -> dict[str, str]:
        return super().body | {"Reason": self.reason}


class ServiceFailure(LambdaError):
    """Our own part failed; the request may have been fine."""

    status = 500
    wire_name = "ServiceException"
    message_member = "Message"
    fault = "Service"


class NotSupported(LambdaError):
    """Something AWS has and ESB does not have yet. AWS has no name for that; this one is ours."""

    status = 501
    wire_name = "NotImplementedException"

    def __init__(self, what: str) -> None:
        super().__init__(f"ESB does not support this yet: {what}")


class UnknownOperation(LambdaError):
    """No operation of Lambda's has this method and path."""

    status = 404
    wire_name = "UnknownOperationException"
