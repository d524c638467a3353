"""Supervising containerd, with a program on disk that plays it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from esb_common.errors import Broken
from esb_common.log import Log
from esb_node.drivers.containerd import supervisor
from esb_node.drivers.containerd.supervisor import Supervisor

LISTENS = """
import re, signal, socket
address = re.search(r'address = "(.*)"', open(sys.argv[2]).read())[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(address)
listener.listen()
print('time="now" level=info msg="shim chatter"')
print('time="now" level=error msg="disk is on fire"', flush=True)
signal.pause()
"""
ENDS = 'sys.exit("containerd: cannot lock its database")'


def program(folder: Path, body: str) -> Path:
    path = folder / "containerd"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)
    return path


def living(path: Path) -> list[int]:
    """Processes that were started with this program's configuration."""
    return list(supervisor._started_with(str(path / "config.toml")))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the world outside this process sends no event
            await asyncio.sleep(0.01)


def supervised(folder: Path, body: str, act: Callable[[Supervisor], Awaitable[None]]) -> None:
    async def life() -> None:
        one = Supervisor(folder / "state", program(folder, body), Log("test"))
        await one.open()
        try:
            await act(one)
        finally:
            await one.close()

    asyncio.run(life())


def test_it_runs_once_open_and_is_gone_once_closed(tmp_path: Path) -> None:
    async def act(one: Supervisor) -> None:
        assert living(tmp_path / "state") == [one.pid]
        assert one.socket.is_socket()

    supervised(tmp_path, LISTENS, act)
    assert not living(tmp_path / "state")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["config.toml"]


def test_a_killed_containerd_is_started_again(tmp_path: Path) -> None:
    async def act(one: Supervisor) -> None:
        first = one.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: one.pid != first and one.socket.is_socket())
        assert living(tmp_path / "state") == [one.pid]

    supervised(tmp_path, LISTENS, act)


def test_what_an_earlier_node_left_running_is_ended_first(tmp_path: Path) -> None:
    async def act(one: Supervisor) -> None:
        left = one.pid
        second = Supervisor(tmp_path / "state", tmp_path / "containerd", Log("test"))
        one._watch.cancel()  # type: ignore[union-attr]  # as if its node had been killed
        await second.open()
        assert living(tmp_path / "state") == [second.pid] != [left]
        await second.close()

    supervised(tmp_path, LISTENS, act)


def test_errors_are_told_and_chatter_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(one: Supervisor) -> None:
        await until(lambda: bool(caplog.records))

    supervised(tmp_path, LISTENS, act)
    told = [getattr(record, "facts", {}).get("line", "") for record in caplog.records]
    assert any("disk is on fire" in line for line in told)
    assert not any("chatter" in line for line in told)


def test_one_that_ends_at_once_is_an_error_with_the_command_to_try(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Broken, match="ended at once with 1") as raised:
        supervised(tmp_path, ENDS, lambda one: asyncio.sleep(0))
    assert f"{tmp_path}/containerd --config {tmp_path}/state/config.toml" in raised.value.hint
    assert "cannot lock its database" in str([getattr(record, "facts", {}) for record in caplog.records])
