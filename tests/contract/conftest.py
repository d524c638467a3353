"""The stage of the contract suite: one loop and one open driver per subject and module."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract.runtime_api import WAIT_S, RuntimeApi
from contract.subjects import FUNCTIONS, SUBJECTS, Ground, Subject, python_prefix
from esb_common import ids
from esb_common.function import FunctionBlob
from esb_node.core.plan import worker_plan
from esb_node.core.ports import Driver, Exit, Running, WorkerPlan

ROOT = Path(__file__).parents[2]
_NUMBERS = itertools.count(os.getpid() << 24)
OWN_WORKERS = f"w-{os.getpid() << 24:016x}"[:-6]
"""What the ids of all workers of this run begin with: other boxes may live on this machine."""


def _new_worker() -> ids.WorkerId:
    return ids.worker_id(f"w-{next(_NUMBERS):016x}")


class Guest:
    """A started worker with a Runtime API of the test's own at its socket."""

    def __init__(self, plan: WorkerPlan, running: Running, api: RuntimeApi) -> None:
        self.plan = plan
        self.running = running
        self.api = api

    def output(self) -> bytes:
        """What it has written and nobody has read yet."""
        parts = []
        while True:
            try:
                part = os.read(self.running.output, 65536)
            except BlockingIOError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    async def exit(self) -> Exit:
        """How it ended; waits for that."""
        return await asyncio.wait_for(self.running.wait(), WAIT_S)

    async def leave(self) -> Exit:
        """Stop it and give its descriptors back."""
        self.running.stop()
        ended = await self.exit()
        os.close(self.running.output)
        if self.running.peak_memory is not None:
            os.close(self.running.peak_memory)
        return ended


@dataclass(frozen=True, slots=True)
class Stage:
    """A subject with its driver open."""

    subject: Subject
    driver: Driver
    ground: Ground
    code: Path
    runner: asyncio.Runner

    def run[T](self, play: Coroutine[Any, Any, T]) -> T:
        """Run ``play`` on the driver's loop, bounded."""
        return self.runner.run(asyncio.wait_for(play, 120))

    def plan(self, handler: str, **environment: str) -> WorkerPlan:
        """A plan of one of ``functions/memory.py``'s handlers."""
        function = FunctionBlob(
            ids.FunctionName("subject"),
            "$LATEST",
            "arn:aws:lambda:us-east-1:000000000000:function:subject",
            "us-east-1",
            "python3.12",
            handler,
            ids.Digest("sha256:" + "0" * 64),
            128,
            3,
            environment,
        )
        return worker_plan(_new_worker(), function, self.code, 0)

    async def started(self, plan: WorkerPlan) -> Guest:
        """A worker of ``plan`` with a Runtime API attached; not yet ready."""
        running = await self.driver.start(plan)
        api = await RuntimeApi(running.listener).__aenter__()
        return Guest(plan, running, api)

    def with_guest(
        self, handler: str, play: Callable[[Guest], Coroutine[Any, Any, None]], **environment: str
    ) -> None:
        """Run ``play`` with a ready worker, which is gone afterwards."""

        async def whole() -> None:
            guest = await self.started(self.plan(handler, **environment))
            async with guest.api:
                try:
                    await guest.api.ready()
                    await play(guest)
                finally:
                    await guest.leave()

        self.run(whole())


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AWS's runtime client and our bootstrap: what ``esb up --embedded`` made, or a fresh one."""
    made = ROOT / ".esb" / "runtime"
    folder = tmp_path_factory.mktemp("runtime")
    if (made / "awslambdaric").is_dir():
        shutil.copytree(made, folder, dirs_exist_ok=True)
    else:
        uv = shutil.which("uv") or str(ROOT / ".esb" / "uv" / "bin" / "uv")
        lock = ROOT / "services" / "worker" / "requirements.lock"
        command = [uv, "pip", "install", "-q", "--python", sys.executable, "--target", str(folder)]
        subprocess.run([*command, "--require-hashes", "-r", str(lock)], check=True)
    shutil.copy(ROOT / "services" / "worker" / "src" / "bootstrap.py", folder)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module", params=SUBJECTS, ids=lambda subject: subject.name)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Path
) -> Iterator[Stage]:
    """Each subject in turn, opened; closed after the module."""
    subject: Subject = request.param
    if lacking := subject.needs():
        pytest.skip(lacking)
    with asyncio.Runner() as runner:
        folder = tmp_path_factory.mktemp(subject.name)
        code = folder / "code"
        shutil.copytree(FUNCTIONS, code)
        code.chmod(0o755)
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == os.geteuid() and parent.is_relative_to(tmp_path_factory.getbasetemp()):
                parent.chmod(0o755)
        ground = Ground(folder / "node", runtime, python_prefix())
        driver = subject.make(ground)
        runner.run(driver.open())
        try:
            yield Stage(subject, driver, ground, code, runner)
        finally:
            runner.run(driver.close())


@pytest.fixture
def real(stage: Stage) -> Stage:
    """Only the subjects whose workers run real Python."""
    if not stage.subject.real:
        pytest.skip("its workers run no Python")
    return stage


@pytest.fixture
def isolated(real: Stage) -> Stage:
    """Only the subjects that isolate."""
    if not real.subject.isolated:
        pytest.skip("it isolates from nothing")
    return real


@pytest.fixture
def limited(real: Stage) -> Stage:
    """Only where a worker's memory is limited."""
    if not real.subject.limits:
        pytest.skip("no cgroup can be made here")
    return real


def changed(plan: WorkerPlan, **members: Any) -> WorkerPlan:
    """``plan`` with other members."""
    return dataclasses.replace(plan, **members)
