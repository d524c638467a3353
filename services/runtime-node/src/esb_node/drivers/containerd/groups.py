"""The control groups that runc makes for workers: read for peak memory and kills, cleared when something is
left.

runc makes a group in *every* mounted hierarchy (version 1 has one per controller, and a named one) and
removes it with the task. All of one node lie under ``esb/<box>``, so that a node clears exactly its own.
Limits are set by runc from the specification. Reading costs a few microseconds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from esb_common.errors import NotPossibleHere

_TRIES, _PAUSE_S = 100, 0.02


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one node: ``tops`` are its folders, one a hierarchy, ``memory`` that which counts memory.

    ``unified`` says that ``memory`` is of version 2.
    """

    box: str
    tops: tuple[Path, ...]
    memory: Path
    unified: bool

    def make_room(self) -> None:
        """Let this node's container pass controllers on to workers, in version 2.

        There a group has either processes or children with controllers. A container's root group has the
        node's own processes, so these move into a group beside the workers'. The machine's root is exempt
        (it is the one without a type), and so is version 1.
        """
        root = self.memory.parent.parent
        if not self.unified or not (root / "cgroup.type").exists():
            return
        own = root / "esb-node"
        own.mkdir(exist_ok=True)
        for process in (root / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (own / "cgroup.procs").write_text(process)
        (root / "cgroup.subtree_control").write_text("+cpu +memory +pids")

    def path(self, name: str) -> str:
        """What a specification says: the group of ``name`` as a path from a hierarchy's root."""
        return f"/esb/{self.box}/{name}"

    @property
    def counts_swap(self) -> bool:
        """Whether memory and swap can be limited together."""
        if self.unified:
            return True
        return (self.memory.parent.parent / "memory.memsw.limit_in_bytes").exists()

    def open_peak(self, name: str) -> int | None:
        """A descriptor of the peak memory in bytes (decimal); None where the kernel does not count it."""
        with contextlib.suppress(FileNotFoundError):
            return os.open(self._peak_file(name), os.O_RDONLY | os.O_CLOEXEC)
        return None

    def peak(self, name: str) -> int | None:
        """The peak memory in bytes; None where the kernel does not count it, or the group is gone.

        OSError where it is there and cannot be read.
        """
        content = _read(self._peak_file(name))
        return None if content is None else int(content)

    def _peak_file(self, name: str) -> Path:
        return self.memory / name / ("memory.peak" if self.unified else "memory.max_usage_in_bytes")

    def killed_for_memory(self, name: str) -> bool:
        """Whether the kernel killed a process of ``name`` at its memory limit; no where the group is gone.

        OSError where that is told and cannot be read.
        """
        content = _read(self.memory / name / ("memory.events" if self.unified else "memory.oom_control"))
        counts = dict(line.split() for line in (content or "").splitlines())
        return int(counts.get("oom_kill", "0")) > 0

    def remove(self, name: str) -> None:
        """Kill what is left in the group of ``name``, remove it everywhere; OSError where it stays busy."""
        for top in self.tops:
            _remove(top / name)

    def sweep(self) -> None:
        """Remove every group of this node: for a node that begins or ends."""
        for top in self.tops:
            for folder in _folders(top):
                _remove(folder)
            with contextlib.suppress(OSError):  # not there, or another box's folder stands beside ours
                top.rmdir()
                top.parent.rmdir()


def find_groups(box: str, mountinfo: str) -> Groups:
    """The groups of ``box`` in the hierarchies that ``mountinfo`` (text of /proc/self/mountinfo) lists.

    NotPossibleHere where no hierarchy counts memory.
    """
    tops: list[Path] = []
    memory: tuple[Path, bool] | None = None
    for point, kind, options in _hierarchies(mountinfo):
        top = point / "esb" / box
        tops.append(top)
        unified = kind == "cgroup2" and "memory" in _controllers(point)
        if unified or (kind == "cgroup" and "memory" in options):
            memory = (top, unified)
    if memory is None:
        raise NotPossibleHere(
            "no control group hierarchy here counts memory", "the node needs a writable /sys/fs/cgroup"
        )
    return Groups(box, tuple(tops), *memory)


def _read(file: Path) -> str | None:
    """The content of a group's file; None where the group is gone, also from under the reading."""
    try:
        return file.read_text()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return None
        raise


def _hierarchies(mountinfo: str) -> Iterator[tuple[Path, str, list[str]]]:
    """Mount point, type and options of each hierarchy (proc_pid_mountinfo(5))."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            yield Path(before.split()[4]), kind, options.split(",")


def _controllers(point: Path) -> list[str]:
    return (point / "cgroup.controllers").read_text().split()


def _folders(top: Path) -> list[Path]:
    try:
        return [path for path in top.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []


def _remove(folder: Path) -> None:
    for inner in _folders(folder):
        _remove(inner)
    for _ in range(_TRIES):
        try:
            _kill_members(folder)
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            busy = error
            time.sleep(_PAUSE_S)  # in a thread; the kernel has no event for "the last task is gone"
        else:
            return
    raise busy


def _kill_members(folder: Path) -> None:
    for process in (folder / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
