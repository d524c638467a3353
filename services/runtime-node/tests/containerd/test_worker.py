"""The end of a worker, and a sweep, where the machine does not answer as it should."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from containerd_listener import heard
from esb_common.errors import NotPossibleHere
from esb_common.log import Log
from esb_node.core.ports import Exit
from esb_node.drivers.containerd.client import Containerd
from esb_node.drivers.containerd.driver import clear_folders
from esb_node.drivers.containerd.groups import Groups
from esb_node.drivers.containerd.wire import tasks_pb2
from esb_node.drivers.containerd.worker import ContainerdWorker, Task

NAME = "w-0123456789abcdef"


def ended_task(folder: Path) -> Task:
    """A task whose process has ended."""
    program = subprocess.Popen(["true"])
    process = os.pidfd_open(program.pid)
    program.wait()
    output = os.open(folder, os.O_RDONLY)
    return Task(NAME, process, socket.socket(), output, None, {})


def unreadable(folder: Path, *files: str) -> Groups:
    """Groups of version 2 in which folders stand in the place of ``files``."""
    for name in files:
        (folder / NAME / name).mkdir(parents=True)
    return Groups("box", (folder,), folder, unified=True)


def followed(folder: Path, groups: Groups) -> list[Exit | str]:
    """What happened, in its order: what the start made is given back, and the end is told."""
    happened: list[Exit | str] = []

    async def life(containerd: Containerd) -> None:
        leftovers = AsyncExitStack()
        leftovers.callback(happened.append, "given back")
        worker = ContainerdWorker(ended_task(folder), containerd, groups, leftovers, Log("test"))
        try:
            happened.append(await asyncio.wait_for(worker.wait(), 20))
        finally:
            worker.close_descriptors()

    heard(folder, life, Wait=tasks_pb2.WaitResponse(exit_status=3).SerializeToString())
    return happened


@pytest.mark.parametrize("file", ["memory.events", "memory.peak"])
def test_an_end_is_told_and_all_given_back_although_nothing_tells_what_was_used(
    folder: Path, file: str
) -> None:
    assert followed(folder, unreadable(folder, file)) == ["given back", Exit(3, None)]


def test_an_empty_peak_keeps_nothing_from_being_given_back(folder: Path) -> None:
    (folder / NAME).mkdir()
    (folder / NAME / "memory.peak").touch()
    assert followed(folder, unreadable(folder)) == ["given back", Exit(3, None)]


def test_a_sweep_that_fails_is_told(tmp_path: Path) -> None:
    clear_folders(tmp_path)
    (tmp_path / "workers/w-1/tmp").mkdir(parents=True)
    clear_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "workers").touch()
    with pytest.raises(NotPossibleHere, match="cannot be swept"):
        clear_folders(tmp_path)
