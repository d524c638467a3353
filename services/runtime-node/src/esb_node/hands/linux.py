"""The kernel calls that Python has no word for: mounts, capabilities, prctl, loopback.

This is the only file that speaks ctypes. Every call is one thin function which raises OSError
with the kernel's errno and the name of what was asked, changes the calling process or its
mount namespace only, and keeps nothing. Mounts use the descriptor calls of Linux 5.12 and
later: a tree is cloned and made read-only *before* it appears anywhere, so there is no moment
in which a worker could see it writable.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442

_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _MNT_DETACH = 1, 4, 2
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000

READ_ONLY, NO_SUID, NO_DEVICES, NO_EXECUTION = 1, 2, 4, 8
"""Attributes of a mount; the kernel's MS_ and MOUNT_ATTR_ values agree in these four."""

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(what: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *wide), what)


# --- mounts -----------------------------------------------------------------------------


def make_mounts_private() -> None:
    """Nothing mounted from now on in this mount namespace is seen outside it, nor the reverse."""
    _checked(_LIBC.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "make / private")


def clone_tree(source: str, attributes: int) -> int:
    """A descriptor of a detached copy of the mount tree at ``source``, ``attributes`` set on all of it."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    tree = _syscall(f"clone the mount {source}", _OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)
    try:
        _set_attributes(tree, attributes, source)
    except OSError:
        os.close(tree)
        raise
    return tree


def _set_attributes(tree: int, attributes: int, source: str) -> None:
    wanted = ctypes.create_string_buffer(struct.pack("=4Q", attributes, 0, 0, 0), 32)
    _syscall(
        f"restrict the mount {source}", _MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, wanted, 32
    )


def attach_tree(tree: int, at: str) -> None:
    """Let the detached mount ``tree`` appear at ``at``; the descriptor is closed."""
    try:
        _syscall(
            f"attach a mount at {at}",
            _MOVE_MOUNT,
            tree,
            b"",
            _AT_FDCWD,
            os.fsencode(at),
            _MOVE_MOUNT_F_EMPTY_PATH,
        )
    finally:
        os.close(tree)


def mount(kind: str, at: str, attributes: int, options: str = "") -> None:
    """A new file system of ``kind`` (tmpfs, proc) at ``at``."""
    _checked(
        _LIBC.mount(
            kind.encode(), os.fsencode(at), kind.encode(), ctypes.c_ulong(attributes), options.encode()
        ),
        f"mount {kind} at {at}",
    )


def make_read_only(at: str) -> None:
    """The one mount at ``at`` (not those below it) can no longer be written through."""
    wanted = ctypes.create_string_buffer(struct.pack("=4Q", READ_ONLY, 0, 0, 0), 32)
    _syscall(f"make {at} read-only", _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(at), 0, wanted, 32)


def unmount(at: str) -> None:
    """Detach the topmost mount at ``at``."""
    _checked(_LIBC.umount2(os.fsencode(at), _MNT_DETACH), f"unmount {at}")


def change_root(root: str) -> None:
    """Make the mount ``root`` this mount namespace's root; everything else is detached from it."""
    os.chdir(root)
    # pivot_root(2), "pivot_root(".", ".")": the old root lies on top of the new one until it is detached.
    _syscall(f"make {root} the root", _PIVOT_ROOT[os.uname().machine], b".", b".")
    _checked(_LIBC.umount2(b".", _MNT_DETACH), "detach the old root")
    os.chdir("/")


# --- powers -----------------------------------------------------------------------------


def die_with_parent(signal_number: int) -> None:
    """Ask for ``signal_number`` when the thread that made this process ends. A change of user clears it."""
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Descendants whose parents die become this process's children instead of init's."""
    _prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def never_gain_powers() -> None:
    """No execve from here on grants more than this process has."""
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def empty_capability_bounds() -> None:
    """Take every capability out of the bounding and ambient sets, for good."""
    for capability in range(_last_capability() + 1):
        _prctl(f"PR_CAPBSET_DROP {capability}", _PR_CAPBSET_DROP, capability)
    _prctl("PR_CAP_AMBIENT", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(bytes(24), 24)
    _checked(_LIBC.capset(header, nothing), "drop capabilities")


def _last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def _prctl(what: str, option: int, value: int) -> None:
    _checked(
        _LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)),
        what,
    )


# --- network ----------------------------------------------------------------------------


def raise_loopback() -> None:
    """Bring ``lo`` up in this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
