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
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from esb_common import ids, wire
from esb_common.errors import NotPossibleHere
from esb_common.function import FunctionBlob
from esb_common.log import Log

from esb_node.core.environment import AWS_PLACES, Places, relocate, worker_environment
from esb_node.core.ports import Exit, StartRefused, WorkerPlan
from esb_node.core.worker import SANDBOX_UID
from esb_node.drivers.process import orders
from esb_node.hands import cgroups, run

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

    def close_descriptors(self) -> None:
        """Close what the caller would own: for a worker that no caller ever got."""
        self.listener.close()
        os.close(self.output)
        if self.peak_memory is not None:
            os.close(self.peak_memory)

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
        self._kills: deque[str] = deque()
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
    def limits(self) -> bool:
        """Whether cgroups hold workers to their limits; see ``core.ports.Driver``."""
        return self._groups is not None

    @property
    def spawner_process(self) -> int:
        """The process id of the spawner. Only while the driver is open."""
        assert self._spawner is not None
        return self._spawner.pid

    def _hang_up(self) -> None:
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link)
            asyncio.get_running_loop().remove_writer(self._link)
            self._kills.clear()
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
        self._groups = self._find_groups()
        if self._groups is not None:
            self._groups.sweep()
        if self._folder.exists():
            _remove_tree(self._folder)
        self._folder.mkdir(mode=0o711)

    def _find_groups(self) -> cgroups.Groups | None:
        """None where workers are to run without limits: never root's isolated ones, who would expect them."""
        box = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:12]
        try:
            return cgroups.find(box, Path("/proc/self/mountinfo").read_text())
        except cgroups.NoGroups as reason:
            if self._house.isolation == "namespaces":
                fact = f"workers would have no limits of memory, processes or CPU: {reason}"
                hint = (
                    "give root a cgroup tree it may divide (writable; in a container with version 2: no "
                    "process in its topmost group), run as another user, or use --no-isolation"
                )
                raise NotPossibleHere(fact, hint) from None
            self._log.warning("workers have no limits of memory, processes or CPU", reason=str(reason))
            return None

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
                with contextlib.ExitStack() as held:
                    held.callback(running.close_descriptors)
                    running.listener.close()
                    ended = await running.wait()
                    words = os.read(running.output, 4096) if ended.code else b""
        except StartRefused as refused:
            raise self._not_possible(refused.message) from None
        except TimeoutError:
            raise self._not_possible(f"it did not end within {_REHEARSAL_S} s") from None
        except OSError as error:
            raise self._not_possible(str(error)) from None
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
        try:
            with contextlib.ExitStack() as on_failure:
                running = await self._start(plan, begun, on_failure)
                on_failure.pop_all()
        except OSError as error:
            raise StartRefused("NoRoom", str(error)) from None
        return running

    async def _start(
        self, plan: WorkerPlan, begun: float, on_failure: contextlib.ExitStack
    ) -> RunningProcess:
        """``on_failure`` closes what becomes the caller's, unless the start succeeds."""
        with contextlib.ExitStack() as of_start:
            report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            of_start.enter_context(report)
            of_start.enter_context(theirs)
            report.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            report.setblocking(False)
            output, output_end = os.pipe()
            on_failure.callback(os.close, output)
            of_start.callback(os.close, output_end)
            os.set_blocking(output, False)
            worker = self._take(plan)
            prepared = time.monotonic()
            done = self._finish_aside(worker)
            try:
                self._order(plan, worker, theirs, output_end)
                theirs.close()
                place, phases, listener = await self._hear_worker(report, prepared)
                on_failure.callback(listener.close)
                peak = worker.group.open_peak() if worker.group else None
            except BaseException:
                self._kill(worker)
                await asyncio.shield(done)
                raise
        phases = {"prepare": _ms(prepared - begun), **phases, "total": _ms(time.monotonic() - begun)}
        return RunningProcess(place, phases, listener, output, peak, lambda: self._kill(worker), done)

    def _finish_aside(self, worker: _Worker) -> asyncio.Task[Exit]:
        done = asyncio.get_running_loop().create_task(self._finish(worker))
        self._finishing.add(done)
        done.add_done_callback(self._finishing.discard)
        return done

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
            self._remove(lambda: _remove_folder(folder))
            raise StartRefused("NoRoom", f"{error.strerror}: {error.filename}") from None
        worker = _Worker(plan.worker, folder, group, asyncio.get_running_loop().create_future())
        self._workers[plan.worker] = worker
        return worker

    def _order(self, plan: WorkerPlan, worker: _Worker, report: socket.socket, output: int) -> None:
        places = self._places(plan, worker)
        start = orders.Start(
            plan.worker,
            [places.seen(argument) for argument in plan.arguments],
            relocate(plan.environment, places),
            str(plan.code),
            str(worker.folder / "tmp"),
        )
        joins: list[int] = []
        try:
            assert self._link is not None
            joins = worker.group.open_joins() if worker.group else []
            socket.send_fds(self._link, [orders.encode(start)], [report.fileno(), output, *joins])
        except OSError as error:
            # The spawner never hears of it, so nobody else tells its end.
            worker.ended.set_result(0)
            raise StartRefused("NoRoom", f"no worker can be ordered: {error}") from None
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
                        if not descriptors:
                            raise StartRefused("NoRoom", "no descriptor is left for the worker's listener")
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
        self._kills.append(worker.name)
        self._send_kills()

    def _send_kills(self) -> None:
        """In their turn; those that a full link does not take go out when the spawner has read."""
        assert self._link is not None
        loop = asyncio.get_running_loop()
        while self._kills:
            try:
                self._link.send(orders.encode(orders.Kill(self._kills[0])))
            except BlockingIOError:
                loop.add_writer(self._link, self._send_kills)
                return
            except (BrokenPipeError, ConnectionResetError):
                self._kills.clear()  # all its workers are gone, as we are about to hear
                break
            self._kills.popleft()
        loop.remove_writer(self._link)

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
        if worker.group is not None:
            out_of_memory = self._told(worker.group.killed_for_memory) or False
            peak = self._told(worker.group.peak)
            self._remove(worker.group.remove)
        self._remove(lambda: _remove_folder(worker.folder))
        return out_of_memory, peak

    def _told[T](self, ask: Callable[[], T]) -> T | None:
        """What the kernel says; None, and a line in the log, where it does not."""
        try:
            return ask()
        except (OSError, ValueError) as error:
            self._log.error("what a worker used is not known", reason=str(error))
            return None

    def _remove(self, remove: Callable[[], None]) -> None:
        try:
            remove()
        except OSError as error:
            self._log.error("a worker left something behind; the next node sweeps it", reason=str(error))


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


def _remove_folder(folder: Path) -> None:
    """Remove a worker's folder. It takes no descriptor where /tmp is empty: none may be left."""
    with contextlib.suppress(OSError):
        (folder / "tmp").rmdir()
        folder.rmdir()
        return
    if folder.exists():
        _remove_tree(folder)


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
