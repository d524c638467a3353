"""The node's own containerd: configured, started, watched and stopped by us.

It has a root, state and socket of its own and no CRI, so it shares nothing with an engine on the same
machine. It is a child of the node; its errors go into the node's log. When it dies it is started again with
a growing pause; its shims hold the workers meanwhile, and whoever waits for an exit
asks again. A containerd that an earlier, killed node left running is ended first, since two cannot share a
root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from esb_common.errors import Broken
from esb_common.log import Log

from esb_node.hands.run import spawn

_READY_S = 30.0
_POLL_S = 0.01
_STOP_S = 10.0
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 5.0
_STEADY_S = 10.0
"""A containerd that lived this long is taken as sound: the next pause is the first again."""

_UNIMPORTANT = re.compile(rb"\blevel=(debug|info|warning)\b")
"""Shims tell their lives at level *info* whatever containerd's own level is; a crash's trace has no level."""
_LONGEST_LINE = 4096

_SHIM_SOCKETS = Path("/run/containerd/s")
"""Where every shim on a machine puts its socket; compiled into them. Left empty, it is ours to remove."""


def configuration(folder: Path) -> str:
    """containerd's configuration file (https://github.com/containerd/containerd/blob/main/docs/man/containerd-config.toml.5.md)."""
    return f"""version = 2
root = "{folder / "root"}"
state = "{folder / "state"}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
  address = "{folder / "containerd.sock"}"

[ttrpc]
  address = "{folder / "containerd.sock.ttrpc"}"

[debug]
  level = "warn"
"""


class Supervisor:
    """One containerd under ``folder``, from :meth:`open` to :meth:`close`."""

    def __init__(self, folder: Path, program: Path, log: Log) -> None:
        self.socket = folder / "containerd.sock"
        self._folder = folder
        self._program = program
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ear: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return once containerd listens. Broken where it ends before or takes more than 30 s."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(configuration(self._folder))
        await asyncio.to_thread(_end_earlier, str(self._file))
        await self._start()
        self._watch = asyncio.create_task(self._keep_alive(), name="containerd")

    async def close(self) -> None:
        """Stop containerd; shims and workers, if any are left, are not touched."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._stop()
        for path in (self.socket, self._folder / "containerd.sock.ttrpc"):
            path.unlink(missing_ok=True)
        _remove_shim_folder()

    @property
    def pid(self) -> int | None:
        """The running containerd's process id."""
        return self._process.pid if self._process is not None else None

    @property
    def _file(self) -> Path:
        return self._folder / "config.toml"

    async def _start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._process = await spawn(str(self._program), "--config", str(self._file))
        assert self._process.stdout is not None
        self._ear = asyncio.create_task(self._hear(self._process.stdout))
        deadline = time.monotonic() + _READY_S
        while not _listens(self.socket):
            if self._process.returncode is not None:
                await self._ear
                raise Broken(
                    f"containerd ended at once with {self._process.returncode}",
                    f"its reason is in the log above; by hand: {self._program} --config {self._file}",
                )
            if time.monotonic() > deadline:
                await self._stop()
                raise Broken(f"containerd does not listen on {self.socket} after {_READY_S:g} s")
            await asyncio.sleep(_POLL_S)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _hear(self, words: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await words.read(1 << 16):
            *lines, rest = (rest[-_LONGEST_LINE:] + chunk).split(b"\n")
            for line in lines:
                if line and not _UNIMPORTANT.search(line):
                    self._log.warning("containerd says", line=line[:_LONGEST_LINE].decode(errors="replace"))

    async def _keep_alive(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._process is not None:
            begun = time.monotonic()
            code = await self._process.wait()
            pause_s = _FIRST_PAUSE_S if time.monotonic() - begun > _STEADY_S else pause_s
            self._log.error("containerd ended and is started again", code=code, pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)
            try:
                await self._start()
            except (Broken, OSError) as error:
                self._log.error("containerd does not start", fact=str(error))


def _remove_shim_folder() -> None:
    with contextlib.suppress(OSError):  # another containerd's shims use it, or it was never made
        _SHIM_SOCKETS.rmdir()
        _SHIM_SOCKETS.parent.rmdir()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _end_earlier(configuration_file: str) -> None:
    """End processes that were started with our configuration file, and wait until they are gone."""
    for pid in _started_with(configuration_file):
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not select.select([process], [], [], _STOP_S)[0]:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [], _STOP_S)
        except ProcessLookupError:
            pass
        finally:
            os.close(process)


def _started_with(configuration_file: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if arguments[-3:-1] == [b"--config", os.fsencode(configuration_file)]:
                    yield int(entry.name)
