"""The Lambda API, REST-JSON, as ``contracts/lambda-api.md`` says.

Invoke is answered from callbacks alone. The other operations change or read more than memory
holds at hand, so each runs as a task of its own.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

from esb_common.clock import Clock
from esb_common.ids import FunctionName, RequestId

from esb_gateway.core import invoke, operations, requests
from esb_gateway.core.errors import (
    InvalidParameterValue,
    LambdaError,
    NotSupported,
    ServiceFailure,
    TooLarge,
    UnknownOperation,
)
from esb_gateway.core.function import LATEST, Deployed, Function, configuration
from esb_gateway.core.logtail import Tail
from esb_gateway.core.names import Place, resolve, violation
from esb_gateway.core.outcome import Outcome, Returned, answer
from esb_gateway.core.ports import Call, Calls, Functions, Spawn
from esb_gateway.doors.http import Exchange, Response, Route, json_response

MAX_CODE_REQUEST = 70_167_211
"""AWS's limit for a request that carries code: 50 MB in base64 and some."""

MAX_REQUEST = 1_048_576
PAGE_MOST = 50
PARAMETERS_MOST = 20
FUNCTIONS = b"/2015-03-31/functions/"
INVOCATIONS = b"/invocations"
_NOT_YET = frozenset({b"x-amz-durable-execution-name", b"x-amz-tenant-id"})
_EXECUTED = (("Content-Type", "application/json"), ("X-Amz-Executed-Version", LATEST))

Operation = Callable[[Exchange, tuple[str, ...]], Awaitable[Response]]
CodeUrl = Callable[[Exchange, Function], str]


