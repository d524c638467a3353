"""The box's own pages under ``/_esb/``, as ``contracts/admin.md`` says, and packages for GetFunction.

A package's address is signed and expires, as on AWS: it needs no credentials and can be fetched
by whoever was given it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from esb_common.clock import Clock
from esb_common.ids import Digest, FunctionName

from esb_gateway.core.function import Function
from esb_gateway.core.ports import Functions, Logs, Spawn
from esb_gateway.doors.http import Exchange, Response, Route, json_response

PREFIX = b"/_esb/"
CODE_VALID_S = 600
PART = 256 * 1024
TAIL_DEFAULT = 100
TAIL_MOST = 10_000
FOLLOW_BEHIND = 4096
PARAMETERS_MOST = 20
_LOGS = re.compile(r"/_esb/logs/([a-zA-Z0-9-_]{1,64})")
_CODE = re.compile(r"/_esb/code/([0-9a-f]{64})")
_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages show. ``health`` is None while all is well, else what is wrong."""

    health: Callable[[], str | None]
    status: Callable[[], Mapping[str, Any]]


class AdminDoor:
    """Health, status, logs and packages."""

    def __init__(self, pages: Pages, functions: Functions, logs: Logs, clock: Clock, spawn: Spawn) -> None:
        self._pages = pages
        self._functions = functions
        self._logs = logs
        self._clock = clock
        self._spawn = spawn
        self._key = secrets.token_bytes(32)
        self._following: set[asyncio.Queue[bytes | None]] = set()

    def route(self, exchange: Exchange) -> Route | Response:
        """Where a request under :data:`PREFIX` goes."""
        path, _, query = exchange.target.decode("latin-1").partition("?")
        if exchange.method not in (b"GET", b"HEAD"):
            return _refusal(405, "only GET is known here")
        try:
            parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS_MOST))
        except ValueError:
            return _refusal(400, f"a page has at most {PARAMETERS_MOST} parameters")
        if path == "/_esb/health":
            return Route(self._health)
        if path == "/_esb/status":
            return Route(lambda whole: whole.answer(json_response(200, self._pages.status())))
        if match := _LOGS.fullmatch(path):
            return self._logs_route(FunctionName(match[1]), parameters)
        if match := _CODE.fullmatch(path):
            return self._code_route(Digest(f"sha256:{match[1]}"), parameters)
        return _refusal(404, "the box has no such page")

    def close(self) -> None:
        """End all followers' streams."""
        for texts in self._following:
            texts.put_nowait(None)

    def code_url(self, exchange: Exchange, function: Function) -> str:
        """Where the package of ``function`` can be fetched for :data:`CODE_VALID_S` seconds."""
        host = (exchange.header(b"host") or b"localhost").decode("latin-1")
        expires = int(self._clock.wall()) + CODE_VALID_S
        signature = self._signature(function.code, str(expires))
        return f"{exchange.scheme}://{host}/_esb/code/{function.code[7:]}?expires={expires}&signature={signature}"

    def _signature(self, code: Digest, expires: str) -> str:
        return hmac.new(self._key, f"{code} {expires}".encode(), hashlib.sha256).hexdigest()

    # --- pages ---------------------------------------------------------------------------

    def _health(self, exchange: Exchange) -> None:
        trouble = self._pages.health()
        if trouble is None:
            exchange.answer(json_response(200, {"status": "ok"}))
        else:
            exchange.answer(json_response(503, {"status": "unhealthy", "reason": trouble}))

    def _logs_route(self, function: FunctionName, parameters: Mapping[str, str]) -> Route | Response:
        unknown = sorted(set(parameters) - {"tail", "follow"})
        if unknown:
            return _refusal(400, f"logs have no parameter {unknown[0][:100]}")
        tail = parameters.get("tail", str(TAIL_DEFAULT))
        if not (tail.isascii() and tail.isdecimal()) or int(tail[:9]) > TAIL_MOST:
            return _refusal(400, f"tail is a number of lines up to {TAIL_MOST}")
        follow = parameters.get("follow", "0")
        if follow not in ("0", "1"):
            return _refusal(400, "follow is 0 or 1")
        if self._functions.find(function) is None:
            return _refusal(404, f"no function {function}")
        send = self._follow if follow == "1" else self._tail
        return Route(lambda exchange: self._spawn(send(exchange, function, int(tail))))

    async def _tail(self, exchange: Exchange, function: FunctionName, lines: int) -> None:
        exchange.answer(Response(200, _TEXT, await self._logs.tail(function, lines)))

    async def _follow(self, exchange: Exchange, function: FunctionName, lines: int) -> None:
        """Send the tail, then every text as it comes, until the client goes."""
        texts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._following.add(texts)
        first = await self._logs.tail(function, lines)
        stop = self._logs.follow(function, texts.put_nowait)
        try:
            if not exchange.connected:
                return
            stream = exchange.stream(Response(200, _TEXT, first))
            stream.on_close(lambda: texts.put_nowait(None))
            while (text := await texts.get()) is not None and texts.qsize() < FOLLOW_BEHIND:
                stream.write(text)
            stream.end()
        finally:
            stop()
            self._following.discard(texts)

    def _code_route(self, code: Digest, parameters: Mapping[str, str]) -> Route | Response:
        expires, signature = parameters.get("expires", ""), parameters.get("signature", "")
        if not hmac.compare_digest(self._signature(code, expires).encode(), signature.encode()):
            return _refusal(403, "the address is not one that GetFunction gave out")
        if int(expires) < self._clock.wall():
            return _refusal(403, "the address has expired; ask GetFunction again")
        return Route(lambda exchange: self._spawn(self._send_code(exchange, code)))

    async def _send_code(self, exchange: Exchange, code: Digest) -> None:
        size = await self._functions.code_size(code)
        if size is None:
            exchange.answer(_refusal(404, "the package is gone"))
            return
        stream = exchange.stream(Response(200, (("Content-Type", "application/zip"),)))
        with contextlib.suppress(FileNotFoundError):
            for offset in range(0, size, PART):
                stream.write(await self._functions.code_part(code, offset, PART))
                await stream.drained()
                if not stream.open:
                    return
            stream.end()
            return
        stream.abort()


def _refusal(status: int, message: str) -> Response:
    return json_response(status, {"message": message})
