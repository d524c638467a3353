"""Cold starts through the containerd driver beside the same calls made straight to the same containerd.

    python tests/bench/direct_containerd.py [rounds]

A start is counted from the request to the worker's first ``GET /next``. Three ways take turns, so that the
machine's moods hit all alike, each with a network namespace that stood ready:

    driver     what the node does
    direct     Containers.Create, Tasks.Create, Tasks.Start by a blocking client, in the driver's shared root
    textbook   the same after Snapshots.Prepare: a writable root of its own, as containerd's own client would

Needs root, the programs and the function image (see ``tests/containerd_here.py``).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.empty_pb2 import Empty

HOUSE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HOUSE / name) for name in ("services/common/src", "services/runtime-node/src", "tests")]

from containerd_here import images_here, programs_here  # noqa: E402 - the path is set above
from esb_common import ids  # noqa: E402
from esb_common.function import FunctionBlob  # noqa: E402
from esb_common.log import Log  # noqa: E402
from esb_node.core.environment import worker_environment  # noqa: E402
from esb_node.core.ports import WorkerPlan  # noqa: E402
from esb_node.drivers.containerd.driver import ContainerdDriver  # noqa: E402
from esb_node.drivers.containerd.groups import Groups, find_groups  # noqa: E402
from esb_node.drivers.containerd.network import Addresses, Network, Networks  # noqa: E402
from esb_node.drivers.containerd.spec import Place, encode_spec  # noqa: E402
from esb_node.drivers.containerd.wire import (  # noqa: E402
    containers_pb2,
    runc_pb2,
    snapshots_pb2,
    tasks_pb2,
)

PAUSE_S = 0.4
"""Let the pools refill and the last worker's traces go before the next start is timed."""
ADDRESSES = (Addresses("esbbench0", "198.18.164.0/23"), Addresses("esbbench1", "198.18.166.0/23"))
ARGUMENTS = ("/var/lang/bin/python3.12", "/var/runtime/bootstrap.py")
HANDLER = "def handler(event, context):\n    return event\n"
OVERLAY = "overlayfs"
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


def new_plan(code: Path) -> WorkerPlan:
    """A worker of a function that does nothing, with 256 MB."""
    blob = FunctionBlob(
        name=ids.FunctionName("bench"),
        version="$LATEST",
        arn=ids.function_arn("us-east-1", "000000000000", ids.FunctionName("bench")),
        region="us-east-1",
        runtime="python3.12",
        handler="app.handler",
        code=ids.digest_of(b""),
        memory_mib=256,
        timeout_s=3,
    )
    worker = ids.worker_id("w-" + secrets.token_hex(8))
    return WorkerPlan(worker, blob, code, ARGUMENTS, worker_environment(blob, worker, "2000/01/01"))


async def first_next(listener: socket.socket) -> socket.socket:
    """The worker's connection, once its first ``GET /next`` has arrived on it."""
    loop = asyncio.get_running_loop()
    connection, _ = await asyncio.wait_for(loop.sock_accept(listener), 30)
    request = await asyncio.wait_for(loop.sock_recv(connection, 4096), 30)
    assert b"/invocation/next" in request, request
    return connection


class Direct:
    """containerd's API by a blocking client and nothing around it."""

    def __init__(self, folder: Path, runc: Path) -> None:
        self._folder = folder
        self._channel = grpc.insecure_channel(f"unix://{folder / 'containerd.sock'}")
        options = runc_pb2.Options(binary_name=str(runc), root=str(folder / "runc"))
        self._runc = Packed(type_url="containerd.runc.v1.Options", value=options.SerializeToString())
        self.view, self.parent = self._root()

    def ask(self, method: str, request: Any, reply: Any = Empty) -> Any:
        call = self._channel.unary_unary(
            f"/containerd.services.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        return call(request, metadata=(("containerd-namespace", "esb"),), timeout=30)

    def _root(self) -> tuple[Sequence[Any], str]:
        """The mounts of the view that the driver's workers share, and the snapshot that it shows."""
        stream = self._channel.unary_stream(
            "/containerd.services.snapshots.v1.Snapshots/List",
            request_serializer=snapshots_pb2.ListSnapshotsRequest.SerializeToString,
            response_deserializer=snapshots_pb2.ListSnapshotsResponse.FromString,
        )
        answers = stream(
            snapshots_pb2.ListSnapshotsRequest(snapshotter=OVERLAY),
            metadata=(("containerd-namespace", "esb"),),
        )
        (root,) = [info for part in answers for info in part.info if info.name.startswith("root-")]
        request = snapshots_pb2.MountsRequest(snapshotter=OVERLAY, key=root.name)
        found = self.ask("snapshots.v1.Snapshots/Mounts", request, snapshots_pb2.MountsResponse)
        return found.mounts, root.parent

    def prepare(self, name: str) -> Sequence[Any]:
        request = snapshots_pb2.PrepareSnapshotRequest(snapshotter=OVERLAY, key=name, parent=self.parent)
        reply = snapshots_pb2.PrepareSnapshotResponse
        mounts: Sequence[Any] = self.ask("snapshots.v1.Snapshots/Prepare", request, reply).mounts
        return mounts

    def start(self, name: str, spec: bytes, root: Sequence[Any]) -> None:
        """The three calls."""
        container = containers_pb2.Container(
            id=name,
            runtime=containers_pb2.Container.Runtime(name="io.containerd.runc.v2", options=self._runc),
            spec=Packed(type_url=SPEC_TYPE, value=spec),
        )
        create = containers_pb2.CreateContainerRequest(container=container)
        self.ask("containers.v1.Containers/Create", create, containers_pb2.CreateContainerResponse)
        task = tasks_pb2.CreateTaskRequest(container_id=name, rootfs=root, options=self._runc)
        self.ask("tasks.v1.Tasks/Create", task, tasks_pb2.CreateTaskResponse)
        self.ask("tasks.v1.Tasks/Start", tasks_pb2.StartRequest(container_id=name), tasks_pb2.StartResponse)

    def remove(self, name: str, *, snapshot: bool) -> None:
        self.ask("tasks.v1.Tasks/Kill", tasks_pb2.KillRequest(container_id=name, signal=9, all=True))
        self.ask("tasks.v1.Tasks/Wait", tasks_pb2.WaitRequest(container_id=name), tasks_pb2.WaitResponse)
        delete = tasks_pb2.DeleteTaskRequest(container_id=name)
        self.ask("tasks.v1.Tasks/Delete", delete, tasks_pb2.DeleteResponse)
        self.ask("containers.v1.Containers/Delete", containers_pb2.DeleteContainerRequest(id=name))
        if snapshot:
            request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=OVERLAY, key=name)
            try:
                self.ask("snapshots.v1.Snapshots/Remove", request)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:  # the collector may have been first
                    raise


