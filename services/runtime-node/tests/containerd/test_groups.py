"""Control groups, on trees as the kernel lays them out: version 1 with hybrid, version 2, and none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from esb_common.errors import NotPossibleHere
from esb_node.drivers.containerd.groups import Groups, find_groups

BOX, WORKER = "box", "w-0123456789abcdef"


def version1(root: Path) -> str:
    """A tree per controller, and an empty unified one; its mountinfo."""
    lines = ["22 1 0:20 / /proc rw - proc proc rw"]
    for number, name in enumerate(("memory", "pids", "cpu", "systemd")):
        (root / name / "esb" / BOX / WORKER).mkdir(parents=True)
        option = "name=systemd" if name == "systemd" else name
        lines.append(f"{30 + number} 29 0:3{number} / {root / name} rw - cgroup cgroup rw,{option}")
    (root / "unified").mkdir()
    (root / "unified/cgroup.controllers").write_text("hugetlb\n")
    return "\n".join([*lines, f"40 29 0:40 / {root / 'unified'} rw - cgroup2 cgroup2 rw"])


def version2(root: Path) -> str:
    (root / "esb" / BOX / WORKER).mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return f"30 24 0:26 / {root} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"


def put(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def peak(groups: Groups) -> bytes:
    descriptor = groups.open_peak(WORKER)
    assert descriptor is not None
    try:
        return os.pread(descriptor, 100, 0)
    finally:
        os.close(descriptor)


def test_version_1_is_read_in_the_memory_tree(tmp_path: Path) -> None:
    groups = find_groups(BOX, version1(tmp_path))
    folder = tmp_path / "memory/esb" / BOX / WORKER
    put(folder, memory__max_usage_in_bytes="7090176\n")
    put(folder, memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    assert peak(groups) == b"7090176\n"
    assert not groups.killed_for_memory(WORKER)
    put(folder, memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert groups.killed_for_memory(WORKER)


def test_version_2_is_read_in_its_one_tree(tmp_path: Path) -> None:
    groups = find_groups(BOX, version2(tmp_path))
    folder = tmp_path / "esb" / BOX / WORKER
    put(folder, memory__peak="7090176\n", memory__events="low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n")
    assert peak(groups) == b"7090176\n"
    assert groups.killed_for_memory(WORKER)
    assert groups.counts_swap


def test_in_a_container_version_2_passes_controllers_on_once_the_root_is_empty(tmp_path: Path) -> None:
    groups = find_groups(BOX, version2(tmp_path))
    put(tmp_path, cgroup__type="domain\n", cgroup__procs="7\n", cgroup__subtree_control="")
    groups.make_room()
    assert (tmp_path / "esb-node/cgroup.procs").read_text() == "7"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_the_machines_own_root_and_version_1_are_left_alone(tmp_path: Path) -> None:
    for make in (version1, version2):
        root = tmp_path / make.__name__
        groups = find_groups(BOX, make(root))
        before = sorted(root.rglob("*"))
        groups.make_room()
        assert sorted(root.rglob("*")) == before


def test_swap_is_counted_in_version_1_where_the_kernel_says_so(tmp_path: Path) -> None:
    groups = find_groups(BOX, version1(tmp_path))
    assert not groups.counts_swap
    put(tmp_path / "memory", memory__memsw__limit_in_bytes="1\n")
    assert groups.counts_swap


def test_a_group_that_is_gone_has_no_peak_and_no_kills(tmp_path: Path) -> None:
    groups = find_groups(BOX, version1(tmp_path))
    assert groups.open_peak("w-of-yesterday") is None
    assert not groups.killed_for_memory("w-of-yesterday")


def test_a_group_that_cannot_be_read_is_not_taken_for_one_that_is_gone(tmp_path: Path) -> None:
    groups = find_groups(BOX, version2(tmp_path))
    for name in ("memory.events", "memory.peak"):
        (tmp_path / "esb" / BOX / WORKER / name).mkdir()
    with pytest.raises(IsADirectoryError):
        groups.killed_for_memory(WORKER)
    with pytest.raises(IsADirectoryError):
        groups.peak(WORKER)


def test_a_path_is_the_same_in_every_tree(tmp_path: Path) -> None:
    assert find_groups(BOX, version1(tmp_path)).path(WORKER) == f"/esb/{BOX}/{WORKER}"


def test_a_machine_without_memory_groups_is_refused() -> None:
    with pytest.raises(NotPossibleHere, match="counts memory"):
        find_groups(BOX, "22 1 0:20 / /proc rw - proc proc rw")
