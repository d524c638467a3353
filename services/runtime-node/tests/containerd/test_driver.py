"""The containerd driver itself: real containerd, runc and plugins, a real image, real workers.

What every driver must do is in ``tests/contract``; here is what only this one can do or get wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from containerd_here import own_addresses
from esb_common import ids
from esb_common.function import FunctionBlob
from esb_common.log import Log
from esb_node.core.ports import Exit, StartRefused, WorkerPlan
from esb_node.drivers.containerd.driver import READY_NETWORKS, ContainerdDriver
from esb_node.drivers.containerd.programs import Programs
from esb_node.drivers.containerd.worker import ContainerdWorker

pytestmark = [pytest.mark.engine, pytest.mark.root]

ADDRESSES = own_addresses()
GATEWAY = str(ip_network(ADDRESSES.subnet)[1])
PYTHON = "/var/lang/bin/python3.12"
AWAIT_CALL = "import socket; socket.create_connection(('127.0.0.1', 9001)).recv(1);"
"""A worker that goes on when the test answers on its Runtime API socket."""

PROBE = """
import json, os, resource, socket
def can_write(path):
    try:
        open(path, 'w').close()
    except OSError as error:
        return error.errno
    return 0
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status'))
CAPABILITIES = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')
PLACES = ('/x', '/etc/x', '/var/task/x', '/var/runtime/x', '/tmp/x', '/dev/shm/x')
print(json.dumps({
    'user': [os.getuid(), os.getgid(), os.getgroups()],
    'capabilities': {name: int(status[name], 16) for name in CAPABILITIES},
    'no_new_privileges': status['NoNewPrivs'].strip(),
    'processes': [name for name in os.listdir('/proc') if name.isdigit()],
    'write': {path: can_write(path) for path in PLACES},
    'file_system_of_tmp': [line.split()[2] for line in open('/proc/mounts') if line.split()[1] == '/tmp'],
    'sys': os.path.exists('/sys/kernel'),
    'files': resource.getrlimit(resource.RLIMIT_NOFILE),
    'core': resource.getrlimit(resource.RLIMIT_CORE),
    'devices': sorted(os.listdir('/dev')),
    'interfaces': sorted(name for _, name in socket.if_nameindex()),
    'variable': os.environ['_ESB_OUTPUT'],
    'hostname': socket.gethostbyname(socket.gethostname()),
}), file=open('/run/esb/output', 'w'))
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One for all tests here, so that the image is unpacked once."""
    path = Path(tempfile.mkdtemp(prefix="esb-"))
    yield path
    shutil.rmtree(path)


def plan(folder: Path, script: str, memory_mib: int = 128) -> WorkerPlan:
    code = folder / "code"
    code.mkdir(exist_ok=True)
    blob = FunctionBlob(
        name=ids.FunctionName("probe"),
        version="$LATEST",
        arn="arn:aws:lambda:us-east-1:000000000000:function:probe",
        region="us-east-1",
        runtime="python3.12",
        handler="app.handler",
        code=ids.digest_of(b""),
        memory_mib=memory_mib,
        timeout_s=3,
    )
    worker = ids.worker_id("w-" + os.urandom(8).hex())
    environment = MappingProxyType({"PATH": "/var/lang/bin:/usr/bin:/bin", "LANG": "C.UTF-8"})
    return WorkerPlan(worker, blob, code, (PYTHON, "-I", "-c", script), environment)


def new_driver(folder: Path, images: Path, programs: Programs) -> ContainerdDriver:
    return ContainerdDriver(folder / "c", images, programs, Log("test"), ADDRESSES)


def with_driver(
    folder: Path, images: Path, programs: Programs, act: Callable[[ContainerdDriver], Awaitable[None]]
) -> None:
    async def life() -> None:
        driver = new_driver(folder, images, programs)
        await driver.open()
        try:
            await act(driver)
        finally:
            await driver.close()

    asyncio.run(asyncio.wait_for(life(), 120))
    assert traces(folder / "c") == []


@contextlib.asynccontextmanager
async def started(driver: ContainerdDriver, wanted: WorkerPlan) -> AsyncIterator[ContainerdWorker]:
    worker = await driver.start(wanted)
    try:
        yield worker
    finally:
        worker.stop()
        await worker.wait()
        worker.close_descriptors()


async def ended(worker: ContainerdWorker) -> Exit:
    return await asyncio.wait_for(worker.wait(), 20)


async def called(worker: ContainerdWorker) -> Any:
    """The worker's connection to its Runtime API, once it makes one; close it to let it go on."""
    connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(worker.listener), 20)
    return connection


def said(worker: ContainerdWorker) -> bytes:
    return os.read(worker.output, 1 << 16)


