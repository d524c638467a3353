"""The gateway put together: the only place that constructs, and the one TaskGroup.

Order up: state and store, then the listener, then the node link, so that a client that can
connect is answered. Order down: the listener closes, calls in flight get up to :data:`GRACE_S`, then
the link to the node ends, which ends all workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from esb_common.clock import Clock, SystemClock
from esb_common.errors import NotPossibleHere
from esb_common.ids import FunctionName, WorkerId
from esb_common.log import Log

from esb_gateway.core.authentication import Authentication
from esb_gateway.core.fleet import Fleet
from esb_gateway.core.metrics import Metrics
from esb_gateway.core.ports import Spawn, State, Store
from esb_gateway.doors import admin
from esb_gateway.doors.admin import AdminDoor, Pages
from esb_gateway.doors.guard import Guard
from esb_gateway.doors.http import Connection, Exchange, HttpLimits, Registry, Response, Route, Router
from esb_gateway.doors.lambda_api import LambdaApi
from esb_gateway.doors.metrics import MetricsDoor
from esb_gateway.doors.runtime_api import RuntimeDoor
from esb_gateway.hands.dispatch import Dispatch
from esb_gateway.hands.keyring import Keyring
from esb_gateway.hands.library import Library
from esb_gateway.hands.node import SocketNodeLink
from esb_gateway.hands.output import LogBook
from esb_gateway.hands.state import open_state
from esb_gateway.hands.store import FileStore
from esb_gateway.settings import Settings

GRACE_S = 8.0
"""Less than the ten seconds after which container engines kill."""

HANDSHAKE_S = 10.0
GOODBYE_S = 2.0
BACKLOG = 1024
Listening = Callable[[str, int], None]
"""Told the address of each listener, TLS first."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listener and its connections."""

    server: asyncio.Server
    registry: Registry


