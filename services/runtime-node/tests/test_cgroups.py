"""Groups on trees as the kernel lays them out, the odd ones included."""

from __future__ import annotations

from pathlib import Path

import pytest
from esb_node.hands.cgroups import Group, NoGroups, Version2, find


def unified(root: Path) -> Group:
    """A group of version 2 as Linux before 5.19 shows it: without ``memory.peak``."""
    group = Version2(root).make("w", 128)
    (root / "w/cgroup.procs").touch()
    return group


def test_where_the_kernel_counts_no_peak_there_is_none(tmp_path: Path) -> None:
    group = unified(tmp_path)
    assert group.open_peak() is None
    assert group.peak() is None


def test_a_join_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    unified(tmp_path)
    group = Group((tmp_path,), (tmp_path / "w/cgroup.procs", tmp_path / "gone"), tmp_path, tmp_path)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        group.open_joins()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_machine_without_controllers_says_which(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset io\n")
    with pytest.raises(NoGroups, match="memory, pids, cpu"):
        find("box", f"30 24 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw")


def test_a_tree_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "esb").touch()
    with pytest.raises(NoGroups, match=f"{tmp_path}/esb/box"):
        find("box", f"30 24 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw")
