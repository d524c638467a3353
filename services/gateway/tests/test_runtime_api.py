"""A worker's Runtime API, spoken raw: paths, states, several connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from esb_gateway.testing import Reply, Runtime, echo


def invoke(box: Any, payload: bytes = b"1") -> bytes:
    body: bytes = box.client().invoke(FunctionName="f", Payload=payload)["Payload"].read()
    return body


def play(box: Any, behaviour: Any) -> bytes:
    """Invoke a function whose worker is ``behaviour``."""
    box.behaviours["app.play"] = behaviour
    box.create(handler="app.play")
    return invoke(box)


def test_a_runtime_with_a_connection_per_call_works(box: Any) -> None:
    box.create(handler="app.one_connection_each")
    assert [invoke(box, b"%d" % n) for n in range(5)] == [b"%d" % n for n in range(5)]
    assert box.node.started == 1


@pytest.mark.parametrize("path", ["invocation/{}/response", "invocation/{}/error"])
def test_a_result_of_another_invocation_is_refused(box: Any, path: str) -> None:
    replies: list[Reply] = []

    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        replies.append(await runtime.call("POST", path.format("00000000-0000-0000-0000-000000000000"), b"2"))
        await runtime.respond(invocation.request, b"3")
        replies.append(await runtime.respond(invocation.request, b"4"))
        return await echo(runtime)

    assert play(box, behaviour) == b"3"
    assert invoke(box) == b"1"
    assert [reply.status for reply in replies] == [400, 400]
    assert b'"errorType":"InvalidRequestID"' in replies[0].body


def test_a_poll_with_an_invocation_in_hand_is_refused(box: Any) -> None:
    replies: list[Reply] = []

    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        replies.append(await runtime.call("GET", "invocation/next"))
        replies.append(await runtime.init_error({"errorType": "late"}))
        await runtime.respond(invocation.request, b"3")
        return await echo(runtime)

    assert play(box, behaviour) == b"3"
    assert [reply.status for reply in replies] == [403, 403]
    assert b"InvalidStateTransition" in replies[0].body


def test_a_second_poll_beside_a_waiting_one_is_refused(box: Any) -> None:
    statuses: list[int] = []

    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        await runtime.respond(invocation.request, b"3")
        other = Runtime(runtime.blob, runtime.address, -1)
        replies = await asyncio.gather(*(one.call("GET", "invocation/next") for one in (runtime, other)))
        statuses.extend(sorted(reply.status for reply in replies))
        second = next(reply for reply in replies if reply.status == 200)
        await runtime.respond(second.headers["lambda-runtime-aws-request-id"], b"4")
        await other.disconnect()
        return await echo(runtime)

    assert play(box, behaviour) == b"3"
    assert invoke(box) == b"4"
    assert statuses == [200, 403]


def test_unknown_paths_and_methods_are_refused(box: Any) -> None:
    replies: list[Reply] = []

    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        replies.append(await runtime.call("GET", "nothing"))
        replies.append(await runtime.call("POST", "invocation/next"))
        replies.append(await runtime.call("GET", f"invocation/{invocation.request}/response"))
        await runtime.respond(invocation.request, b"3")
        return await echo(runtime)

    assert play(box, behaviour) == b"3"
    assert [reply.status for reply in replies] == [404, 405, 405]


def test_a_worker_whose_poll_broke_is_used_again_when_it_asks(box: Any) -> None:
    ready = asyncio.Event()

    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        await runtime.respond(invocation.request, b"3")
        waiting = asyncio.create_task(runtime.next())
        await asyncio.sleep(0)
        waiting.cancel()
        await runtime.disconnect()
        ready.set()
        return await echo(runtime)

    assert play(box, behaviour) == b"3"
    box.run(ready.wait())
    assert invoke(box) == b"1"


def test_a_function_may_return_what_is_no_json(box: Any) -> None:
    async def behaviour(runtime: Runtime) -> int:
        invocation = await runtime.next()
        await runtime.respond(invocation.request, b"<html>")
        return await echo(runtime)

    assert play(box, behaviour) == b"<html>"