def traces(folder: Path) -> list[str]:
    """Everything on this machine that a driver on ``folder`` could leave, beside its files."""
    box = "containerd-" + hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/esb/{box}/*") if path.is_dir()]
    pins = [str(path) for path in folder.glob("netns/*")]
    workers = [str(path) for path in folder.glob("workers/*")]
    return [*mounts, *groups, *pins, *workers, *shims(folder), *links(), *rules()]


def rules() -> list[str]:
    done = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if ADDRESSES.subnet in line or ADDRESSES.bridge in line]


def shims(folder: Path) -> list[str]:
    """Processes that name ``folder`` in their arguments: containerd and its shims."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = path.read_bytes()
            if os.fsencode(folder) in arguments:
                found.append(f"{path.parent.name} {arguments!r}")
    return found


def links() -> list[str]:
    return [path.name for path in Path("/sys/class/net").glob(f"{ADDRESSES.bridge}*")]


def test_a_worker_sees_what_it_should_and_can_do_nothing_else(
    folder: Path, images: Path, programs: Programs
) -> None:
    async def act(driver: ContainerdDriver) -> None:
        async with started(driver, plan(folder, PROBE)) as worker:
            assert await ended(worker) == Exit(0, None)
            seen = json.loads(said(worker))
        denied, read_only = 13, 30
        assert seen["user"] == [993, 993, []]
        assert not any(seen["capabilities"].values())
        assert seen["no_new_privileges"] == "1"
        assert seen["processes"] == ["1"]
        assert {path: code for path, code in seen["write"].items() if not code} == {
            "/tmp/x": 0,
            "/dev/shm/x": 0,
        }
        assert set(seen["write"].values()) <= {0, denied, read_only}
        assert seen["write"]["/var/task/x"] == read_only
        assert seen["file_system_of_tmp"] != ["tmpfs"]
        assert not seen["sys"]
        assert (seen["files"], seen["core"]) == ([1024, 1024], [0, 0])
        assert {"null", "zero", "random", "urandom", "full", "tty", "shm"} <= set(seen["devices"])
        assert seen["interfaces"] == ["eth0", "lo"]
        assert seen["variable"] == "/run/esb/output"
        assert seen["hostname"].startswith("127.")

    with_driver(folder, images, programs, act)


def test_an_exit_code_a_signal_and_a_full_memory_are_told_apart(
    folder: Path, images: Path, programs: Programs
) -> None:
    async def act(driver: ContainerdDriver) -> None:
        ends = {
            "raise SystemExit(3)": Exit(3, None),
            "import os; os.kill(os.fork() or os.getpid(), 0); os._exit(0)": Exit(0, None),
            "x = bytearray(512 << 20)": Exit(None, signal.SIGKILL, out_of_memory=True),
        }
        for script, end in ends.items():
            async with started(driver, plan(folder, script)) as worker:
                assert await ended(worker) == end
        async with started(driver, plan(folder, AWAIT_CALL)) as worker:
            worker.stop()
            assert await ended(worker) == Exit(None, signal.SIGKILL)

    with_driver(folder, images, programs, act)


def test_a_start_that_fails_says_why_and_leaves_nothing(
    folder: Path, images: Path, programs: Programs
) -> None:
    async def act(driver: ContainerdDriver) -> None:
        no_program = replace(plan(folder, ""), arguments=("/no/such/program",))
        no_code = replace(plan(folder, ""), code=folder / "no-such-code")
        for wanted, words in ((no_program, "/no/such/program"), (no_code, "no-such-code")):
            with pytest.raises(StartRefused, match=words) as refused:
                await driver.start(wanted)
            assert refused.value.error == "StartFailed"
            assert not [line for line in traces(folder / "c") if wanted.worker in line]

    with_driver(folder, images, programs, act)


def test_memory_at_its_peak_can_be_read_while_it_runs(folder: Path, images: Path, programs: Programs) -> None:
    async def act(driver: ContainerdDriver) -> None:
        async with started(driver, plan(folder, "x = b'1' * (40 << 20);" + AWAIT_CALL)) as worker:
            (await called(worker)).close()
            assert worker.peak_memory is not None
            assert 40 << 20 < int(os.pread(worker.peak_memory, 100, 0)) < 128 << 20

    with_driver(folder, images, programs, act)


def test_every_process_of_a_worker_ends_with_it(folder: Path, images: Path, programs: Programs) -> None:
    script = "import os\nfor _ in range(20):\n    os.fork() or os.setsid()\n    break\n" + AWAIT_CALL

    async def act(driver: ContainerdDriver) -> None:
        async with started(driver, plan(folder, script)) as worker:
            (await called(worker)).detach()
            worker.stop()
            await ended(worker)
            assert not [line for line in traces(folder / "c") if worker.place in line]

    with_driver(folder, images, programs, act)


def test_workers_have_addresses_of_their_own_and_a_way_out(
    folder: Path, images: Path, programs: Programs
) -> None:
    script = (
        "import socket; s = socket.create_connection(('%s', %d)); s.sendall(b'from inside');" + AWAIT_CALL
    )

    async def act(driver: ContainerdDriver) -> None:
        peers: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peers.put((writer.get_extra_info("peername")[0], await reader.read(100)))
            writer.close()

        async with started(driver, plan(folder, AWAIT_CALL)):  # the first brings the bridge
            server = await asyncio.start_server(hear, GATEWAY, 0)
            wanted = script % (GATEWAY, server.sockets[0].getsockname()[1])
            async with server, started(driver, plan(folder, wanted)), started(driver, plan(folder, wanted)):
                (first, words), (second, _) = [await asyncio.wait_for(peers.get(), 20) for _ in range(2)]
        assert words == b"from inside"
        assert first != second
        assert {ip_address(first), ip_address(second)} < set(ip_network(ADDRESSES.subnet))

    with_driver(folder, images, programs, act)


def test_many_at_once_leave_nothing(folder: Path, images: Path, programs: Programs) -> None:
    async def life(driver: ContainerdDriver) -> Exit:
        async with started(driver, plan(folder, AWAIT_CALL + "raise SystemExit(5)")) as worker:
            (await called(worker)).close()
            return await ended(worker)

    async def act(driver: ContainerdDriver) -> None:
        descriptors = _open_descriptors()
        for _ in range(3):
            assert await asyncio.gather(*(life(driver) for _ in range(8))) == [Exit(5, None)] * 8
        assert not [line for line in traces(folder / "c") if "w-" in line]
        assert _open_descriptors() <= descriptors + READY_NETWORKS

    with_driver(folder, images, programs, act)


@pytest.mark.parametrize("steps", [1, 5, 20, 60])
def test_a_cancelled_start_leaves_nothing(folder: Path, images: Path, programs: Programs, steps: int) -> None:
    async def act(driver: ContainerdDriver) -> None:
        wanted = plan(folder, AWAIT_CALL)
        start = asyncio.create_task(driver.start(wanted))
        for _ in range(steps):
            await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert not [line for line in traces(folder / "c") if wanted.worker in line]

    with_driver(folder, images, programs, act)


def test_workers_outlive_containerd_and_every_end_is_told(
    folder: Path, images: Path, programs: Programs
) -> None:
    async def act(driver: ContainerdDriver) -> None:
        script = AWAIT_CALL + "raise SystemExit(7)"
        async with (
            started(driver, plan(folder, script)) as first,
            started(driver, plan(folder, script)) as second,
        ):
            calls = [await called(first), await called(second)]
            assert driver.containerd_pid is not None
            os.kill(driver.containerd_pid, signal.SIGKILL)
            calls[0].close()  # its worker ends while containerd is away
            assert await ended(first) in (Exit(7, None), Exit(None, signal.SIGKILL))
            calls[1].close()
            assert await ended(second) == Exit(7, None)
        async with started(driver, plan(folder, "raise SystemExit(0)")) as third:
            assert await ended(third) == Exit(0, None)

    with_driver(folder, images, programs, act)


def test_a_killed_shim_is_an_exit_with_nothing_left(folder: Path, images: Path, programs: Programs) -> None:
    async def act(driver: ContainerdDriver) -> None:
        async with started(driver, plan(folder, AWAIT_CALL)) as worker:
            await called(worker)
            (shim,) = [line for line in _all_processes() if worker.place in line[1] and "shim" in line[1]]
            os.kill(shim[0], signal.SIGKILL)
            assert await ended(worker) == Exit(None, signal.SIGKILL)
            assert not [line for line in traces(folder / "c") if worker.place in line]

    with_driver(folder, images, programs, act)


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _all_processes() -> list[tuple[int, str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append((int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode()))
    return found


def test_a_node_clears_away_what_a_killed_one_left(folder: Path, images: Path, programs: Programs) -> None:
    async def killed_node() -> None:
        node = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            str(folder),
            str(images),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert node.stdout is not None
        assert await asyncio.wait_for(node.stdout.readline(), 60) == b"running\n"
        node.kill()
        await node.wait()

    asyncio.run(killed_node())
    assert any("w-" in line for line in traces(folder / "c"))

    async def act(driver: ContainerdDriver) -> None:
        assert not [line for line in traces(folder / "c") if "w-" in line]

    with_driver(folder, images, programs, act)


async def _run_until_killed(folder: Path, images: Path) -> None:
    from containerd_here import programs_here

    driver = new_driver(folder, images, programs_here())
    await driver.open()
    workers = [await driver.start(plan(folder, AWAIT_CALL)) for _ in range(3)]
    for worker in workers:
        await called(worker)
    print("running", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run_until_killed(Path(sys.argv[1]), Path(sys.argv[2])))
