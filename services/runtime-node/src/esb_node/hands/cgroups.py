"""A control group per worker: how much it may use, what it used, who is still in it.

Both layouts are known: version 1 (a folder per controller in each controller's own tree) and
version 2 (one folder). All groups of one node lie under ``esb/<box>``, so that a later node
finds and clears what a killed one left. A worker joins by writing ``0`` through a descriptor
which the node opened: it needs no path and, in version 1, writing to ``tasks`` avoids the
kernel's global thread-group lock (``cgroup.procs`` costs 10 ms more). Making a group costs well
under a millisecond, removing one a few.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_node.core.worker import MIB_OF_ONE_CPU, MOST_PROCESSES

CONTROLLERS = ("memory", "pids", "cpu")
_REMOVE_TRIES, _REMOVE_PAUSE_S = 100, 0.02


@dataclass(frozen=True, slots=True)
class Group:
    """One worker's group: the folders it consists of and the files that answer questions about it."""

    folders: tuple[Path, ...]
    join_files: tuple[Path, ...]
    peak_file: Path
    events_file: Path

    def open_joins(self) -> list[int]:
        """Descriptors into which a process writes ``0`` to become a member. The caller closes them."""
        with contextlib.ExitStack() as on_error:
            joins = []
            for path in self.join_files:
                joins.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
                on_error.callback(os.close, joins[-1])
            on_error.pop_all()
        return joins

    def open_peak(self) -> int | None:
        """A descriptor of the peak memory in bytes (decimal), which the caller closes.

        None where the kernel does not count it (version 2 before Linux 5.19).
        """
        try:
            return os.open(self.peak_file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def peak(self) -> int | None:
        """The peak memory in bytes; None where the kernel does not count it."""
        try:
            return int(self.peak_file.read_text())
        except FileNotFoundError:
            return None

    def killed_for_memory(self) -> bool:
        """Whether the kernel has killed a member because the group was at its memory limit."""
        lines = (line.split() for line in self.events_file.read_text().splitlines())
        return any(line[0] == "oom_kill" and int(line[1]) > 0 for line in lines if len(line) == 2)

    def remove(self) -> None:
        """Take the group away. Members must have ended; the kernel may need a moment to notice (bounded)."""
        for folder in self.folders:
            _remove(folder)


@dataclass(frozen=True, slots=True)
class Version1:
    """A tree per controller; ``roots`` gives the folder of ours in each."""

    roots: Mapping[str, Path]

    def make(self, name: str, memory_mib: int) -> Group:
        """A new group with its limits. OSError where the kernel refuses; then nothing is left of it."""
        folders = {controller: root / name for controller, root in self.roots.items()}
        memory, limit = folders["memory"], str(memory_mib << 20)
        with _undone_on_error(folders.values()):
            for folder in folders.values():
                folder.mkdir(parents=True)
            (memory / "memory.limit_in_bytes").write_text(limit)
            swap = memory / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(limit)
            (folders["pids"] / "pids.max").write_text(str(MOST_PROCESSES))
            (folders["cpu"] / "cpu.shares").write_text(str(max(2, 1024 * memory_mib // MIB_OF_ONE_CPU)))
        return Group(
            tuple(folders.values()),
            tuple(folder / "tasks" for folder in folders.values()),
            memory / "memory.max_usage_in_bytes",
            memory / "memory.oom_control",
        )

    def sweep(self) -> None:
        """Kill and remove every group that is there. Only for a node that has just begun."""
        for root in self.roots.values():
            _sweep(root)

    def close(self) -> None:
        """Remove the box's own folders, where they are empty."""
        for root in self.roots.values():
            _remove_if_empty(root, root.parent)


@dataclass(frozen=True, slots=True)
class Version2:
    """The unified tree; ``root`` is the folder of ours, its controllers switched on for children."""

    root: Path

    def make(self, name: str, memory_mib: int) -> Group:
        """A new group with its limits. OSError where the kernel refuses; then nothing is left of it."""
        folder = self.root / name
        with _undone_on_error([folder]):
            folder.mkdir()
            (folder / "memory.max").write_text(str(memory_mib << 20))
            swap = folder / "memory.swap.max"
            if swap.exists():
                swap.write_text("0")
            (folder / "pids.max").write_text(str(MOST_PROCESSES))
            weight = min(10_000, max(1, 100 * memory_mib // MIB_OF_ONE_CPU))
            (folder / "cpu.weight").write_text(str(weight))
        return Group((folder,), (folder / "cgroup.procs",), folder / "memory.peak", folder / "memory.events")

    def sweep(self) -> None:
        """Kill and remove every group that is there. Only for a node that has just begun."""
        _sweep(self.root)

    def close(self) -> None:
        """Remove the box's own folders, where they are empty."""
        _remove_if_empty(self.root, self.root.parent)


Groups = Version1 | Version2


class NoGroups(Exception):
    """No group can be made here; the message says why."""


def find(box: str, mounts: str) -> Groups:
    """The groups of ``box`` on this machine. NoGroups where this process may not make any.

    ``mounts`` is the text of ``/proc/self/mountinfo``.
    """
    try:
        found = _version1(box, mounts) or _version2(box, mounts)
    except OSError as error:
        raise NoGroups(f"{error.strerror}: {error.filename}") from None
    if found is None:
        raise NoGroups(f"no mounted cgroup tree has the controllers {', '.join(CONTROLLERS)}")
    return found


def _version1(box: str, mounts: str) -> Version1 | None:
    roots: dict[str, Path] = {}
    for point, kind, options in _file_systems(mounts):
        if kind == "cgroup":
            for controller in set(CONTROLLERS) & set(options):
                roots.setdefault(controller, Path(point) / "esb" / box)
    if set(roots) != set(CONTROLLERS):
        return None
    for root in roots.values():
        root.mkdir(parents=True, exist_ok=True)
    return Version1(roots)


def _version2(box: str, mounts: str) -> Version2 | None:
    points = [Path(point) for point, kind, _ in _file_systems(mounts) if kind == "cgroup2"]
    for point in points:
        if set(CONTROLLERS) <= set((point / "cgroup.controllers").read_text().split()):
            root = point / "esb" / box
            root.mkdir(parents=True, exist_ok=True)
            for folder in (point, root.parent, root):
                (folder / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in CONTROLLERS))
            return Version2(root)
    return None


def _file_systems(mounts: str) -> Iterator[tuple[str, str, list[str]]]:
    """Mount point, type and super options of each line of a mountinfo text (proc_pid_mountinfo(5))."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        yield before.split()[4].encode().decode("unicode_escape"), kind, options.split(",")


@contextlib.contextmanager
def _undone_on_error(folders: Iterable[Path]) -> Iterator[None]:
    try:
        yield
    except OSError:
        for folder in folders:
            _remove(folder)
        raise


def _sweep(root: Path) -> None:
    for folder in [path for path in root.iterdir() if path.is_dir()]:
        for process in (folder / "cgroup.procs").read_text().split():
            _kill(int(process))
        _remove(folder)


def _kill(process: int) -> None:
    try:
        os.kill(process, 9)
    except ProcessLookupError:
        return


def _remove(folder: Path) -> None:
    for tries_left in reversed(range(_REMOVE_TRIES)):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or not tries_left:
                raise
            time.sleep(_REMOVE_PAUSE_S)  # in a thread; the kernel has no event for "the last task is gone"
        else:
            return


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
