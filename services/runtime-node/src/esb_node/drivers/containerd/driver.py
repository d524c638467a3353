"""The containerd driver: one supervised containerd, shared roots, ready networks, and three calls a start."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import time
from contextlib import AsyncExitStack
from pathlib import Path

from esb_common import wire
from esb_common.errors import EsbError, NotPossibleHere
from esb_common.log import Log

from esb_node.core.ports import StartRefused, WorkerPlan
from esb_node.core.worker import SANDBOX_UID
from esb_node.drivers.containerd.client import Containerd
from esb_node.drivers.containerd.groups import Groups, find_groups
from esb_node.drivers.containerd.images import Images
from esb_node.drivers.containerd.network import Addresses, Networks
from esb_node.drivers.containerd.programs import Programs
from esb_node.drivers.containerd.resolver import worker_resolver
from esb_node.drivers.containerd.spec import Place, encode_spec
from esb_node.drivers.containerd.supervisor import Supervisor
from esb_node.drivers.containerd.worker import ContainerdWorker, Task, end_task
from esb_node.hands import linux

READY_NETWORKS = 4
_NO_ROOM = (errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EDQUOT)
_BEHIND_RESOLVED = Path("/run/systemd/resolve/resolv.conf")


class ContainerdDriver:
    """Runs workers in containers. All of its state is under ``folder``; needs root.

    ``images`` holds the image archives. Two drivers on one machine need different folders and, in one network
    namespace, different ``addresses``.
    """

    def __init__(
        self,
        folder: Path,
        images: Path,
        programs: Programs,
        log: Log,
        addresses: Addresses | None = None,
    ) -> None:
        self._folder = folder
        self._log = log
        self._supervisor = Supervisor(folder, programs.containerd, log)
        self._networks = Networks(folder, programs, addresses or Addresses(), READY_NETWORKS, log)
        self._containerd = Containerd(self._supervisor.socket, programs.runc, folder / "runc")
        self._images = Images(self._containerd, images, log)
        self._workers: set[ContainerdWorker] = set()
        self._starting: set[asyncio.Task[ContainerdWorker]] = set()
        self._opened = AsyncExitStack()
        self._groups: Groups

    @property
    def name(self) -> str:
        return "containerd"

    @property
    def isolation(self) -> wire.Isolation:
        return "containers"

    @property
    def network(self) -> wire.Network:
        return "all"

    @property
    def limits(self) -> bool:
        return True

    @property
    def containerd_pid(self) -> int | None:
        """The process id of the supervised containerd."""
        return self._supervisor.pid

    async def open(self) -> None:
        async with AsyncExitStack() as undo:
            self._groups = _own_groups(self._folder)
            self._groups.make_room()
            self._write_resolver()
            await self._supervisor.open()
            undo.push_async_callback(self._supervisor.close)
            undo.push_async_callback(self._containerd.close)
            await self._containerd.make_namespace()
            await self._sweep()
            await self._networks.open()
            undo.push_async_callback(self._networks.close)
            await self._images.open()
            undo.push_async_callback(self._images.close)
            self._log.info("containerd is ready", version=await self._containerd.version())
            self._opened = undo.pop_all()

    async def close(self) -> None:
        await asyncio.gather(*self._starting, return_exceptions=True)
        for worker in self._workers:
            worker.stop()
        await asyncio.gather(*(worker.wait() for worker in self._workers))
        await self._opened.aclose()
        await asyncio.to_thread(self._groups.sweep)

    async def start(self, plan: WorkerPlan) -> ContainerdWorker:
        """Start a worker; see ``Driver``.

        A call to containerd that is cut short may still be carried out. So a cancelled start runs to its end
        aside, and its worker is then removed, before the cancellation goes on.
        """
        starting = asyncio.create_task(self._start(plan), name=f"start {plan.worker}")
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        try:
            worker = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.create_task(_discard(starting)))
            raise
        return worker

    async def _start(self, plan: WorkerPlan) -> ContainerdWorker:
        try:
            async with AsyncExitStack() as undo:
                task = await self._start_task(plan, undo)
                worker = ContainerdWorker(task, self._containerd, self._groups, undo.pop_all(), self._log)
        except OSError as error:
            raise StartRefused("NoRoom" if error.errno in _NO_ROOM else "StartFailed", str(error)) from None
        except EsbError as error:
            raise StartRefused("StartFailed", error.fact) from None
        self._workers.add(worker)
        worker.once_gone(self._workers.discard)
        return worker

    async def _start_task(self, plan: WorkerPlan, undo: AsyncExitStack) -> Task:
        """Every step's undoing is known before the step, since a failed call may have been carried out."""
        containerd, name, phases = self._containerd, plan.worker, _Phases()
        root = await self._images.take(plan.function.runtime)
        undo.callback(self._images.give_back, root)
        network = await self._networks.take()
        undo.push_async_callback(self._networks.give_back, network)
        phases.end("network")
        on_failure = undo.enter_context(contextlib.ExitStack())
        on_failure.callback(network.listener.close)
        folder = self._folder / "workers" / name
        undo.push_async_callback(_remove_folder, folder)
        output = _make_folder(folder)
        on_failure.callback(os.close, output)
        phases.end("folder")
        undo.push_async_callback(asyncio.to_thread, self._groups.remove, name)
        undo.push_async_callback(containerd.delete_container, name)
        await containerd.create_container(name, encode_spec(plan, self._place(name, folder, network.pin)))
        phases.end("container")
        undo.push_async_callback(end_task, containerd, name)
        process = os.pidfd_open(await containerd.create_task(name, root.mounts))
        on_failure.callback(os.close, process)
        phases.end("task")
        await containerd.start_task(name)
        peak_memory = self._groups.open_peak(name)
        phases.end("start")
        on_failure.pop_all()
        return Task(name, process, network.listener, output, peak_memory, phases.ms)

    def _place(self, name: str, folder: Path, network: Path) -> Place:
        return Place(
            network=network,
            output=folder / "output",
            scratch=folder / "tmp",
            resolver=self._folder / "resolv.conf",
            hosts=Path("/etc/hosts"),
            cgroup=self._groups.path(name),
            counts_swap=self._groups.counts_swap,
        )

    async def _sweep(self) -> None:
        """Remove an earlier node's workers: tasks, containers, groups, mounts, folders."""
        for task in await self._containerd.tasks():
            await end_task(self._containerd, task)
        for container in await self._containerd.containers():
            await self._containerd.delete_container(container)
        await asyncio.to_thread(self._groups.sweep)
        await asyncio.to_thread(clear_folders, self._folder)

    def _write_resolver(self) -> None:
        behind = _BEHIND_RESOLVED.read_text() if _BEHIND_RESOLVED.exists() else ""
        text, servers = worker_resolver(Path("/etc/resolv.conf").read_text(), behind)
        if not servers:
            self._log.warning(
                "workers cannot resolve names: every name server of the node is on its loopback",
                hint="give the node a name server that other network namespaces reach",
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "resolv.conf").write_text(text)


