"""Stands before the other doors and lets in who may come: see ``core/authentication.py``.

A request is refused on its head where that is enough, so that a stranger cannot make the gateway keep a
large body. A signature is checked once the body is there, before the route behind sees anything of it.
Open to everybody: the box's health, and packages, whose addresses carry a signature of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from esb_common.clock import Clock

from esb_gateway.core.authentication import Authentication, Signed
from esb_gateway.core.errors import LambdaError
from esb_gateway.core.ports import Spawn
from esb_gateway.doors.http import Exchange, Response, Route, Router
from esb_gateway.doors.lambda_api import MAX_REQUEST, invokes, refusal

OPEN = (b"/_esb/health", b"/_esb/code/")
INLINE = 1024 * 1024
"""Bodies up to this size are hashed at once, in a millisecond; larger ones in a thread."""

Handle = Callable[[Exchange], None]


class Guard:
    """A router around another one."""

    def __init__(self, authentication: Authentication, clock: Clock, spawn: Spawn, behind: Router) -> None:
        self._authentication = authentication
        self._clock = clock
        self._spawn = spawn
        self._behind = behind

    def route(self, exchange: Exchange) -> Route | Response:
        """Where a request goes, if it may go anywhere."""
        if exchange.target.startswith(OPEN):
            return self._behind(exchange)
        try:
            who = self._authentication.admit(
                exchange.target,
                exchange.headers,
                invokes=invokes(exchange),
                wall=self._clock.wall(),
                now=self._clock.monotonic(),
            )
        except LambdaError as error:
            return refusal(error)
        if not isinstance(who, Signed):
            return self._behind(exchange)
        exchange.target = who.claim.asked
        found = self._behind(exchange)
        if isinstance(found, Response):
            return Route(lambda whole: self._check(whole, who, lambda _: whole.answer(found)), MAX_REQUEST)
        return Route(lambda whole: self._check(whole, who, found.handle), found.body_bytes, found.too_large)

    def _check(self, exchange: Exchange, who: Signed, then: Handle) -> None:
        if len(exchange.body) <= INLINE:
            self._checked(exchange, who, hashlib.sha256(exchange.body).hexdigest(), then)
        else:
            self._spawn(self._check_large(exchange, who, then))

    async def _check_large(self, exchange: Exchange, who: Signed, then: Handle) -> None:
        digest = await asyncio.to_thread(lambda: hashlib.sha256(exchange.body).hexdigest())
        self._checked(exchange, who, digest, then)

    def _checked(self, exchange: Exchange, who: Signed, digest: str, then: Handle) -> None:
        try:
            self._authentication.check(who, exchange.method, exchange.headers, digest)
        except LambdaError as error:
            exchange.answer(refusal(error))
        else:
            then(exchange)
