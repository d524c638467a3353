"""Performs what the desk decides about workers: one task per worker, from its start to its end.

The task reads the function, leases its code, starts it, waits for its end, and tells the desk
each turn. Only the start can be cancelled; a running worker is killed and ends by itself. So
nothing is lost between "started" and "cancelled": whoever holds descriptors closes them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from esb_common import ids
from esb_common.clock import Clock
from esb_common.log import Log

from esb_node.core import desk
from esb_node.core.plan import require_runtime, worker_plan
from esb_node.core.ports import Driver, Exit, Running, StartRefused
from esb_node.hands.code import CodeShelf

Tell = Callable[[desk.WorkerStarted | desk.WorkerRefused | desk.WorkerExited], None]


@dataclass(slots=True)
class _Life:
    task: asyncio.Task[Exit]
    running: Running | None = None
    descriptors: list[int] | None = None


class Crew:
    """The node's workers. ``tell`` is called with each turn of their lives."""

    def __init__(self, driver: Driver, code: CodeShelf, clock: Clock, log: Log) -> None:
        self._driver = driver
        self._code = code
        self._clock = clock
        self._log = log
        self._lives: dict[ids.WorkerId, _Life] = {}

    def begin(self, worker: ids.WorkerId, function: ids.Digest, tell: Tell) -> None:
        """Start ``worker``; WorkerStarted or WorkerRefused follows."""
        task = asyncio.get_running_loop().create_task(self._live(worker, function, tell))
        self._lives[worker] = _Life(task)
        task.add_done_callback(lambda _: self._ended(worker, tell))

    def cancel(self, worker: ids.WorkerId) -> None:
        """Give up a start. A worker that has started by now is left alone."""
        if (life := self._lives[worker]).running is None:
            life.task.cancel()

    def kill(self, worker: ids.WorkerId) -> None:
        """End a running worker; WorkerExited follows."""
        running = self._lives[worker].running
        assert running is not None
        running.stop()

    def take_descriptors(self, worker: ids.WorkerId) -> list[int]:
        """The worker's listener, output and perhaps peak memory; the caller closes them. Once per worker."""
        life = self._lives[worker]
        taken, life.descriptors = life.descriptors, None
        assert taken is not None
        return taken

    def discard(self, worker: ids.WorkerId) -> None:
        """Close the worker's descriptors: nobody wants them."""
        for descriptor in self.take_descriptors(worker):
            os.close(descriptor)

    async def _live(self, worker: ids.WorkerId, name: ids.Digest, tell: Tell) -> Exit:
        function = await self._code.function(name)
        require_runtime(function)
        async with self._code.lease(function.code) as folder:
            running = await self._driver.start(worker_plan(worker, function, folder, self._clock.wall()))
            life = self._lives[worker]
            life.running = running
            life.descriptors = [running.listener.detach(), running.output]
            if running.peak_memory is not None:
                life.descriptors.append(running.peak_memory)
            tell(desk.WorkerStarted(worker, running.place, running.phases_ms))
            return await running.wait()

    def _ended(self, worker: ids.WorkerId, tell: Tell) -> None:
        """The last turn, whatever it was. (A callback: a task cancelled early runs nothing.)"""
        life = self._lives.pop(worker)
        error = None if life.task.cancelled() else life.task.exception()
        if error is not None and not isinstance(error, StartRefused):
            self._log.error("a worker's life broke", worker=worker, reason=repr(error))
            error = StartRefused("StartFailed", repr(error))
        if life.running is not None:
            ended = Exit(None, signal.SIGKILL) if error or life.task.cancelled() else life.task.result()
            tell(desk.WorkerExited(worker, ended))
        else:
            tell(desk.WorkerRefused(worker, error or StartRefused("Stopped", "the start was cancelled")))
