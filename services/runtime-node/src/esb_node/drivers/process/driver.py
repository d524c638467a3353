"""The node's side of the process driver: folders, cgroups and the conversation with the spawner.

Per worker: a folder ``ESB_NODE_DIR/workers/<id>`` (its /tmp, on disk), a cgroup where this
process may make one, a pipe, and a socket pair on which the starting worker reports. All of it
is given back by one task per worker, which ends when no process of the worker is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from esb_common import ids, wire
from esb_common.errors import NotPossibleHere
from esb_common.function import FunctionBlob
from esb_common.log import Log

from esb_node.core.environment import AWS_PLACES, Places, relocate, worker_environment
from esb_node.core.ports import Exit, StartRefused, WorkerPlan
from esb_node.drivers.process import orders
from esb_node.hands import cgroups, run

SANDBOX_UID = 993
"""User and group of every worker, in all modes."""

_EARLIER_NODE_S = 10
_REHEARSAL_S = 20
_CREDENTIALS = struct.Struct("3i")
_NOTHING = FunctionBlob(
    ids.FunctionName("rehearsal"), "$LATEST", "", "", "", "", ids.Digest(""), memory_mib=128, timeout_s=1
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the process driver works: its own folder and what it shows to workers."""

    folder: Path
    python_prefix: Path
    runtime_folder: Path


@dataclass(slots=True)
class _Worker:
    """What one start took, so that it can be given back."""

    name: str
    folder: Path
    group: cgroups.Group | None
    ended: asyncio.Future[int]
    stopped: bool = False


class RunningProcess:
    """A started worker (see ``core.ports.Running``)."""

    def __init__(
        self,
        place: str,
        phases_ms: dict[str, float],
        listener: socket.socket,
        output: int,
        peak_memory: int | None,
        stop: Callable[[], None],
        done: asyncio.Task[Exit],
    ) -> None:
        self.place = place
        self.phases_ms = phases_ms
        self.listener = listener
        self.output = output
        self.peak_memory = peak_memory
        self._stop = stop
        self._done = done

    def stop(self) -> None:
        self._stop()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._done)