async def driver_start(driver: ContainerdDriver, code: Path) -> float:
    begun = time.perf_counter()
    worker = await driver.start(new_plan(code))
    connection = await first_next(worker.listener)
    took = time.perf_counter() - begun
    worker.stop()
    await worker.wait()
    connection.close()
    worker.close_descriptors()
    return took


async def direct_start(direct: Direct, network: Network, code: Path, *, textbook: bool) -> float:
    plan = new_plan(code)
    with _files(code.parent / "files" / plan.worker) as (scratch, output):
        spec = encode_spec(plan, _place(plan, network, scratch, output))
        begun = time.perf_counter()
        root = direct.prepare(plan.worker) if textbook else direct.view
        direct.start(plan.worker, spec, root)
        connection = await first_next(network.listener)
        took = time.perf_counter() - begun
        direct.remove(plan.worker, snapshot=textbook)
        connection.close()
    return took


def _place(plan: WorkerPlan, network: Network, scratch: Path, output: Path) -> Place:
    return Place(
        network=network.pin,
        output=output,
        scratch=scratch,
        resolver=Path("/etc/resolv.conf"),
        hosts=Path("/etc/hosts"),
        cgroup=_groups().path(plan.worker),
        counts_swap=_groups().counts_swap,
    )


def _groups() -> Groups:
    return find_groups("bench", Path("/proc/self/mountinfo").read_text())


@contextmanager
def _files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A worker's /tmp and its output, kept open so that it can be written."""
    scratch, output = folder / "tmp", folder / "output"
    scratch.mkdir(parents=True)
    os.mkfifo(output)
    for path in (scratch, output):
        os.chown(path, 993, 993)
    kept = os.open(output, os.O_RDWR)
    try:
        yield scratch, output
    finally:
        os.close(kept)
        shutil.rmtree(folder)


def _new_folder() -> tuple[Path, Path]:
    """A folder for everything, and the function's code in it."""
    folder = Path(tempfile.mkdtemp(prefix="esb-bench-"))
    folder.chmod(0o755)
    code = folder / "code"
    code.mkdir()
    (code / "app.py").write_text(HANDLER)
    return folder, code


async def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each start, by way."""
    folder, code = _new_folder()
    programs, log = programs_here(), Log("bench")
    driver = ContainerdDriver(folder / "c", images_here(), programs, log, ADDRESSES[0])
    networks = Networks(folder / "direct", programs, ADDRESSES[1], 2, log)
    await driver.open()
    await networks.open()
    try:
        return await _take_turns(driver, Direct(folder / "c", programs.runc), networks, code, rounds)
    finally:
        await networks.close()
        await driver.close()
        _groups().sweep()
        shutil.rmtree(folder)


async def _take_turns(
    driver: ContainerdDriver, direct: Direct, networks: Networks, code: Path, rounds: int
) -> dict[str, list[float]]:
    async def in_network(textbook: bool) -> float:
        network = await networks.take()
        try:
            return await direct_start(direct, network, code, textbook=textbook)
        finally:
            network.listener.close()
            await networks.give_back(network)

    ways: dict[str, Callable[[], Awaitable[float]]] = {
        "driver": lambda: driver_start(driver, code),
        "direct": lambda: in_network(textbook=False),
        "textbook": lambda: in_network(textbook=True),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, start in ways.items():
            await asyncio.sleep(PAUSE_S)
            took[name].append(await start())
    return {name: figures[1:] for name, figures in took.items()}  # the first of each warms the page cache


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    took = asyncio.run(measure(rounds))
    reference = statistics.median(took["direct"])
    print(f"cold start to the first /next, median of {rounds} (least), ratio to direct")
    for name, figures in took.items():
        middle = statistics.median(figures)
        print(f"  {name:9} {middle * 1000:6.1f} ms ({min(figures) * 1000:.1f})  {middle / reference:.2f}")


if __name__ == "__main__":
    main()
