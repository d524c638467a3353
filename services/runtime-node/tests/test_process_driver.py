"""What the process driver does where the machine refuses: start, end and rehearsal of real workers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from esb_common import ids
from esb_common.errors import NotPossibleHere
from esb_common.function import FunctionBlob
from esb_common.log import Log
from esb_node.core.ports import Exit, StartRefused, WorkerPlan
from esb_node.drivers.process import driver as module
from esb_node.drivers.process.driver import Place, ProcessDriver, RunningProcess
from esb_node.hands import cgroups

SOURCES = [str(Path(__file__).parents[2] / one / "src") for one in ("common", "runtime-node")]
ONE = ids.worker_id(f"w-{os.getpid():016x}")
SHELL = """#!/bin/sh
[ "$1" = -I ] && exec {rehearsal}
exec sleep 60
"""
"""In the interpreter's place: enough to live, without the half second of a real one."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the sandbox user, too, finds its way."""
    path = Path(tempfile.mkdtemp(prefix="esb-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def interpreter(folder: Path, rehearsal: str = "true") -> Place:
    python = folder / "python/bin/python3.12"
    python.parent.mkdir(parents=True)
    python.write_text(SHELL.format(rehearsal=rehearsal))
    python.chmod(0o755)
    return Place(folder / "node", folder / "python", folder)


def plan(folder: Path, number: int = 0) -> WorkerPlan:
    blob = FunctionBlob(ids.FunctionName("f"), "1", "a", "r", "", "", ids.Digest(""), 128, 3)
    arguments = ("/var/lang/bin/python3.12",)
    worker = ids.worker_id(f"w-{number:016x}") if number else ONE
    return WorkerPlan(worker, blob, folder, arguments, {"PATH": "/usr/bin:/bin"})


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[ProcessDriver]:
    driver = ProcessDriver(interpreter(folder), "none", Log("test"))
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


async def ended(running: RunningProcess) -> Exit:
    exit_ = await asyncio.wait_for(running.wait(), 20)
    running.close_descriptors()
    return exit_


@dataclass(frozen=True)
class OddGroups:
    """The machine's own groups, but for the files that ``odd`` names."""

    real: cgroups.Groups
    odd: dict[str, Any]

    def make(self, name: str, memory_mib: int) -> cgroups.Group:
        return dataclasses.replace(self.real.make(name, memory_mib), **self.odd)

    def close(self) -> None:
        self.real.close()


def make_odd(driver: ProcessDriver, monkeypatch: pytest.MonkeyPatch, **odd: Any) -> None:
    if (real := driver._groups) is None:
        pytest.skip("no cgroup can be made here")
    monkeypatch.setattr(driver, "_groups", OddGroups(real, odd))


def traces(driver: ProcessDriver) -> list[Any]:
    """What a start must not leave behind."""
    groups = list(Path("/sys/fs/cgroup").glob(f"**/esb/*/{ONE}"))
    return [*driver._workers, *driver._folder.iterdir(), *groups]


def test_a_kernel_without_peak_memory_runs_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with opened(folder) as driver:
            make_odd(driver, monkeypatch, peak_file=folder / "absent")
            running = await driver.start(plan(folder))
            assert running.peak_memory is None
            running.stop()
            assert (await ended(running)).peak_memory is None
            assert traces(driver) == []

    asyncio.run(play())


def test_a_peak_that_cannot_be_opened_refuses_the_start_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "loop").symlink_to("loop")

    async def play() -> None:
        async with opened(folder) as driver:
            make_odd(driver, monkeypatch, peak_file=folder / "loop")
            before = descriptors()
            with pytest.raises(StartRefused, match=r"NoRoom: .*loop"):
                await asyncio.wait_for(driver.start(plan(folder)), 20)
            assert traces(driver) == []
            assert descriptors() == before

    asyncio.run(play())


def test_a_peak_that_cannot_be_read_keeps_nothing_from_being_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "empty").touch()

    async def play() -> None:
        async with opened(folder) as driver:
            make_odd(driver, monkeypatch, peak_file=folder / "empty", events_file=folder / "absent")
            running = await driver.start(plan(folder))
            running.stop()
            assert await ended(running) == Exit(None, 9)
            assert traces(driver) == []

    asyncio.run(play())


