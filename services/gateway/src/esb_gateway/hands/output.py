"""Functions' logs: what workers print, one bounded file per function, live followers.

Lines are stamped and reach followers at once; files are written a few times a second in a thread,
so a killed gateway loses at most :data:`FLUSH_S` of logs and the warm path never waits for a disk.
A log is ``<function>.log`` and, once that is full, ``<function>.log.1``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from esb_common.clock import Clock
from esb_common.ids import FunctionName
from esb_common.log import Log

from esb_gateway.core.logtail import Lines

FLUSH_S = 0.2
ROTATE_BYTES = 8 * 1024 * 1024
PENDING_MOST = 32 * 1024 * 1024
READ = 64 * 1024
DRAIN_READS = 32
"""Reads of one drain: twice a pipe's largest default, so that a busy child cannot hold the loop."""

Follower = Callable[[bytes], None]


@lru_cache(maxsize=2)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def stamp(wall: float) -> str:
    """An ISO time in UTC with milliseconds."""
    return f"{_second(int(wall))}.{int(wall % 1 * 1000):03d}Z"


class LogBook:
    """The logs of all functions, in ``folder``."""

    def __init__(self, folder: Path, clock: Clock, log: Log) -> None:
        self._folder = folder
        self._clock = clock
        self._log = log
        self._pending: dict[FunctionName, list[bytes]] = {}
        self._pending_bytes = 0
        self._dropped = 0
        self._followers: dict[FunctionName, list[Follower]] = {}
        self._writing = asyncio.Lock()

    async def open(self, exists: Callable[[FunctionName], bool]) -> None:
        """Make the folder, and remove the logs of functions that no longer exist."""
        await asyncio.to_thread(self._open, exists)

    def _open(self, exists: Callable[[FunctionName], bool]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if not exists(FunctionName(path.name.partition(".")[0])):
                path.unlink()

    async def run(self) -> None:
        """Write what is pending until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                await self.flush()
        finally:
            self._write_all(self._take())

    def write(self, function: FunctionName, lines: Sequence[bytes]) -> None:
        """Append lines. Dropped and counted while the disk is that far behind."""
        prefix = stamp(self._clock.wall()).encode() + b" "
        text = b"".join([prefix + line + b"\n" for line in lines])
        for follower in self._followers.get(function, ()):
            follower(text)
        if self._pending_bytes > PENDING_MOST:
            self._dropped += len(lines)
            return
        self._pending_bytes += len(text)
        self._pending.setdefault(function, []).append(text)

    def follow(self, function: FunctionName, follower: Follower) -> Callable[[], None]:
        """Call ``follower`` with every further text until the returned callback is called."""
        followers = self._followers.setdefault(function, [])
        followers.append(follower)

        def stop() -> None:
            followers.remove(follower)
            if not followers and self._followers.get(function) is followers:
                del self._followers[function]

        return stop

    async def tail(self, function: FunctionName, lines: int) -> bytes:
        """The last ``lines`` lines."""
        await self.flush()
        return await asyncio.to_thread(self._tail, function, lines)

    async def remove(self, function: FunctionName) -> None:
        """Forget a function's log."""
        async with self._writing:
            self._pending.pop(function, None)
            await asyncio.to_thread(self._remove, function)

    async def flush(self) -> None:
        """Write what is pending."""
        async with self._writing:
            pending = self._take()
            if pending:
                await asyncio.to_thread(self._write_all, pending)

    def _take(self) -> dict[FunctionName, list[bytes]]:
        pending, self._pending = self._pending, {}
        self._pending_bytes = 0
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._log.warning("log lines dropped, the disk is too slow", lines=dropped)
        return pending

    def _write_all(self, pending: dict[FunctionName, list[bytes]]) -> None:
        for function, texts in pending.items():
            try:
                self._append(function, b"".join(texts))
            except OSError as error:
                self._log.error("a log cannot be written", function=function, why=str(error))

    def _append(self, function: FunctionName, text: bytes) -> None:
        path = self._path(function)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            if file.tell() + len(text) <= ROTATE_BYTES or not file.tell():
                file.write(text)
                return
        path.rename(f"{path}.1")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(text[-ROTATE_BYTES:])

    def _tail(self, function: FunctionName, lines: int) -> bytes:
        path = self._path(function)
        kept: deque[bytes] = deque(maxlen=lines)
        for part in (Path(f"{path}.1"), path):
            if part.exists():
                with open(part, "rb") as file:
                    kept.extend(file)
        return b"".join(kept)

    def _remove(self, function: FunctionName) -> None:
        path = self._path(function)
        path.unlink(missing_ok=True)
        Path(f"{path}.1").unlink(missing_ok=True)

    def _path(self, function: FunctionName) -> Path:
        return self._folder / f"{function}.log"


class WorkerOutput:
    """The read end of one worker's output. ``sink`` gets its lines."""

    def __init__(self, descriptor: int, sink: Callable[[list[bytes]], None]) -> None:
        self._descriptor = descriptor
        self._sink = sink
        self._lines = Lines()
        self._loop = asyncio.get_running_loop()
        self._watched = True
        self._loop.add_reader(descriptor, self._readable)

    def begin(self) -> None:
        """An invocation begins."""
        self._lines.reset()

    def drain(self) -> None:
        """Take all that can be read now; a line without its end counts as one."""
        for _ in range(DRAIN_READS):
            if not self._read():
                break
        rest = self._lines.flush()
        if rest:
            self._sink(rest)

    def close(self) -> None:
        """Drain once more and give the descriptor back."""
        if self._descriptor < 0:
            return
        self.drain()
        self._unwatch()
        os.close(self._descriptor)
        self._descriptor = -1

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Read once; False where nothing was there."""
        if not self._watched:
            return False
        try:
            data = os.read(self._descriptor, READ)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._unwatch()
            return False
        lines = self._lines.feed(data)
        if lines:
            self._sink(lines)
        return len(data) == READ

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._descriptor)