class _Phases:
    """Milliseconds from the end of one phase to the end of the next."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._begun = time.perf_counter()

    def end(self, phase: str) -> None:
        now = time.perf_counter()
        self.ms[phase] = round((now - self._begun) * 1000, 2)
        self._begun = now


async def _discard(starting: asyncio.Task[ContainerdWorker]) -> None:
    """Let a start end and remove the worker that nobody wants any more."""
    with contextlib.suppress(StartRefused):
        worker = await starting
        worker.stop()
        worker.close_descriptors()
        await worker.wait()


def _own_groups(folder: Path) -> Groups:
    """Groups named after the node's folder, so that a second node on this machine sweeps none of them."""
    box = "containerd-" + hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
    return find_groups(box, Path("/proc/self/mountinfo").read_text())


def _make_folder(folder: Path) -> int:
    """A worker's own files: ``tmp``, and ``output``, a FIFO. The descriptor to read it from.

    It is opened for reading and writing, so that it neither waits for a writer nor ends with one.
    """
    folder.mkdir(parents=True)
    scratch, output = folder / "tmp", folder / "output"
    scratch.mkdir(mode=0o700)
    os.mkfifo(output, 0o600)
    for path in (scratch, output):
        os.chown(path, SANDBOX_UID, SANDBOX_UID)
    return os.open(output, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


async def _remove_folder(folder: Path) -> None:
    """In a thread: a function may have left many files in its ``/tmp``."""
    await asyncio.to_thread(shutil.rmtree, folder)


def clear_folders(folder: Path) -> None:
    """Unmount what a killed node's containers left mounted, the innermost first, and drop workers' files.

    NotPossibleHere where something of them stays.
    """
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in sorted((one for one in points if one.startswith(f"{folder}/state/")), reverse=True):
        linux.unmount(point)
    workers = folder / "workers"
    try:
        shutil.rmtree(workers)
    except FileNotFoundError:
        return
    except OSError as error:
        hint = f"see what holds it, remove {workers}, and start the node again"
        raise NotPossibleHere(f"an earlier node's workers cannot be swept: {error}", hint) from None
