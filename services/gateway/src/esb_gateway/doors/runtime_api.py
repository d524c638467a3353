"""The Runtime API of one worker, on the listening socket that the node opened for it.

The socket is the worker's identity: whoever speaks here is that worker. Paths, headers and
bodies are AWS's (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html). A waiting
``/next`` is answered by writing into its connection when the fleet says so. A worker may open
several connections; shell runtimes open one per call.
"""

from __future__ import annotations

import asyncio
import socket

from esb_common.ids import RequestId, WorkerId

from esb_gateway.core.events import Forbidden, WrongInvocation
from esb_gateway.core.outcome import MAX_RESPONSE, FunctionFailed, RanOutcome, ResponseTooLarge, Returned
from esb_gateway.core.ports import Handed, WorkerVoice
from esb_gateway.doors.http import (
    Connection,
    Exchange,
    HttpLimits,
    Registry,
    Response,
    Route,
    json_response,
)

PREFIX = b"/2018-06-01/runtime/"
NEXT = PREFIX + b"invocation/next"
INIT_ERROR = PREFIX + b"init/error"
INVOCATION = PREFIX + b"invocation/"
MAX_ERROR = MAX_RESPONSE
HEAD_MOST = 2 * 1024 * 1024
"""AWS's runtime client repeats an error, up to a megabyte of it, in a header for X-Ray."""

LIMITS = HttpLimits(head_bytes=HEAD_MOST, idle_s=None, body_s=900.0, body_total_s=900.0, head_s=900.0)
"""A worker is bounded by its invocation's deadline; its connections by their number."""

CONNECTIONS = 64
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
STATUS_OK = b'{"status":"OK"}\n'


class RuntimeDoor:
    """One worker's Runtime API."""

    def __init__(self, worker: WorkerId, voice: WorkerVoice) -> None:
        self._worker = worker
        self._voice = voice
        self._waiting: Exchange | None = None
        self._registry = Registry(CONNECTIONS, dated=False, close_on_eof=True)
        self._server: asyncio.Server | None = None
        self._closed = False
        self._next = Route(self._polled)
        self._init_error = Route(self._init_failed, MAX_ERROR, _too_large)
        self._error = Route(self._failed, MAX_ERROR, _too_large)
        self._response = Route(self._returned, MAX_RESPONSE, self._refuse_response)

    async def open(self, listener: socket.socket) -> None:
        """Serve ``listener``, which this object owns from here on."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._connection, sock=listener)
        if self._closed:
            server.close()
        else:
            self._server = server

    def close(self) -> None:
        """Stop serving and cut the worker's connections off."""
        self._closed = True
        self._waiting = None
        if self._server is not None:
            self._server.close()
        self._registry.abort()

    def hand(self, invocation: Handed) -> None:
        """Answer the waiting poll."""
        exchange, self._waiting = self._waiting, None
        assert exchange is not None, "an invocation is handed to a waiting worker only"
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {invocation.request}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {invocation.deadline_ms}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {invocation.arn}\r\n"
            f"Lambda-Runtime-Trace-Id: {invocation.trace}\r\n"
        )
        if invocation.client_context is not None:
            head += f"Lambda-Runtime-Client-Context: {invocation.client_context}\r\n"
        exchange.answer_raw(head.encode("latin-1"), invocation.payload)

    # --- routes --------------------------------------------------------------------------

    def _connection(self) -> Connection:
        return Connection(self._route, LIMITS, self._registry)

    def _route(self, exchange: Exchange) -> Route | Response:
        target, method = exchange.target, exchange.method
        if target == NEXT:
            return self._next if method == b"GET" else _NOT_ALLOWED
        if target == INIT_ERROR:
            return self._init_error if method == b"POST" else _NOT_ALLOWED
        request, _, verb = target.removeprefix(INVOCATION).partition(b"/")
        if target.startswith(INVOCATION) and request and verb in (b"response", b"error"):
            if method != b"POST":
                return _NOT_ALLOWED
            return self._response if verb == b"response" else self._error
        return _NOT_FOUND

    def _polled(self, exchange: Exchange) -> None:
        if self._waiting is not None:
            exchange.answer(_refusal(403, "InvalidStateTransition", "another poll is waiting"))
            return
        self._waiting = exchange
        exchange.on_close(self._poll_lost)
        try:
            self._voice.polled(self._worker)
        except Forbidden as error:
            self._waiting = None
            exchange.answer(_refusal(403, "InvalidStateTransition", str(error)))

    def _poll_lost(self) -> None:
        if self._waiting is not None:
            self._waiting = None
            self._voice.poll_lost(self._worker)

    def _returned(self, exchange: Exchange) -> None:
        self._finish(exchange, Returned(exchange.body))

    def _failed(self, exchange: Exchange) -> None:
        self._finish(exchange, FunctionFailed(exchange.body))

    def _finish(self, exchange: Exchange, outcome: RanOutcome) -> None:
        try:
            self._voice.finished(self._worker, _request_of(exchange), outcome)
        except WrongInvocation:
            exchange.answer(_WRONG_REQUEST)
        except Forbidden as error:
            exchange.answer(_refusal(403, "InvalidStateTransition", str(error)))
        else:
            exchange.answer_raw(ACCEPTED, STATUS_OK)

    def _init_failed(self, exchange: Exchange) -> None:
        try:
            self._voice.init_failed(self._worker, exchange.body)
        except Forbidden as error:
            exchange.answer(_refusal(403, "InvalidStateTransition", str(error)))
        else:
            exchange.answer_raw(ACCEPTED, STATUS_OK)

    def _refuse_response(self, exchange: Exchange) -> Response:
        try:
            self._voice.finished(self._worker, _request_of(exchange), ResponseTooLarge())
        except Forbidden:
            return _WRONG_REQUEST
        return _too_large(exchange)


def _request_of(exchange: Exchange) -> RequestId:
    return RequestId(exchange.target.removeprefix(INVOCATION).partition(b"/")[0].decode("latin-1"))


def _refusal(status: int, kind: str, message: str) -> Response:
    return json_response(status, {"errorMessage": message, "errorType": kind})


def _too_large(_: Exchange) -> Response:
    limit = f"Exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
    return _refusal(413, "RequestEntityTooLarge", limit)


_WRONG_REQUEST = _refusal(400, "InvalidRequestID", "Invalid request ID")
_NOT_FOUND = _refusal(404, "NotFound", "no such path in the Runtime API")
_NOT_ALLOWED = _refusal(405, "MethodNotAllowed", "the path has another method")
