"""Workers' output becomes lines in bounded files, and reaches followers at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from esb_common.clock import Clock
from esb_common.ids import FunctionName
from esb_common.log import Log
from esb_gateway.hands import output
from esb_gateway.hands.output import LogBook, WorkerOutput, stamp

NAME = FunctionName("f")


class Noon(Clock):
    """It is always 1970-01-01 12:00:00.25."""

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 43_200.25


def run(folder: Path, body: Callable[[LogBook], Awaitable[None]]) -> None:
    async def main() -> None:
        book = LogBook(folder, Noon(), Log("test"))
        await book.open(lambda name: name == NAME)
        await body(book)

    asyncio.run(main())


def sizes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_times_are_iso_in_utc() -> None:
    assert stamp(0.999) == "1970-01-01T00:00:00.999Z"


def test_lines_are_stamped_and_the_last_ones_are_read_back(tmp_path: Path) -> None:
    async def body(book: LogBook) -> None:
        book.write(NAME, [b"one", b"two"])
        book.write(NAME, [b"three"])
        assert await book.tail(NAME, 2) == b"1970-01-01T12:00:00.250Z two\n1970-01-01T12:00:00.250Z three\n"
        assert await book.tail(FunctionName("other"), 2) == b""

    run(tmp_path, body)


def test_a_full_file_is_put_aside_once(tmp_path: Path) -> None:
    async def body(book: LogBook) -> None:
        for number in range(4):
            book.write(NAME, [b"%d" % number + b"x" * (output.ROTATE_BYTES // 2)])
            await book.flush()
        sizes = sizes_in(tmp_path)
        assert set(sizes) == {"f.log", "f.log.1"}
        assert all(size <= output.ROTATE_BYTES for size in sizes.values())
        assert (await book.tail(NAME, 1))[25:26] == b"3"

    run(tmp_path, body)


def test_followers_hear_at_once_until_they_stop(tmp_path: Path) -> None:
    async def body(book: LogBook) -> None:
        heard: list[bytes] = []
        stop = book.follow(NAME, heard.append)
        book.write(NAME, [b"one"])
        stop()
        book.write(NAME, [b"two"])
        assert heard == [b"1970-01-01T12:00:00.250Z one\n"]

    run(tmp_path, body)


def test_opening_removes_the_logs_of_functions_that_are_gone(tmp_path: Path) -> None:
    for name in ("f.log", "f.log.1", "g.log"):
        (tmp_path / name).write_bytes(b"")

    async def body(_: LogBook) -> None:
        assert set(sizes_in(tmp_path)) == {"f.log", "f.log.1"}

    run(tmp_path, body)


def test_removed_logs_are_gone(tmp_path: Path) -> None:
    async def body(book: LogBook) -> None:
        book.write(NAME, [b"one"])
        await book.flush()
        book.write(NAME, [b"two"])
        await book.remove(NAME)
        assert await book.tail(NAME, 10) == b""
        assert sizes_in(tmp_path) == {}

    run(tmp_path, body)


def test_what_is_pending_is_written_when_the_writer_is_cancelled(tmp_path: Path) -> None:
    async def body(book: LogBook) -> None:
        writer = asyncio.create_task(book.run())
        await asyncio.sleep(0)
        book.write(NAME, [b"last"])
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        assert (tmp_path / "f.log").read_bytes().endswith(b"last\n")

    run(tmp_path, body)


def test_a_drain_takes_all_that_was_written_before_it() -> None:
    async def main() -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        lines: list[bytes] = []
        worker = WorkerOutput(reading, lines.extend)
        os.write(writing, b"x" * 60_000 + b"\nno end")
        worker.drain()
        assert lines == [b"x" * 60_000, b"no end"]
        os.write(writing, b"more\n")
        os.close(writing)
        worker.close()
        worker.close()
        assert lines[2:] == [b"more"]

    asyncio.run(main())


def test_output_is_read_while_an_invocation_runs() -> None:
    async def main() -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        lines: asyncio.Queue[list[bytes]] = asyncio.Queue()
        worker = WorkerOutput(reading, lines.put_nowait)
        os.write(writing, b"live\n")
        assert await asyncio.wait_for(lines.get(), 10) == [b"live"]
        os.close(writing)
        worker.close()

    asyncio.run(main())
