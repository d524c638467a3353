"""However a node ends, its workers end with it, and the next node finds and clears the rest."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contract.conftest import OWN_WORKERS, Stage
from esb_common.errors import NotPossibleHere
from esb_node.core.ports import Exit, Running, WorkerPlan
from esb_node.drivers.process import driver
from esb_node.drivers.process.driver import ProcessDriver

ROOT = Path(__file__).parents[2]
SECONDS = 10.0

NODE = """
import asyncio, sys, pickle
from pathlib import Path
from contract.subjects import SUBJECTS, Ground, python_prefix

async def main():
    subject = next(one for one in SUBJECTS if one.name == sys.argv[1])
    driver = subject.make(Ground(Path(sys.argv[2]), Path(sys.argv[3]), python_prefix()))
    await driver.open()
    running = await driver.start(pickle.loads(bytes.fromhex(sys.argv[4])))
    print(running.place, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def process(real: Stage) -> Stage:
    """Only the process driver's ways to isolate."""
    if not isinstance(real.driver, ProcessDriver):
        pytest.skip("its engine watches its workers")
    return real


def ended(process: int) -> bool:
    """Whether ``process`` ends within a bound; True where it has already."""
    try:
        watched = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], SECONDS)[0])
    finally:
        os.close(watched)


def test_a_killed_node_takes_its_workers_along_and_the_next_clears_up(process: Stage, tmp_path: Path) -> None:
    folder = process.ground.folder.with_name(f"killed-{os.getpid()}")
    plan = process.plan("memory.hang")
    portable = pickle.dumps(_portable(plan)).hex()
    node = subprocess.Popen(
        [
            sys.executable,
            "-c",
            NODE,
            process.subject.name,
            str(folder),
            str(process.ground.runtime),
            portable,
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert node.stdout is not None
    worker = int(node.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    node.kill()
    node.wait()
    node.stdout.close()

    async def next_node() -> None:
        ground = type(process.ground)(folder, process.ground.runtime, process.ground.python_prefix)
        after = process.subject.make(ground)
        await after.open()
        assert ended(worker)
        assert list((folder / "workers").iterdir()) == []
        await after.close()

    process.run(next_node())
    if process.subject.limits:
        assert list(Path("/sys/fs/cgroup").glob(f"*/esb/*/{OWN_WORKERS}*")) == []


def _give_back(running: Running) -> None:
    running.listener.close()
    for descriptor in (running.output, running.peak_memory):
        if descriptor is not None:
            os.close(descriptor)


def _portable(plan: WorkerPlan) -> WorkerPlan:
    """A plan that pickles: its function's environment is a read-only view."""
    return dataclasses.replace(plan, function=dataclasses.replace(plan.function, environment={}))


def test_two_nodes_cannot_share_a_folder(process: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_EARLIER_NODE_S", 0.1)
    with pytest.raises(NotPossibleHere, match="another node"):
        process.run(process.subject.make(process.ground).open())


def test_a_killed_spawner_is_told_as_the_end_of_its_workers(process: Stage) -> None:
    async def play() -> None:
        folder = process.ground.folder.with_name(f"spawner-{os.getpid()}")
        ground = type(process.ground)(folder, process.ground.runtime, process.ground.python_prefix)
        own = process.subject.make(ground)
        assert isinstance(own, ProcessDriver)
        await own.open()
        running = await own.start(process.plan("memory.hang"))
        os.kill(own.spawner_process, signal.SIGKILL)
        assert await asyncio.wait_for(running.wait(), SECONDS) == Exit(None, signal.SIGKILL)
        assert ended(int(running.place))
        _give_back(running)
        again = await own.start(process.plan("memory.hang"))
        again.stop()
        await again.wait()
        _give_back(again)
        await own.close()

    begun = time.monotonic()
    process.run(play())
    assert time.monotonic() - begun < SECONDS