class Gateway:
    """One gateway process. ``tls`` is None for plain HTTP, which only tests and benchmarks speak."""

    def __init__(self, settings: Settings, tls: ssl.SSLContext | None, log: Log) -> None:
        self._settings = settings
        self._tls = tls
        self._log = log
        self._clock: Clock = SystemClock()
        self._began = self._clock.monotonic()
        self._doors: list[Door] = []
        self._background: set[asyncio.Task[None]] = set()

    async def run(self, stopped: asyncio.Event, listening: Listening) -> None:
        """Serve until ``stopped``; ``listening`` is told each address once clients may connect."""
        data = self._settings.data_dir
        await asyncio.to_thread(lambda: data.mkdir(mode=0o700, parents=True, exist_ok=True))
        state = await open_state(data / "state.sqlite")
        try:
            store = FileStore(data / "store")
            await store.open()
            logs = LogBook(data / "logs", self._clock, self._log)
            await logs.open(lambda name: state.find(name) is not None)
            async with asyncio.TaskGroup() as tasks:
                await self._serve(tasks, state, store, logs, stopped, listening)
        finally:
            await state.close()

    async def _serve(
        self,
        tasks: asyncio.TaskGroup,
        state: State,
        store: Store,
        logs: LogBook,
        stopped: asyncio.Event,
        listening: Listening,
    ) -> None:
        settings, clock, log = self._settings, self._clock, self._log
        spawn = self._spawner(tasks)
        link = SocketNodeLink(settings.run_dir / "node.sock", log)
        fleet = Fleet(settings.limits, lambda: WorkerId(f"w-{secrets.token_hex(8)}"))
        metrics = Metrics()
        dispatch = Dispatch(fleet, link, logs, clock, log, spawn, RuntimeDoor, metrics)

        async def forget(name: FunctionName) -> None:
            metrics.forget(name)
            await logs.remove(name)

        library = Library(state, store, settings.place, clock, dispatch.retire, forget)
        dispatch.pool_closed = lambda blob: spawn(library.sweep(blob))
        swept = await library.sweep_all()
        log.info("opened", data=str(settings.data_dir), functions=library.count(), swept=swept)
        pages = Pages(
            lambda: None if link.welcome else "the runtime node is not connected",
            lambda: self._status(link, fleet, dispatch, library),
        )
        box = AdminDoor(pages, library, logs, clock, spawn)
        api = LambdaApi(library, dispatch, settings.place, settings.architecture, clock, spawn, box.code_url)

        def route(exchange: Exchange) -> Route | Response:
            own = exchange.target.startswith(admin.PREFIX)
            return box.route(exchange) if own else api.route(exchange)

        page = MetricsDoor(metrics, lambda: _gauges(link, fleet, dispatch, library))
        await self._open_doors(self._guarded(spawn, route), page.route, listening)
        forever = [tasks.create_task(link.run(dispatch)), tasks.create_task(logs.run())]
        try:
            await stopped.wait()
            await self._answer_the_rest(box, dispatch)
        finally:
            for door in self._doors:
                door.server.close()
                door.registry.abort()
            for task in (*forever, *self._background):
                task.cancel()

    def _guarded(self, spawn: Spawn, route: Router) -> Router:
        """``route`` behind the guard, unless this box knows no credentials."""
        if not self._settings.authenticated:
            self._log.warning("requests are not authenticated")
            return route
        keyring = Keyring(self._settings.credentials_dir, self._log)
        authentication = Authentication(keyring.first, self._settings.place.region)
        spawn(keyring.run(authentication.replace))
        return Guard(authentication, self._clock, spawn, route).route

    async def _open_doors(self, route: Router, metrics: Router, listening: Listening) -> None:
        settings = self._settings
        await self._listen(route, settings.listen, settings.port, self._tls, "ESB_PORT")
        if settings.http_port is not None:
            await self._listen(route, settings.http_listen, settings.http_port, None, "ESB_HTTP_PORT")
        if settings.metrics_port is not None:
            await self._listen(metrics, settings.http_listen, settings.metrics_port, None, "ESB_METRICS_PORT")
        for door in self._doors:
            listening(*door.server.sockets[0].getsockname()[:2])

    async def _listen(
        self, route: Router, host: str, port: int, tls: ssl.SSLContext | None, setting: str
    ) -> None:
        registry = Registry()
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: Connection(route, HttpLimits(), registry),
                host,
                port,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_S if tls else None,
                ssl_shutdown_timeout=GOODBYE_S if tls else None,
            )
        except OSError as error:
            raise NotPossibleHere(
                f"cannot listen on {host} port {port}: {error.strerror or error}",
                f"stop what listens there, or set {setting}",
            ) from None
        self._doors.append(Door(server, registry))

    async def _answer_the_rest(self, box: AdminDoor, dispatch: Dispatch) -> None:
        """Accept no more, and let calls in flight end, for a while."""
        for door in self._doors:
            door.server.close()
        box.close()
        for door in self._doors:
            door.registry.drain()
        self._log.info("stopping", calls=dispatch.calls)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await dispatch.quiet()
                for door in self._doors:
                    await door.registry.empty()

    def _spawner(self, tasks: asyncio.TaskGroup) -> Spawn:
        def spawn(work: Coroutine[Any, Any, None]) -> None:
            task = tasks.create_task(self._contained(work))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

        return spawn

    async def _contained(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work of one request or one clean-up: its failure is logged and ends nothing else."""
        try:
            await work
        except Exception:  # noqa: BLE001 - the one place; anything else would end the whole gateway
            self._log.error("background work failed", trace=True)

    def _status(
        self, link: SocketNodeLink, fleet: Fleet, dispatch: Dispatch, library: Library
    ) -> Mapping[str, Any]:
        welcome, limits, settings = link.welcome, fleet.limits, self._settings
        return {
            "mode": settings.mode,
            "authentication": "required" if settings.authenticated else "none",
            "node": asdict(welcome) if welcome else None,
            "region": settings.place.region,
            "account": settings.place.account,
            "uptime_s": round(self._clock.monotonic() - self._began, 3),
            "uid": os.getuid(),
            "functions": library.count(),
            "calls": {"in_flight": dispatch.calls, "waiting": fleet.waiting},
            "capacity": {
                "unit": "MiB" if limits.workers is None else "workers",
                "total": limits.budget,
                "used": fleet.used,
            },
            "limits": {"idle_s": limits.idle_s, "init_s": limits.init_s},
            "workers": dispatch.workers(),
        }


def _gauges(link: SocketNodeLink, fleet: Fleet, dispatch: Dispatch, library: Library) -> Mapping[str, float]:
    """What Prometheus shows of the present."""
    return {
        "ready": 1 if link.welcome else 0,
        "functions": library.count(),
        "calls_in_flight": dispatch.calls,
        "calls_waiting": fleet.waiting,
        "workers": len(dispatch.workers()),
        "capacity_used": fleet.used,
        "capacity_total": fleet.limits.budget,
    }
