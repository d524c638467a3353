"""The HTTP protocol on real sockets: what it answers, what it refuses, in which order, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from esb_gateway.doors.http import (
    Connection,
    Exchange,
    HttpLimits,
    Registry,
    Response,
    Route,
)

MOST = 1000
Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Site:
    """A server with a few routes; ``held`` are exchanges that wait for the test to answer them."""

    def __init__(self, limits: HttpLimits | None = None, most: int = 100) -> None:
        self.limits = limits or HttpLimits()
        self.registry = Registry(most)
        self.held: asyncio.Queue[Exchange] = asyncio.Queue()
        self.seen: list[bytes] = []
        self.lost = asyncio.Event()

    def route(self, exchange: Exchange) -> Route | Response:
        match exchange.target:
            case b"/echo":
                return Route(self._echo, MOST)
            case b"/hold":
                return Route(self._hold, MOST)
            case b"/big":
                return Route(lambda whole: whole.answer(Response(200, (), b"x" * 2_000_000)))
            case b"/stream":
                return Route(self._stream)
            case _:
                return Response(404, (), b"no")

    def _echo(self, exchange: Exchange) -> None:
        self.seen.append(exchange.body)
        exchange.answer(Response(200, (), exchange.method + b" " + exchange.body))

    def _hold(self, exchange: Exchange) -> None:
        exchange.on_close(self.lost.set)
        self.held.put_nowait(exchange)

    def _stream(self, exchange: Exchange) -> None:
        stream = exchange.stream(Response(200, (), b"first"))
        stream.write(b"second")
        stream.end()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Open]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(self.route, self.limits, self.registry), "127.0.0.1", 0
        )
        writers: list[asyncio.StreamWriter] = []

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writers.append(writer)
            return reader, writer

        try:
            async with asyncio.timeout(20):
                yield connect
        finally:
            for writer in writers:
                writer.close()
            self.registry.abort()
            server.close()


def run(body: Callable[[Site, Open], Awaitable[None]], site: Callable[[], Site] = Site) -> None:
    async def main() -> None:
        here = site()
        async with here.open() as connect:
            await body(here, connect)

    asyncio.run(main())


async def exchange(connect: Open, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await connect()
    writer.write(sent)
    return await reader.read()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One answer with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


def post(path: str, body: bytes, extra: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_connection_carries_many_requests() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        for text in (b"one", b"two"):
            writer.write(post("/echo", text))
            assert await answer(reader) == (200, b"POST " + text)

    run(body)


def test_a_request_may_come_byte_by_byte() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        for number in post("/echo", b"slowly"):
            writer.write(bytes([number]))
            await writer.drain()
            await asyncio.sleep(0)
        assert await answer(reader) == (200, b"POST slowly")

    run(body)


def test_a_chunked_body_is_joined() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: t\r\n\r\n")
        assert await answer(reader) == (200, b"POST abcde")

    run(body)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def body(site: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(post("/hold", b"1") + post("/echo", b"2") + post("/hold", b"3") + post("/echo", b"4"))
        first = await site.held.get()
        assert site.seen == []
        first.answer(Response(200, (), b"held 1"))
        assert await answer(reader) == (200, b"held 1")
        assert await answer(reader) == (200, b"POST 2")
        (await site.held.get()).answer(Response(200, (), b"held 3"))
        assert await answer(reader) == (200, b"held 3")
        assert await answer(reader) == (200, b"POST 4")

    run(body)


def test_too_many_pipelined_requests_close_the_connection() -> None:
    async def body(site: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(post("/hold", b"1") + post("/echo", b"2") * 100)
        (await site.held.get()).answer(Response(200, (), b"1"))
        assert await answer(reader) == (200, b"1")
        assert await reader.read() == b""

    run(body)


def test_a_chunked_answer_is_streamed() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        assert await reader.readuntil(b"0\r\n\r\n") == b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"

    run(body)


def test_a_big_answer_reaches_a_slow_reader() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _number in range(3):
            assert await answer(reader) == (200, b"x" * 2_000_000)

    run(body)


def test_head_has_a_length_and_no_body() -> None:
    async def body(_: Site, connect: Open) -> None:
        got = await exchange(connect, b"HEAD /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"Content-Length: 2000000" in got
        assert got.endswith(b"\r\n\r\n")

    run(body)


def test_continue_is_said_before_a_wanted_body() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert await answer(reader) == (200, b"POST ok")

    run(body)


def test_a_body_that_is_not_wanted_is_refused_before_it_is_sent() -> None:
    async def body(_: Site, connect: Open) -> None:
        request = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"
        got = await exchange(connect, request)
        assert got.startswith(b"HTTP/1.1 413 ")

    run(body)


@pytest.mark.parametrize("size", [MOST + 1, 5_000_000])
def test_a_body_beyond_the_limit_is_refused_after_it_was_sent(size: int) -> None:
    async def body(site: Site, connect: Open) -> None:
        assert (await exchange(connect, post("/echo", b"x" * size))).startswith(b"HTTP/1.1 413 ")
        assert site.seen == []

    run(body)


def test_a_chunked_body_beyond_the_limit_is_refused() -> None:
    async def body(site: Site, connect: Open) -> None:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        got = await exchange(
            connect, head + b"200\r\n" + b"x" * 512 + b"\r\n200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n"
        )
        assert got.startswith(b"HTTP/1.1 413 ")
        assert site.seen == []

    run(body)


POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "both lengths": POST + b"Content-Length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "both lengths, turned": POST + CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "twice the same length": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "chunked twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "hexadecimal length": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "space before colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "folded header": POST + b"A: b\r\n c\r\n\r\n",
    "no host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two hosts": POST + b"Host: y\r\n\r\n",
    "NUL in a header": POST + b"A: \x00\r\n\r\n",
    "bare line feeds in a header": b"GET /echo HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bad chunk size": POST + CHUNKED + b"\r\nzz\r\n",
    "chunk longer than it says": POST + CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n",
    "1.0 with a coding": b"POST /echo HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64,
    "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_refused_and_closed(sent: bytes) -> None:
    async def body(site: Site, connect: Open) -> None:
        smuggled = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
        got = await exchange(connect, sent + smuggled)
        assert got.startswith(b"HTTP/1.1 400 ")
        assert got.count(b"HTTP/1.1 ") == 1
        assert site.seen == []

    run(body)


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (501, b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (431, b"GET /echo HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 40_000 + b"\r\n\r\n"),
        (431, b"GET /echo HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n"),
        (414, b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    ],
)
def test_what_is_too_much_is_refused_with_its_own_status(status: int, sent: bytes) -> None:
    async def body(_: Site, connect: Open) -> None:
        assert (await exchange(connect, sent)).startswith(b"HTTP/1.1 %d " % status)

    run(body)


def test_a_header_that_never_ends_is_cut_off() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(b"GET /echo HTTP/1.1\r\nHost: x\r\nA: ")
        with contextlib.suppress(ConnectionError):
            for _number in range(100):
                writer.write(b"x" * 10_000)
                await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")

    run(body)


def quick() -> Site:
    return Site(HttpLimits(head_s=0.05, body_s=0.05, idle_s=0.05))


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (b"GET /echo HT", b"HTTP/1.1 408 "),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na", b"HTTP/1.1 408 "),
        (b"", b""),
        (post("/echo", b"1") + b"GET /echo HT", b"HTTP/1.1 200 "),
    ],
    ids=["half a head", "half a body", "nothing", "half of a second head"],
)
def test_who_does_not_go_on_is_cut_off(sent: bytes, got: bytes) -> None:
    async def body(_: Site, connect: Open) -> None:
        assert (await exchange(connect, sent)).startswith(got)

    run(body, quick)


def test_an_idle_connection_is_closed() -> None:
    async def body(_: Site, connect: Open) -> None:
        got = await exchange(connect, post("/echo", b"1"))
        assert got.startswith(b"HTTP/1.1 200 ")

    run(body, quick)


def test_time_does_not_run_while_the_server_thinks() -> None:
    async def body(site: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(post("/hold", b"1"))
        held = await site.held.get()
        await asyncio.sleep(0.2)
        held.answer(Response(200, (), b"done"))
        assert await answer(reader) == (200, b"done")

    run(body, quick)


def test_a_client_that_goes_is_noticed_and_answering_it_is_harmless() -> None:
    async def body(site: Site, connect: Open) -> None:
        _, writer = await connect()
        writer.write(post("/hold", b"1"))
        held = await site.held.get()
        writer.transport.abort()
        await site.lost.wait()
        held.answer(Response(200, (), b"nobody"))
        await site.registry.empty()
        assert not held.connected

    run(body)


def test_a_half_closed_client_gets_its_answer() -> None:
    async def body(site: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(post("/hold", b"1"))
        writer.write_eof()
        (await site.held.get()).answer(Response(200, (), b"done"))
        assert await answer(reader) == (200, b"done")
        assert await reader.read() == b""

    run(body)


def test_more_connections_than_allowed_are_refused() -> None:
    async def body(_: Site, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(post("/echo", b"1"))
        await answer(reader)
        assert (await exchange(connect, b"")).startswith(b"HTTP/1.1 503 ")

    run(body, lambda: Site(most=1))


def test_draining_answers_what_runs_and_closes_the_rest() -> None:
    async def body(site: Site, connect: Open) -> None:
        idle, writer = await connect()
        writer.write(post("/echo", b"1"))
        await answer(idle)
        busy, writer = await connect()
        writer.write(post("/hold", b"1"))
        held = await site.held.get()
        site.registry.drain()
        with contextlib.suppress(ConnectionError):
            assert await idle.read() == b""
        held.answer(Response(200, (), b"done"))
        assert await answer(busy) == (200, b"done")
        assert await busy.read() == b""
        await site.registry.empty()

    run(body)


def test_http_1_0_is_answered_and_closed() -> None:
    async def body(_: Site, connect: Open) -> None:
        got = await exchange(connect, b"POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\na")
        assert got.startswith(b"HTTP/1.1 200 ")
        assert got.endswith(b"POST a")

    run(body)


def test_a_route_that_breaks_closes_its_connection_only() -> None:
    class Broken(Site):
        def _echo(self, exchange: Exchange) -> None:
            raise ZeroDivisionError

    async def body(_: Site, connect: Open) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
        assert await exchange(connect, post("/echo", b"1")) == b""
        reader, writer = await connect()
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    run(body, Broken)
