"""The node put together: one desk, one door, one driver, one crew. The only place that constructs."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from typing import assert_never

from esb_common import wire
from esb_common.clock import Clock, SystemClock
from esb_common.errors import NotPossibleHere
from esb_common.log import Log

from esb_node.core import desk
from esb_node.core.ports import Driver
from esb_node.doors.gateway import GatewayDoor
from esb_node.drivers.firecracker import FirecrackerDriver
from esb_node.drivers.process.driver import Place, ProcessDriver
from esb_node.hands.code import CodeShelf
from esb_node.hands.crew import Crew
from esb_node.settings import NodeSettings

_SWEEP_S = 300


class Node:
    """Carries events to the desk and its commands to door and crew."""

    def __init__(self, decisions: desk.Desk, door: GatewayDoor, crew: Crew, clock: Clock) -> None:
        self._desk = decisions
        self._door = door
        self._crew = crew
        self._clock = clock
        self._empty = asyncio.Event()

    def hear(self, event: desk.Event) -> None:
        """Decide and act; returns at once. What takes time comes back as a later event."""
        for command in self._desk.hear(event, self._clock.monotonic()):
            self._perform(command)
        if self._desk.empty:
            self._empty.set()
        else:
            self._empty.clear()

    async def close(self) -> None:
        """End every worker and return when none is left."""
        self.hear(desk.Closing())
        await self._empty.wait()

    def _perform(self, command: desk.Command) -> None:
        match command:
            case desk.Send(peer, message):
                descriptors = (
                    self._crew.take_descriptors(message.worker) if isinstance(message, wire.Started) else []
                )
                self._door.send(peer, message, descriptors)
            case desk.Close(peer):
                self._door.disconnect(peer)
            case desk.Begin(worker, function):
                self._crew.begin(worker, function, self.hear)
            case desk.Cancel(worker):
                self._crew.cancel(worker)
            case desk.Discard(worker):
                self._crew.discard(worker)
            case desk.Kill(worker):
                self._crew.kill(worker)
            case _:
                assert_never(command)


async def serve(settings: NodeSettings, driver: Driver, stop: asyncio.Event) -> None:
    """Run a node of ``driver``, not yet open, until ``stop``; then nothing of it is left.

    EsbError where it cannot run here.
    """
    log, clock = Log("esb_node"), SystemClock()
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    settings.node_folder.mkdir(parents=True, exist_ok=True)
    code = CodeShelf(settings.data_folder / "store", settings.node_folder / "code", log)
    door = GatewayDoor(settings.run_folder / "node.sock", settings.gateway_uid, settings.gateway_gid, log)
    await driver.open()
    try:
        # After the driver's sweep: workers of an earlier node might still have used their code.
        await asyncio.to_thread(code.open)
        name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        decisions = desk.Desk(name, driver.name, driver.isolation, driver.network, limits=driver.limits)
        node = Node(decisions, door, Crew(driver, code, clock, log), clock)
        door.open(node.hear)
        log.info(
            "ready",
            driver=driver.name,
            isolation=driver.isolation,
            network=driver.network,
            limits=driver.limits,
        )
        await _until(stop, code)
        await node.close()
    finally:
        door.close()
        await driver.close()


def choose_driver(settings: NodeSettings) -> Driver:
    """The driver of the settings' mode, not yet open. NotPossibleHere names what is missing."""
    match settings.mode:
        case "containerd":
            # Here and not above: the other modes are spared gRPC's 30 MB and 0.1 s.
            from esb_node.drivers.containerd.driver import ContainerdDriver
            from esb_node.drivers.containerd.programs import find_programs

            return ContainerdDriver(
                folder=settings.containerd_folder,
                images=settings.image_folder,
                programs=find_programs(settings.program_path),
                log=Log("esb_node.containerd"),
            )
        case "embedded":
            return _process_driver(settings)
        case "firecracker":
            return FirecrackerDriver()
        case other:
            raise AssertionError(other)


def _process_driver(settings: NodeSettings) -> ProcessDriver:
    if not (settings.python_prefix / "bin" / "python3.12").exists():
        hint = "set ESB_PYTHON_PREFIX to a CPython 3.12 (the folder that holds bin/python3.12)"
        raise NotPossibleHere(f"there is no Python 3.12 in {settings.python_prefix}", hint)
    if not (settings.runtime_folder / "bootstrap.py").exists():
        hint = "set ESB_RUNTIME_DIR to the folder that `./esb up --embedded` makes"
        raise NotPossibleHere(f"there is no runtime client in {settings.runtime_folder}", hint)
    place = Place(settings.node_folder, settings.python_prefix, settings.runtime_folder)
    if settings.no_isolation:
        return ProcessDriver(place, "none", Log("esb_node.process"))
    return ProcessDriver(
        place, "namespaces" if os.geteuid() == 0 else "user-namespaces", Log("esb_node.process")
    )


async def _until(stop: asyncio.Event, code: CodeShelf) -> None:
    while not stop.is_set():
        try:
            async with asyncio.timeout(_SWEEP_S):
                await stop.wait()
        except TimeoutError:
            await code.sweep()
