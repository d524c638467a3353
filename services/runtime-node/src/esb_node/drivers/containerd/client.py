"""containerd's gRPC API as far as the driver uses it, spoken over its Unix socket.

Calls are made by name with our own message classes (``contracts/containerd``); one description serves
containerd 1.6, 1.7 and 2.x. Every call carries the namespace header and waits, up to its deadline, for a
containerd that is being restarted. What is already gone counts as removed: NOT_FOUND on a removal is
success.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from esb_common.errors import Broken
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from esb_node.drivers.containerd.wire import (
    containers_pb2,
    content_pb2,
    diff_pb2,
    leases_pb2,
    namespaces_pb2,
    runc_pb2,
    snapshots_pb2,
    tasks_pb2,
    types_pb2,
    version_pb2,
)

NAMESPACE = "esb"
SNAPSHOTTER = "overlayfs"
RUNTIME = "io.containerd.runc.v2"
KEPT = {"containerd.io/gc.root": "1"}
"""The label that keeps a snapshot from the garbage collector until we remove it."""

_SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
_API = "/containerd.services."
_DEADLINE_S = 30.0
_UNPACK_DEADLINE_S = 600.0
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)

Mount = types_pb2.Mount
Code = grpc.StatusCode


class CallFailed(Broken):
    """containerd refused a call or did not answer it in time. ``code`` is gRPC's."""

    def __init__(self, call: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"containerd: {call}: {code.name}: {details}")
        self.code = code


