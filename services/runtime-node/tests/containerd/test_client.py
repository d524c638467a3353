"""Calls to containerd, heard by a server that answers as told."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from containerd_listener import heard
from esb_node.drivers.containerd.client import CallFailed, Code, Containerd
from esb_node.drivers.containerd.wire import tasks_pb2


def test_every_call_names_the_namespace(tmp_path: Path) -> None:
    async def act(client: Containerd) -> None:
        await client.make_namespace()
        await client.create_container("w-1", b"{}")
        await client.start_task("w-1")

    listener = heard(tmp_path, act, Create=b"", Start=b"")
    assert [headers["containerd-namespace"] for headers in listener.headers] == ["esb"] * 3


def test_calls_under_a_lease_name_it(tmp_path: Path) -> None:
    async def act(client: Containerd) -> None:
        async with client.lease() as lease:
            await client.prepare("key", "parent", lease)

    listener = heard(tmp_path, act, Create=b"", Prepare=b"", Delete=b"")
    assert listener.headers[1]["containerd-lease"].startswith("import-")


def test_removing_what_is_gone_is_a_success(tmp_path: Path) -> None:
    async def act(client: Containerd) -> None:
        await client.delete_task("w-1")
        await client.kill_task("w-1")
        await client.delete_container("w-1")
        await client.remove_snapshot("w-1")

    gone = Code.NOT_FOUND
    assert len(heard(tmp_path, act, Delete=gone, Kill=gone, Remove=gone).headers) == 4


def test_a_namespace_that_exists_is_as_good_as_made(tmp_path: Path) -> None:
    heard(tmp_path, Containerd.make_namespace, Create=Code.ALREADY_EXISTS)


@pytest.mark.parametrize("code", [Code.INTERNAL, Code.FAILED_PRECONDITION])
def test_a_refusal_says_which_call_and_why(tmp_path: Path, code: grpc.StatusCode) -> None:
    async def act(client: Containerd) -> None:
        with pytest.raises(CallFailed, match=f"Containers/Delete: {code.name}: as told") as raised:
            await client.delete_container("w-1")
        assert raised.value.code is code

    heard(tmp_path, act, Delete=code)


def test_a_wait_gives_the_status_that_the_shim_kept(tmp_path: Path) -> None:
    async def act(client: Containerd) -> None:
        assert await client.wait_task("w-1") == 137

    heard(tmp_path, act, Wait=tasks_pb2.WaitResponse(exit_status=137).SerializeToString())