class LambdaApi:
    """The operations that ESB has; every other one of AWS's is refused by name."""

    def __init__(
        self,
        functions: Functions,
        calls: Calls,
        place: Place,
        architecture: str,
        clock: Clock,
        spawn: Spawn,
        code_url: CodeUrl,
    ) -> None:
        self._functions = functions
        self._calls = calls
        self._place = place
        self._architecture = architecture
        self._clock = clock
        self._spawn = spawn
        self._code_url = code_url
        self._invoke = Route(self._invoked, invoke.MAX_PAYLOAD, lambda _: refusal(invoke.too_large()))
        self._operations: dict[str, Operation] = {
            "CreateFunction": self._create_function,
            "GetFunction": self._get_function,
            "GetFunctionConfiguration": self._get_configuration,
            "ListFunctions": self._list_functions,
            "UpdateFunctionCode": self._update_code,
            "UpdateFunctionConfiguration": self._update_configuration,
            "DeleteFunction": self._delete_function,
        }

    @property
    def supported(self) -> frozenset[str]:
        """The operations that are not refused."""
        return frozenset(self._operations) | {"Invoke"}

    def route(self, exchange: Exchange) -> Route | Response:
        """Where a request under no other path goes."""
        if invokes(exchange):
            return self._invoke
        path, _, query = exchange.target.partition(b"?")
        try:
            text = path.decode("ascii")
        except UnicodeDecodeError:
            return refusal(UnknownOperation("the path is not percent-encoded"))
        method = exchange.method.decode()
        found = operations.find(method, text, query.decode("latin-1"))
        if found is None:
            return refusal(UnknownOperation(f"Lambda has no operation {method} {text[:200]}"))
        name, segments = found
        operation = self._operations.get(name)
        if operation is None:
            return refusal(NotSupported(name))
        most = MAX_CODE_REQUEST if name in ("CreateFunction", "UpdateFunctionCode") else MAX_REQUEST
        too_large = TooLarge(f"Request must be smaller than {most} bytes for the {name} operation")
        return Route(
            lambda whole: self._start(whole, operation, tuple(unquote(one) for one in segments)),
            most,
            lambda _: refusal(too_large),
        )

    def _start(self, exchange: Exchange, operation: Operation, segments: tuple[str, ...]) -> None:
        self._spawn(self._run(exchange, operation, segments))

    async def _run(self, exchange: Exchange, operation: Operation, segments: tuple[str, ...]) -> None:
        response = _FAILED
        try:
            response = await operation(exchange, segments)
        except LambdaError as error:
            response = refusal(error)
        finally:
            exchange.answer(response)

    # --- Invoke --------------------------------------------------------------------------

    def _invoked(self, exchange: Exchange) -> None:
        request = new_request()
        try:
            self._invoke_now(exchange, request)
        except LambdaError as error:
            exchange.answer(refusal(error, request))

    def _invoke_now(self, exchange: Exchange, request: RequestId) -> None:
        deployed = self._invoked_function(exchange)
        given = {
            name: value.decode("latin-1") for name, value in exchange.headers if name.startswith(b"x-am")
        }
        for header in (b"x-amz-durable-execution-name", b"x-amz-tenant-id"):
            if header in given:
                raise NotSupported(f"header {header.decode()} of Invoke")
        runs = invoke.invocation_type(given.get(b"x-amz-invocation-type"))
        tail = Tail() if invoke.wants_tail(given.get(b"x-amz-log-type")) else None
        context = invoke.client_context(given.get(b"x-amz-client-context"))
        payload = invoke.payload(exchange.body)
        if not runs:
            exchange.answer(Response(204, (("x-amzn-RequestId", request), *_EXECUTED[1:])))
            return
        trace = invoke.trace(given.get(b"x-amzn-trace-id"), self._clock.wall(), secrets.token_hex)

        def answered(outcome: Outcome, log: bytes) -> None:
            if tail is None and isinstance(outcome, Returned):
                exchange.answer_raw(_returned_head(request, trace), outcome.body)
                return
            exchange.answer(_invoke_response(outcome, request, trace, None if tail is None else log))

        self._calls.invoke(Call(request, deployed, payload, trace, answered, context, tail))

    def _invoked_function(self, exchange: Exchange) -> Deployed:
        path, _, query = exchange.target.partition(b"?")
        name = path[len(FUNCTIONS) : -len(INVOCATIONS)].decode("latin-1")
        if not query and (found := self._functions.find(FunctionName(name))) is not None:
            return found
        return self._functions.get(self._named(exchange, name))

    # --- the other operations ------------------------------------------------------------

    async def _create_function(self, exchange: Exchange, _: tuple[str, ...]) -> Response:
        _query(exchange)
        creation = requests.creation(requests.body_members(exchange.body), self._architecture)
        exchange.body = b""
        function = await self._functions.create(creation)
        return ok(configuration(function), 201)

    async def _get_function(self, exchange: Exchange, segments: tuple[str, ...]) -> Response:
        function = self._functions.get(self._named(exchange, segments[0])).function
        code = {"RepositoryType": "S3", "Location": self._code_url(exchange, function)}
        return ok({"Configuration": configuration(function), "Code": code})

    async def _get_configuration(self, exchange: Exchange, segments: tuple[str, ...]) -> Response:
        return ok(configuration(self._functions.get(self._named(exchange, segments[0])).function))

    async def _list_functions(self, exchange: Exchange, _: tuple[str, ...]) -> Response:
        query = _query(exchange, "Marker", "MaxItems", "FunctionVersion", "MasterRegion")
        for name in ("FunctionVersion", "MasterRegion"):
            if name in query:
                raise NotSupported(f"ListFunctions parameter {name}")
        limit = _max_items(query.get("MaxItems"))
        page = self._functions.page(_after(query.get("Marker")), limit + 1)
        shown: dict[str, Any] = {"Functions": [configuration(function) for function in page[:limit]]}
        if len(page) > limit:
            shown["NextMarker"] = base64.urlsafe_b64encode(page[limit - 1].name.encode()).decode()
        return ok(shown)

    async def _update_code(self, exchange: Exchange, segments: tuple[str, ...]) -> Response:
        name = self._named(exchange, segments[0])
        update = requests.code_update(requests.body_members(exchange.body), self._architecture)
        exchange.body = b""
        return ok(configuration(await self._functions.update_code(name, update)))

    async def _update_configuration(self, exchange: Exchange, segments: tuple[str, ...]) -> Response:
        name = self._named(exchange, segments[0])
        update = requests.configuration_update(requests.body_members(exchange.body))
        return ok(configuration(await self._functions.update_configuration(name, update)))

    async def _delete_function(self, exchange: Exchange, segments: tuple[str, ...]) -> Response:
        name = self._named(exchange, segments[0])
        await self._functions.delete(name)
        return Response(204, (("x-amzn-RequestId", new_request()), ("Content-Type", "application/json")))

    def _named(self, exchange: Exchange, text: str) -> FunctionName:
        query = _query(exchange, "Qualifier")
        return resolve(unquote(text), query.get("Qualifier"), self._place)