class Containerd:
    """One channel to one containerd, in one of its namespaces; lives through containerd's restarts."""

    def __init__(self, socket: Path, runc: Path, runc_state: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=_OPTIONS)
        self._header = (("containerd-namespace", NAMESPACE),)
        options = runc_pb2.Options(binary_name=str(runc), root=str(runc_state))
        self._runc = Packed(type_url="containerd.runc.v1.Options", value=options.SerializeToString())
        self._calls: dict[str, Any] = {}

    async def close(self) -> None:
        await self._channel.close()

    async def _ask[Reply: Message](
        self,
        call: str,
        request: Message,
        reply: type[Reply],
        lease: str = "",
        deadline_s: float | None = _DEADLINE_S,
    ) -> Reply:
        if call not in self._calls:
            self._calls[call] = self._channel.unary_unary(
                _API + call, request_serializer=_serialize, response_deserializer=reply.FromString
            )
        metadata = (*self._header, ("containerd-lease", lease)) if lease else self._header
        try:
            answer: Reply = await self._calls[call](
                request, metadata=metadata, timeout=deadline_s, wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            raise CallFailed(call, error.code(), error.details() or "") from None
        return answer

    async def _remove(self, call: str, request: Message, reply: type[Message] = Empty) -> None:
        try:
            await self._ask(call, request, reply)
        except CallFailed as failure:
            if failure.code is not Code.NOT_FOUND:
                raise

    # --- the daemon ---------------------------------------------------------------------

    async def version(self) -> str:
        """containerd's version, as it tells it."""
        return (await self._ask("version.v1.Version/Version", Empty(), version_pb2.VersionResponse)).version

    async def make_namespace(self) -> None:
        """Make our namespace where it does not exist."""
        request = namespaces_pb2.CreateNamespaceRequest(namespace=namespaces_pb2.Namespace(name=NAMESPACE))
        try:
            await self._ask(
                "namespaces.v1.Namespaces/Create", request, namespaces_pb2.CreateNamespaceResponse
            )
        except CallFailed as failure:
            if failure.code is not Code.ALREADY_EXISTS:
                raise

    # --- content and snapshots ----------------------------------------------------------

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        """While it is held, nothing made under it is garbage; gone, content that nothing refers to is."""
        name = f"import-{secrets.token_hex(8)}"
        request = leases_pb2.CreateRequest(id=name)
        await self._ask("leases.v1.Leases/Create", request, leases_pb2.CreateResponse)
        try:
            yield name
        finally:
            await self._remove("leases.v1.Leases/Delete", leases_pb2.DeleteRequest(id=name))

    async def drop_leases(self) -> None:
        """Give up what an interrupted import held."""
        listed = await self._ask("leases.v1.Leases/List", leases_pb2.ListRequest(), leases_pb2.ListResponse)
        for lease in listed.leases:
            await self._remove("leases.v1.Leases/Delete", leases_pb2.DeleteRequest(id=lease.id))

    async def write(self, digest: str, size: int, chunks: AsyncIterator[bytes], lease: str) -> None:
        """Store a blob, a chunk at a time; containerd refuses one whose size or digest differs."""
        call = "content.v1.Content/Write"
        stream = self._channel.stream_stream(
            _API + call,
            request_serializer=_serialize,
            response_deserializer=content_pb2.WriteContentResponse.FromString,
        )
        metadata = (*self._header, ("containerd-lease", lease))
        requests = _write_requests(digest, size, chunks)
        try:
            async for _ in stream(
                requests, metadata=metadata, timeout=_UNPACK_DEADLINE_S, wait_for_ready=True
            ):
                pass
        except grpc.aio.AioRpcError as error:
            if error.code() is not Code.ALREADY_EXISTS:
                raise CallFailed(call, error.code(), error.details() or "") from None

    async def apply(
        self, media_type: str, digest: str, size: int, mounts: Sequence[Mount], lease: str
    ) -> str:
        """Unpack a stored layer into ``mounts``; the digest of what was unpacked, uncompressed."""
        layer = types_pb2.Descriptor(media_type=media_type, digest=digest, size=size)
        request = diff_pb2.ApplyRequest(diff=layer, mounts=mounts)
        answer = await self._ask(
            "diff.v1.Diff/Apply", request, diff_pb2.ApplyResponse, lease, _UNPACK_DEADLINE_S
        )
        return answer.applied.digest

    async def snapshots(self) -> dict[str, str]:
        """All snapshots of our namespace, each with its parent's name (or nothing)."""
        call = "snapshots.v1.Snapshots/List"
        stream = self._channel.unary_stream(
            _API + call,
            request_serializer=_serialize,
            response_deserializer=snapshots_pb2.ListSnapshotsResponse.FromString,
        )
        request = snapshots_pb2.ListSnapshotsRequest(snapshotter=SNAPSHOTTER)
        found: dict[str, str] = {}
        try:
            async for part in stream(
                request, metadata=self._header, timeout=_DEADLINE_S, wait_for_ready=True
            ):
                found |= {info.name: info.parent for info in part.info}
        except grpc.aio.AioRpcError as error:
            raise CallFailed(call, error.code(), error.details() or "") from None
        return found

    async def prepare(self, key: str, parent: str, lease: str) -> Sequence[Mount]:
        """A writable snapshot ``key`` on ``parent``, as mounts."""
        request = snapshots_pb2.PrepareSnapshotRequest(snapshotter=SNAPSHOTTER, key=key, parent=parent)
        reply = snapshots_pb2.PrepareSnapshotResponse
        return list((await self._ask("snapshots.v1.Snapshots/Prepare", request, reply, lease)).mounts)

    async def commit(self, key: str, name: str, lease: str) -> None:
        """Turn the writable snapshot ``key`` into the finished one ``name``, kept until removed."""
        request = snapshots_pb2.CommitSnapshotRequest(
            snapshotter=SNAPSHOTTER, key=key, name=name, labels=KEPT
        )
        await self._ask("snapshots.v1.Snapshots/Commit", request, Empty, lease)

    async def view(self, key: str, parent: str) -> Sequence[Mount]:
        """The read-only mounts of the view ``key`` of ``parent``, made where it does not exist."""
        made = snapshots_pb2.ViewSnapshotRequest(snapshotter=SNAPSHOTTER, key=key, parent=parent, labels=KEPT)
        try:
            return list(
                (
                    await self._ask("snapshots.v1.Snapshots/View", made, snapshots_pb2.ViewSnapshotResponse)
                ).mounts
            )
        except CallFailed as failure:
            if failure.code is not Code.ALREADY_EXISTS:
                raise
        there = snapshots_pb2.MountsRequest(snapshotter=SNAPSHOTTER, key=key)
        return list(
            (await self._ask("snapshots.v1.Snapshots/Mounts", there, snapshots_pb2.MountsResponse)).mounts
        )

    async def remove_snapshot(self, key: str) -> None:
        request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=SNAPSHOTTER, key=key)
        await self._remove("snapshots.v1.Snapshots/Remove", request)

    # --- containers and tasks -----------------------------------------------------------

    async def create_container(self, name: str, spec: bytes) -> None:
        """Record a container; ``spec`` is its OCI runtime specification as JSON."""
        container = containers_pb2.Container(
            id=name,
            runtime=containers_pb2.Container.Runtime(name=RUNTIME, options=self._runc),
            spec=Packed(type_url=_SPEC_TYPE, value=spec),
        )
        request = containers_pb2.CreateContainerRequest(container=container)
        await self._ask("containers.v1.Containers/Create", request, containers_pb2.CreateContainerResponse)

    async def containers(self) -> list[str]:
        request = containers_pb2.ListContainersRequest()
        reply = containers_pb2.ListContainersResponse
        listed = await self._ask("containers.v1.Containers/List", request, reply)
        return [container.id for container in listed.containers]

    async def delete_container(self, name: str) -> None:
        await self._remove("containers.v1.Containers/Delete", containers_pb2.DeleteContainerRequest(id=name))

    async def create_task(self, name: str, root: Iterable[Mount]) -> int:
        """Make the container's namespaces and cgroup; the pid of its first process, which waits for a start.

        Without names for its standard streams a task has /dev/null for all three.
        """
        request = tasks_pb2.CreateTaskRequest(container_id=name, rootfs=root, options=self._runc)
        return (await self._ask("tasks.v1.Tasks/Create", request, tasks_pb2.CreateTaskResponse)).pid

    async def start_task(self, name: str) -> None:
        request = tasks_pb2.StartRequest(container_id=name)
        await self._ask("tasks.v1.Tasks/Start", request, tasks_pb2.StartResponse)

    async def tasks(self) -> list[str]:
        request = tasks_pb2.ListTasksRequest()
        listed = await self._ask("tasks.v1.Tasks/List", request, tasks_pb2.ListTasksResponse)
        return [task.container_id or task.id for task in listed.tasks]

    async def kill_task(self, name: str) -> None:
        """SIGKILL for all of its processes."""
        request = tasks_pb2.KillRequest(container_id=name, signal=9, all=True)
        await self._remove("tasks.v1.Tasks/Kill", request)

    async def wait_task(self, name: str, deadline_s: float | None = None) -> int:
        """Its exit status once it has one, 128 + n where signal n ended it; CallFailed where it is lost."""
        request = tasks_pb2.WaitRequest(container_id=name)
        answer = await self._ask(
            "tasks.v1.Tasks/Wait", request, tasks_pb2.WaitResponse, deadline_s=deadline_s
        )
        return answer.exit_status

    async def delete_task(self, name: str) -> None:
        """Give back an ended or never started task's shim, mounts and cgroup."""
        request = tasks_pb2.DeleteTaskRequest(container_id=name)
        await self._remove("tasks.v1.Tasks/Delete", request, tasks_pb2.DeleteResponse)


def _serialize(request: Message) -> bytes:
    return request.SerializeToString()


async def _write_requests(
    digest: str, size: int, chunks: AsyncIterator[bytes]
) -> AsyncIterator[content_pb2.WriteContentRequest]:
    """The digest comes with the last message only.

    Told earlier of content that it has, containerd would answer at once and close the stream while we still
    write, which gRPC's client may report as an internal error of its own instead of ALREADY_EXISTS.
    """
    ref, offset = f"esb-{digest}-{secrets.token_hex(4)}", 0
    async for chunk in chunks:
        yield content_pb2.WriteContentRequest(
            action=content_pb2.WRITE, ref=ref, total=size, offset=offset, data=chunk
        )
        offset += len(chunk)
    yield content_pb2.WriteContentRequest(
        action=content_pb2.COMMIT, ref=ref, total=size, expected=digest, offset=offset
    )