class ProcessDriver:
    """Starts workers through one spawner. Construct, :meth:`open`, and :meth:`close` when all have ended."""

    name = "process"

    def __init__(self, place: Place, isolation: orders.Isolation, log: Log) -> None:
        self.isolation: wire.Isolation = isolation
        self.network: wire.Network = "host" if isolation == "none" else "loopback"
        uid = SANDBOX_UID if isolation != "none" or os.geteuid() == 0 else os.geteuid()
        gid = SANDBOX_UID if isolation != "none" or os.geteuid() == 0 else os.getegid()
        self._house = orders.House(isolation, str(place.python_prefix), str(place.runtime_folder), uid, gid)
        self._folder = place.folder / "workers"
        self._lock_file = place.folder / "workers.lock"
        self._log = log
        self._groups: cgroups.Groups | None = None
        self._workers: dict[str, _Worker] = {}
        self._finishing: set[asyncio.Task[Exit]] = set()
        self._link: socket.socket | None = None
        self._spawner: asyncio.subprocess.Process | None = None
        self._one_spawner = asyncio.Lock()

    # --- life ---

    async def open(self) -> None:
        """Sweep, start the spawner, and run one worker to its end to know that this machine can."""
        self._lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = await self._lock()
        try:
            await asyncio.to_thread(self._sweep)
            await self._start_spawner(lock)
        finally:
            os.close(lock)
        try:
            await self._rehearse()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the spawner, and with it whatever was left."""
        self._hang_up()
        if self._spawner is not None:
            await self._spawner.wait()
            self._spawner = None
        self._lose_workers()
        if self._finishing:
            await asyncio.wait(self._finishing)
        if self._groups is not None:
            self._groups.close()

    @property
    def spawner_process(self) -> int:
        """The process id of the spawner. Only while the driver is open."""
        assert self._spawner is not None
        return self._spawner.pid

    def _hang_up(self) -> None:
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link)
            self._link.close()
            self._link = None

    async def _require_spawner(self) -> None:
        async with self._one_spawner:
            if self._link is None and self._spawner is not None:
                await self._spawner.wait()
                lock = await self._lock()
                try:
                    await self._start_spawner(lock)
                finally:
                    os.close(lock)

    async def _lock(self) -> int:
        """The lock that every process of an earlier node's spawner holds as long as it lives."""
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + _EARLIER_NODE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(lock)
                    hint = "stop it, or give this one another ESB_NODE_DIR"
                    raise NotPossibleHere(f"another node has workers in {self._folder}", hint) from None
                await asyncio.sleep(0.02)
            else:
                return lock

    def _sweep(self) -> None:
        box = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:12]
        self._groups = cgroups.find(box, Path("/proc/self/mountinfo").read_text())
        if self._groups is None:
            self._log.warning(
                "workers have no limits of memory, processes or CPU: no cgroup can be made here"
            )
        else:
            self._groups.sweep()
        if self._folder.exists():
            _remove_tree(self._folder)
        self._folder.mkdir(mode=0o711)

    async def _start_spawner(self, lock: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._spawner = await run.spawn(
                sys.executable,
                "-m",
                "esb_node.drivers.process.spawner",
                str(theirs.fileno()),
                str(lock),
                json.dumps(asdict(self._house)),
                environment={"PYTHONPATH": ":".join(path for path in sys.path if path)},
                descriptors=(theirs.fileno(), lock),
                stdout=2,
            )
        ours.setblocking(False)
        self._link = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)

    async def _rehearse(self) -> None:
        """A worker that does nothing, for the kernel's own words about what is not possible here."""
        plan = WorkerPlan(
            ids.WorkerId("rehearsal"),
            _NOTHING,
            self._folder,
            (f"{AWS_PLACES.language}/bin/python3.12", "-I", "-c", "import sys; sys.stdin.read()"),
            worker_environment(_NOTHING, ids.WorkerId("w-0"), "", AWS_PLACES),
        )
        try:
            async with asyncio.timeout(_REHEARSAL_S):
                running = await self.start(plan)
                running.listener.close()
                ended = await running.wait()
        except StartRefused as refused:
            raise self._not_possible(refused.message) from None
        words = os.read(running.output, 4096) if ended.code else b""
        for descriptor in (running.output, running.peak_memory):
            if descriptor is not None:
                os.close(descriptor)
        if ended.code != 0:
            raise self._not_possible(words.decode(errors="replace").strip() or f"it ended with {ended}")

    def _not_possible(self, message: str) -> NotPossibleHere:
        hints = {
            "namespaces": "root needs CAP_SYS_ADMIN and Linux 5.12; ESB_PYTHON_PREFIX a CPython 3.12",
            "user-namespaces": "allow unprivileged user namespaces, run as root, or use --no-isolation",
            "none": f"user {self._house.uid} must be able to run ESB_PYTHON_PREFIX and read ESB_RUNTIME_DIR",
        }
        fact = f"no worker can run here with isolation {self._house.isolation}: {message}"
        return NotPossibleHere(fact, hints[self._house.isolation])

    # --- the spawner speaks ---

    def _hear(self) -> None:
        assert self._link is not None
        try:
            content = self._link.recv(orders.MAX_PACKET)
        except ConnectionResetError:
            content = b""
        if not content:
            self._log.error("the spawner is gone, and all workers with it; the next start makes a new one")
            self._hang_up()
            self._lose_workers()
            return
        ended = orders.decode(content)
        assert isinstance(ended, orders.Ended)
        if not (worker := self._workers[ended.worker]).ended.done():
            worker.ended.set_result(ended.status)

    def _lose_workers(self) -> None:
        for worker in self._workers.values():
            if not worker.ended.done():
                worker.ended.set_result(signal.SIGKILL)

    # --- a worker ---

    async def start(self, plan: WorkerPlan) -> RunningProcess:
        """Start a worker; see ``core.ports.Driver``."""
        begun = time.monotonic()
        await self._require_spawner()
        loop = asyncio.get_running_loop()
        report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        report.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        report.setblocking(False)
        output, output_end = os.pipe()
        os.set_blocking(output, False)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(os.close, output)
            with report, theirs, os.fdopen(output_end, "wb"):
                worker = self._take(plan)
                prepared = time.monotonic()
                done = loop.create_task(self._finish(worker))
                self._finishing.add(done)
                done.add_done_callback(self._finishing.discard)
                try:
                    self._order(plan, worker, theirs, output_end)
                    theirs.close()
                    place, phases, listener = await self._hear_worker(report, prepared)
                except BaseException:
                    self._kill(worker)
                    await asyncio.shield(done)
                    raise
            on_failure.pop_all()
        phases = {"prepare": _ms(prepared - begun), **phases, "total": _ms(time.monotonic() - begun)}
        peak = worker.group.open_peak() if worker.group else None
        return RunningProcess(place, phases, listener, output, peak, lambda: self._kill(worker), done)

    def _take(self, plan: WorkerPlan) -> _Worker:
        folder = self._folder / plan.worker
        scratch = folder / "tmp"
        group = None
        try:
            scratch.mkdir(parents=True)
            if os.geteuid() == 0:
                os.chown(scratch, self._house.uid, self._house.gid)
            scratch.chmod(0o700)
            folder.chmod(0o711)
            if self._groups is not None:
                group = self._groups.make(plan.worker, plan.function.memory_mib)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise StartRefused("NoRoom", f"{error.strerror}: {error.filename}") from None
        worker = _Worker(plan.worker, folder, group, asyncio.get_running_loop().create_future())
        self._workers[plan.worker] = worker
        return worker

    def _order(self, plan: WorkerPlan, worker: _Worker, report: socket.socket, output: int) -> None:
        joins = worker.group.open_joins() if worker.group else []
        places = self._places(plan, worker)
        start = orders.Start(
            plan.worker,
            [places.seen(argument) for argument in plan.arguments],
            relocate(plan.environment, places),
            str(plan.code),
            str(worker.folder / "tmp"),
        )
        try:
            assert self._link is not None
            socket.send_fds(self._link, [orders.encode(start)], [report.fileno(), output, *joins])
        except OSError as error:
            worker.ended.set_result(0)
            raise StartRefused("NoRoom", f"the spawner takes no order: {error.strerror}") from None
        finally:
            for descriptor in joins:
                os.close(descriptor)

    def _places(self, plan: WorkerPlan, worker: _Worker) -> Places:
        if self._house.isolation != "none":
            return AWS_PLACES
        return Places(
            task=str(plan.code),
            runtime=self._house.runtime_folder,
            language=self._house.python_prefix,
            scratch=str(worker.folder / "tmp"),
        )

    async def _hear_worker(
        self, report: socket.socket, since: float
    ) -> tuple[str, dict[str, float], socket.socket]:
        """Place, phases and listener of a worker whose program runs; StartRefused where that failed."""
        with contextlib.ExitStack() as on_failure:
            place, phases, listener = "", dict[str, float](), None
            while (heard := await _receive(report)) is not None:
                content, descriptors, place = heard
                phases = {"fork": _ms(time.monotonic() - since)}
                match orders.decode(content):
                    case orders.Ready(of_worker):
                        listener = on_failure.enter_context(socket.socket(fileno=descriptors[0]))
                        phases = {"fork": round(phases["fork"] - sum(of_worker.values()), 2), **of_worker}
                        since = time.monotonic()
                    case orders.Failed(message):
                        raise StartRefused("StartFailed", message)
                    case other:
                        raise AssertionError(other)
            if listener is None:
                raise StartRefused("StartFailed", "the worker died while it was being set up")
            listener.setblocking(False)
            on_failure.pop_all()
            return place, {**phases, "program": _ms(time.monotonic() - since)}, listener

    def _kill(self, worker: _Worker) -> None:
        if worker.ended.done() or self._link is None:
            return
        worker.stopped = True
        # The socket is full only while thousands of orders wait; the spawner is then as good as gone.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._link.send(orders.encode(orders.Kill(worker.name)))

    async def _finish(self, worker: _Worker) -> Exit:
        """Wait for the end of all its processes, then give back what the start took."""
        status = await worker.ended
        out_of_memory, peak = await asyncio.to_thread(self._give_back, worker)
        del self._workers[worker.name]
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            killed = out_of_memory and number == signal.SIGKILL and not worker.stopped
            return Exit(None, number, killed, peak)
        return Exit(os.WEXITSTATUS(status), None, peak_memory=peak)

    def _give_back(self, worker: _Worker) -> tuple[bool, int | None]:
        """Remove all that the start made; whether memory ran out, and the peak of it."""
        out_of_memory, peak = False, None
        try:
            if worker.group is not None:
                out_of_memory = worker.group.killed_for_memory()
                peak = worker.group.peak()
                worker.group.remove()
            _remove_tree(worker.folder)
        except OSError as error:
            self._log.error("a worker left something behind; the next node sweeps it", reason=str(error))
        return out_of_memory, peak


async def _receive(report: socket.socket) -> tuple[bytes, list[int], str] | None:
    """The next packet, its descriptors and its sender's process id as we see it; None at the end."""
    space = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4)
    while True:
        try:
            content, extras, _, _ = report.recvmsg(orders.MAX_PACKET, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(report)
            continue
        except ConnectionResetError:
            return None
        if not content:
            return None
        kinds = {kind: data for _, kind, data in extras}
        rights = kinds.get(socket.SCM_RIGHTS, b"")[:4]
        descriptors = [int.from_bytes(rights, sys.byteorder)] if rights else []
        process, _, _ = _CREDENTIALS.unpack(kinds[socket.SCM_CREDENTIALS])
        return content, descriptors, str(process)


async def _readable(one: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(one, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(one)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _remove_tree(folder: Path) -> None:
    """Remove ``folder`` also where its owner took its own permissions away (matters without root)."""

    def allow(remove: Callable[[str], object], path: str, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, PermissionError):
            raise error
        for one in (Path(path).parent, Path(path)):
            if not one.is_symlink():
                one.chmod(0o700)
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path)
        else:
            remove(path)

    shutil.rmtree(folder, onexc=allow)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