def invokes(exchange: Exchange) -> bool:
    """Whether a request's method and path are those of Invoke."""
    path = exchange.target.partition(b"?")[0]
    return exchange.method == b"POST" and path.startswith(FUNCTIONS) and path.endswith(INVOCATIONS)


def new_request() -> RequestId:
    """A request id that was never used: a random UUID (RFC 9562 §5.4), made faster than uuid4."""
    text = os.urandom(16).hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return RequestId(f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}")


def refusal(error: LambdaError, request: RequestId | None = None) -> Response:
    """``error`` as AWS's REST-JSON protocol carries it."""
    headers = (("x-amzn-RequestId", request or new_request()), ("x-amzn-ErrorType", error.wire_name))
    return json_response(error.status, error.body, headers)


def ok(content: dict[str, Any], status: int = 200) -> Response:
    """An operation's result."""
    return json_response(status, content, (("x-amzn-RequestId", new_request()),))


def _returned_head(request: RequestId, trace: str) -> bytes:
    """The head of the most frequent answer, in one piece."""
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"X-Amz-Executed-Version: {LATEST}\r\nx-amzn-RequestId: {request}\r\nX-Amzn-Trace-Id: {trace}\r\n"
    )
    return head.encode("latin-1")


def _invoke_response(outcome: Outcome, request: RequestId, trace: str, log: bytes | None) -> Response:
    result = answer(outcome, request)
    if isinstance(result, LambdaError):
        return refusal(result, request)
    headers: tuple[tuple[str, str], ...] = (
        *_EXECUTED,
        ("x-amzn-RequestId", request),
        ("X-Amzn-Trace-Id", trace),
    )
    if result.error is not None:
        headers += (("X-Amz-Function-Error", result.error),)
    if log is not None:
        headers += (("X-Amz-Log-Result", base64.b64encode(log).decode()),)
    return Response(200, headers, result.body)


def _query(exchange: Exchange, *known: str) -> dict[str, str]:
    """The query's parameters, of which only ``known`` may be there."""
    text = exchange.target.partition(b"?")[2].decode("latin-1")
    if not text:
        return {}
    try:
        parameters = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETERS_MOST))
    except ValueError:
        raise InvalidParameterValue(f"A request has at most {PARAMETERS_MOST} query parameters") from None
    for name in parameters:
        if name not in known:
            raise InvalidParameterValue(f"The operation has no parameter {name[:100]}")
    return parameters


def _max_items(text: str | None) -> int:
    """A page's size. AWS takes up to 10,000 and returns 50 at most."""
    if text is None:
        return PAGE_MOST
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= 10_000:
        raise violation(text[:50], "maxItems", "Member must have value between 1 and 10000")
    return min(int(text), PAGE_MOST)


def _after(marker: str | None) -> str:
    if not marker:
        return ""
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidParameterValue("The marker is not one that ListFunctions returned") from None


_FAILED = refusal(ServiceFailure("ESB failed; its log says why"))
