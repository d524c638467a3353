"""A private root: what a process may see of the machine's files, and nothing else.

A view is a list of things, each at a path. :func:`enter` builds it on a small tmpfs in a mount
namespace of the caller's own and makes it the root; the old root is detached, so nothing
unlisted can be reached any more. Trees are cloned before the new root hides anything, hence a
source may lie anywhere. It all lives in the mount namespace and vanishes with its last
process; nothing is to be cleaned. Cost: about a dozen mounts, 1-3 ms.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from esb_node.hands import linux

_STAGE = "/tmp"  # noqa: S108 - any existing folder will do: it is only covered, in our own namespace
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_MASKED = ("kcore", "keys", "key-users", "kmsg", "timer_list", "sysrq-trigger", "sched_debug")


@dataclass(frozen=True, slots=True)
class Bind:
    """The host's ``source`` at ``at``; never with set-user-id or, unless ``devices``, device nodes."""

    source: str
    at: str
    writable: bool = False
    devices: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link at ``at``."""

    at: str
    target: str


@dataclass(frozen=True, slots=True)
class Text:
    """A small file with ``content`` at ``at``."""

    at: str
    content: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder at ``at``: empty and read-only, also where a bind shows one with content."""

    at: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """A writable tmpfs of at most ``size_mib`` at ``at``, open to all like /tmp."""

    at: str
    size_mib: int


@dataclass(frozen=True, slots=True)
class Processes:
    """``/proc``, of the caller's pid namespace. ``read_only``: no setting of the kernel can be changed."""

    read_only: bool
    own_only: bool = False


Thing = Bind | Link | Text | Folder | Scratch | Processes


def host_programs() -> Iterator[Thing]:
    """The host's ``/usr`` and the root folders that belong to it, whether links (merged) or not."""
    yield Bind("/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            yield Link(str(path), str(path.readlink()))
        elif path.is_dir():
            yield Bind(str(path), str(path))


def devices() -> Iterator[Thing]:
    """The five harmless devices and the links of ``/dev``."""
    yield from (Bind(f"/dev/{name}", f"/dev/{name}", writable=True, devices=True) for name in _DEVICES)
    yield from (Link(f"/dev/{name}", target) for name, target in _DEVICE_LINKS.items())


def present(*paths: str) -> Iterator[Thing]:
    """Read-only binds, at their own paths, of those ``paths`` that this machine has."""
    return (Bind(path, path) for path in paths if Path(path).exists())


def enter(things: Sequence[Thing]) -> None:
    """Make ``things``, in their order, all that this process can see. Needs a mount namespace of its own.

    OSError names the step that the kernel refused; the process should then end.
    """
    linux.make_mounts_private()
    trees = {thing: _clone(thing) for thing in things if isinstance(thing, Bind)}
    linux.mount("tmpfs", _STAGE, linux.NO_SUID | linux.NO_DEVICES, "mode=0755,size=1m,nr_inodes=1024")
    for thing in things:
        _put(thing, trees)
    linux.make_read_only(_STAGE)
    linux.change_root(_STAGE)


def _clone(bind: Bind) -> int:
    attributes = linux.NO_SUID
    attributes |= 0 if bind.writable else linux.READ_ONLY
    attributes |= linux.NO_EXECUTION if bind.devices else linux.NO_DEVICES
    return linux.clone_tree(bind.source, attributes)


def _put(thing: Thing, trees: dict[Bind, int]) -> None:
    match thing:
        case Bind():
            _put_tree(_staged(thing.at), trees[thing])
        case Link():
            _parents(_staged(thing.at)).symlink_to(thing.target)
        case Text():
            _parents(_staged(thing.at)).write_text(thing.content)
        case Folder():
            _put_folder(_staged(thing.at))
        case Scratch():
            at = _staged(thing.at)
            at.mkdir(mode=0o755, parents=True, exist_ok=True)
            options = f"mode=1777,size={thing.size_mib}m"
            linux.mount("tmpfs", str(at), linux.NO_SUID | linux.NO_DEVICES, options)
        case Processes():
            _put_processes(_staged("/proc"), thing)


def _put_tree(at: Path, tree: int) -> None:
    if not at.exists():
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            at.mkdir(mode=0o755, parents=True)
        else:
            _parents(at).touch()
    linux.attach_tree(tree, str(at))


def _put_folder(at: Path) -> None:
    if at.is_dir():
        attributes = linux.READ_ONLY | linux.NO_SUID | linux.NO_DEVICES | linux.NO_EXECUTION
        linux.mount("tmpfs", str(at), attributes, "mode=0755,size=4k,nr_inodes=2")
    else:
        at.mkdir(mode=0o755, parents=True)


def _put_processes(at: Path, processes: Processes) -> None:
    at.mkdir(exist_ok=True)
    attributes = linux.NO_SUID | linux.NO_DEVICES | linux.NO_EXECUTION
    attributes |= linux.READ_ONLY if processes.read_only else 0
    linux.mount("proc", str(at), attributes, "hidepid=2" if processes.own_only else "")
    for name in _MASKED:
        if (at / name).exists():
            linux.attach_tree(
                linux.clone_tree("/dev/null", linux.READ_ONLY | linux.NO_EXECUTION), str(at / name)
            )


def _staged(at: str) -> Path:
    assert at.startswith("/")
    return Path(_STAGE + os.path.normpath(at))


def _parents(at: Path) -> Path:
    at.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return at
