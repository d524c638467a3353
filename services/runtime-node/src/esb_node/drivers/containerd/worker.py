"""A worker that runs as a container's task, from its start to the last trace of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from esb_common.errors import EsbError
from esb_common.log import Log

from esb_node.core.ports import Exit
from esb_node.drivers.containerd.client import CallFailed, Code, Containerd
from esb_node.drivers.containerd.groups import Groups

_RETRY_S = 0.1
_TRIES_WITHOUT_PROCESS = 50
_SIGNALLED, _LAST_SIGNAL = 128, 64
"""A shim reports the end by signal n as status 128 + n."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a started task is known by. ``process`` is a pidfd of its first process."""

    name: str
    process: int
    listener: socket.socket
    output: int
    peak_memory: int | None
    phases_ms: dict[str, float]


class ContainerdWorker:
    """A started worker. ``leftovers`` undoes, in order, all that its start made.

    Killing goes through the first process's pidfd: it ends a whole pid namespace at once, and works while
    containerd is away. The exit status comes from the shim, by way of containerd.
    """

    def __init__(
        self, task: Task, containerd: Containerd, groups: Groups, leftovers: AsyncExitStack, log: Log
    ) -> None:
        self._task = task
        self._containerd = containerd
        self._groups = groups
        self._leftovers = leftovers
        self._log = log
        self._end = asyncio.create_task(self._follow(), name=task.name)

    @property
    def place(self) -> str:
        return self._task.name

    @property
    def phases_ms(self) -> dict[str, float]:
        return self._task.phases_ms

    @property
    def listener(self) -> socket.socket:
        return self._task.listener

    @property
    def output(self) -> int:
        return self._task.output

    @property
    def peak_memory(self) -> int | None:
        return self._task.peak_memory

    def stop(self) -> None:
        """SIGKILL for its first process, and so for every process of its pid namespace."""
        if not self._end.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._task.process, signal.SIGKILL)

    async def wait(self) -> Exit:
        return await asyncio.shield(self._end)

    def once_gone(self, act: Callable[[ContainerdWorker], None]) -> None:
        """Call ``act`` with this worker when nothing of it is left."""
        self._end.add_done_callback(lambda _: act(self))

    def close_descriptors(self) -> None:
        """Close what the caller would own: for a worker that no caller ever got."""
        self._task.listener.close()
        os.close(self._task.output)
        if self._task.peak_memory is not None:
            os.close(self._task.peak_memory)

    async def _follow(self) -> Exit:
        """Whatever goes wrong while the end is learnt of, what the start made is given back."""
        try:
            status = await self._status()
            if status is None:
                self._log.warning("exit status lost; told as SIGKILL", worker=self._task.name)
            out_of_memory, peak = self._used()
        finally:
            try:
                await self._clear()
            finally:
                os.close(self._task.process)
        return _exit(status, out_of_memory, peak)

    def _used(self) -> tuple[bool, int | None]:
        """Whether memory ran out, and the peak of it; what the kernel does not tell is logged."""
        out_of_memory, peak = False, None
        try:
            out_of_memory = self._groups.killed_for_memory(self._task.name)
            peak = self._groups.peak(self._task.name)
        except (OSError, ValueError) as error:
            self._log.error("what a worker used is not known", worker=self._task.name, reason=str(error))
        return out_of_memory, peak

    async def _status(self) -> int | None:
        """The exit status; None where it is lost.

        A shim that was killed takes it along; so does a containerd that was away when the worker ended, since
        at its return it removes shims without processes and does not ask them first.
        """
        tries_left = _TRIES_WITHOUT_PROCESS
        while True:
            try:
                return await self._containerd.wait_task(self._task.name)
            except CallFailed as failure:
                self._log.debug("exit status not told", worker=self._task.name, fact=failure.fact)
                if failure.code is Code.NOT_FOUND:
                    return None
            await asyncio.sleep(_RETRY_S)
            tries_left -= self._is_gone()
            if not tries_left:
                return None

    def _is_gone(self) -> bool:
        """Whether the first process has ended: then its pidfd is readable."""
        return bool(select.select([self._task.process], [], [], 0)[0])

    async def _clear(self) -> None:
        try:
            await self._leftovers.aclose()
        except (EsbError, OSError) as error:
            # What is left is swept when a node next opens; the exit must be told now.
            self._log.error("not all of a worker was removed", worker=self._task.name, fact=str(error))


def _exit(status: int | None, out_of_memory: bool, peak: int | None) -> Exit:
    """``status`` as code or signal. A lost one counts as killed: whatever it was, it was not a clean end."""
    if status is None:
        return Exit(None, signal.SIGKILL, out_of_memory, peak)
    if _SIGNALLED < status <= _SIGNALLED + _LAST_SIGNAL:
        return Exit(None, status - _SIGNALLED, out_of_memory, peak)
    return Exit(status, None, out_of_memory, peak)


async def end_task(containerd: Containerd, name: str) -> None:
    """Delete a task in whatever state it is; a running one is killed first."""
    try:
        await containerd.delete_task(name)
    except CallFailed:
        with contextlib.suppress(CallFailed):  # it may end between the two calls
            await containerd.kill_task(name)
        with contextlib.suppress(CallFailed):
            await containerd.wait_task(name, deadline_s=10)
        await containerd.delete_task(name)
