"""The socket file that a gateway connects to, in a folder that belongs to the gateway's user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from esb_common.errors import NotPossibleHere
from esb_common.log import Log
from esb_node.doors.gateway import GatewayDoor

_moves: list[Path] = []
"""Folders in which somebody moves before each change of a mode or an owner; hooks cannot be taken away."""


def _move(event: str, _: tuple[object, ...]) -> None:
    if _moves and event in ("os.chmod", "os.chown", "os.rename"):
        folder = _moves.pop()
        _replace_all(folder)
        _moves.append(folder)


def _replace_all(folder: Path) -> None:
    """As the folder's owner can: put links to the victim at the name of each file, and within each folder."""
    for path in [one for one in folder.iterdir() if not one.is_symlink() and one.name != "aside"]:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
            path.symlink_to(folder.parent / "victim")
        elif not (path / "socket").is_symlink():
            path.rename(folder / "aside")
            path.mkdir()
            (path / "socket").symlink_to(folder.parent / "victim")


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Path]:
    """A run folder whose owner swaps what is in it whenever that hurts most."""
    folder = tmp_path / "run"
    folder.mkdir()
    sys.addaudithook(_move)
    _moves.append(folder)
    yield folder
    _moves.clear()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_nobody_elses_file_gets_the_sockets_mode_and_group(swapped: Path) -> None:
    victim = swapped.parent / "victim"
    victim.touch(mode=0o600)
    before = victim.stat()

    async def open_and_close() -> None:
        gid = 10002 if os.geteuid() == 0 else None
        door = GatewayDoor(swapped / "node.sock", os.geteuid(), gid, Log("t"))
        with contextlib.suppress(NotPossibleHere):
            door.open(lambda _: None)
        door.close()

    asyncio.run(open_and_close())
    after = victim.stat()
    assert (after.st_mode, after.st_gid) == (before.st_mode, before.st_gid)


def test_the_socket_replaces_an_old_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "node.sock").touch()

    async def open_and_close() -> None:
        door = GatewayDoor(tmp_path / "node.sock", os.geteuid(), None, Log("t"))
        before = os.umask(0o077)
        try:
            door.open(lambda _: None)
        finally:
            os.umask(before)
        assert names(tmp_path) == ["node.sock"]
        assert stat.S_IMODE((tmp_path / "node.sock").stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as gateway:
            gateway.connect(str(tmp_path / "node.sock"))
        door.close()
        assert names(tmp_path) == []

    asyncio.run(open_and_close())


@pytest.mark.parametrize("name", ["x" * 120, "gone/node.sock"])
def test_a_place_where_it_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    async def open_it() -> None:
        GatewayDoor(tmp_path / name, os.geteuid(), None, Log("t")).open(lambda _: None)

    with pytest.raises(NotPossibleHere, match="cannot listen"):
        asyncio.run(open_it())