def test_a_group_that_cannot_be_joined_refuses_the_start_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "join").touch()

    async def play() -> None:
        async with opened(folder) as driver:
            make_odd(driver, monkeypatch, join_files=(folder / "join", folder / "absent"))
            before = descriptors()
            with pytest.raises(StartRefused, match=r"NoRoom: .*absent"):
                await asyncio.wait_for(driver.start(plan(folder)), 20)
            assert traces(driver) == []
            assert descriptors() == before

    asyncio.run(play())


def test_without_a_free_descriptor_a_start_is_refused_and_leaves_nothing(folder: Path) -> None:
    async def play() -> None:
        async with opened(folder) as driver:
            before = descriptors()
            outcomes = [await start_with(driver, plan(folder), free) for free in range(12)]
            assert {outcomes[0], outcomes[-1]} == {"Too many open files", "started"}
            assert traces(driver) == []
            assert descriptors() == before

    asyncio.run(play())


async def start_with(driver: ProcessDriver, wanted: WorkerPlan, free: int) -> str:
    """Start ``wanted`` with ``free`` descriptors left, and end it; what came of it."""
    with fewer_descriptors(free):
        try:
            running = await asyncio.wait_for(driver.start(wanted), 20)
        except StartRefused as refused:
            words = "Too many open files"
            return words if refused.error == "NoRoom" and words in refused.message else str(refused)
    running.stop()
    await ended(running)
    return "started"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def fewer_descriptors(free: int) -> Iterator[None]:
    """Leave this process ``free`` descriptors to open, by opening all others it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(free):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_kill_is_lost_while_the_spawner_does_not_read(folder: Path) -> None:
    async def play() -> None:
        async with opened(folder) as driver:
            first, second = await driver.start(plan(folder, 1)), await driver.start(plan(folder, 2))
            os.kill(driver.spawner_process, signal.SIGSTOP)
            try:
                for _ in range(3000):  # more than its socket holds
                    first.stop()
                second.stop()
            finally:
                os.kill(driver.spawner_process, signal.SIGCONT)
            for running in (first, second):
                assert await ended(running) == Exit(None, 9)
            assert traces(driver) == []

    asyncio.run(play())


def test_a_rehearsal_that_does_not_end_is_not_possible_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REHEARSAL_S", 0.5)
    driver = ProcessDriver(interpreter(folder, "sleep 60"), "none", Log("test"))
    with pytest.raises(NotPossibleHere, match="did not end within"):
        asyncio.run(asyncio.wait_for(driver.open(), 30))


OPEN = """
import asyncio, sys
from pathlib import Path
from esb_common.errors import NotPossibleHere
from esb_common.log import Log
from esb_node.drivers.process.driver import Place, ProcessDriver

async def main():
    place = Place(Path(sys.argv[1]) / "node", Path(sys.argv[1]) / "python", Path(sys.argv[1]))
    driver = ProcessDriver(place, sys.argv[2], Log("test"))
    try:
        await driver.open()
    except NotPossibleHere as refused:
        print(refused)
    else:
        print("limits", driver.limits)
        await driver.close()

asyncio.run(main())
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="it needs root to take the groups away")
@pytest.mark.parametrize(
    ("isolation", "words"),
    [
        ("namespaces", "no limits of memory, processes or CPU: Read-only file system"),
        ("none", "limits False"),
    ],
)
def test_root_isolates_with_limits_or_not_at_all(folder: Path, isolation: str, words: str) -> None:
    interpreter(folder)
    without_groups = 'mount -t tmpfs -o ro none /sys/fs/cgroup && exec "$@"'
    opening = [sys.executable, "-c", OPEN, str(folder), isolation]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", without_groups, "sh", *opening],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(SOURCES)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert words in done.stdout, done.stderr
    assert ("--no-isolation" in done.stdout) == (isolation == "namespaces")
