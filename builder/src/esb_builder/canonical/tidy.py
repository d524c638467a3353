"""What of a built image counts: the engine's habits and the machine's traces are taken out or refused.

*Dropped*: what an engine mounts over (below /dev, /proc and /sys), logs, package indexes, caches that hold
inode numbers or times, backups beside the password files, and empty folders left by secret mounts.

*Constant*: the four files of /etc that tell one machine from another. Every engine mounts its own
over three of them, so what the image holds is seen only without an engine.

*Bounded*: no time is later than SOURCE_DATE_EPOCH, nor is the day of the last password change in
/etc/shadow; a folder's time, which any engine sets as it likes, and a checkout's are that instant.

*Refused*, because taking it out would hide a mistake: a device, socket or FIFO elsewhere; anything in
/run/secrets; byte code bound to a file time that no other build would have; a name that is not UTF-8.

Extended attributes other than ``security.capability``, names of owners and access times never get this far.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from esb_common.errors import BadInput

from esb_builder import oci
from esb_builder.archive import Node
from esb_builder.canonical.slices import slice_of
from esb_builder.canonical.tape import Content, Item

CONSTANT: Mapping[str, bytes] = {
    "etc/hostname": b"localhost\n",
    "etc/hosts": b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "etc/machine-id": b"",
    "etc/resolv.conf": b"",
}

_DROPPED = re.compile(
    r"(dev|proc|sys)/.*"
    r"|\.dockerenv|run/\.containerenv"
    r"|var/log/.*\.log|var/log/(btmp|faillog|lastlog|wtmp)"
    r"|var/cache/(ldconfig/aux-cache|apt/[^/]*\.bin|apt/archives/[^/]*\.deb|debconf/[^/]*-old)"
    r"|var/lib/apt/lists/(?!partial$|auxfiles$).*"
    r"|var/lib/dpkg/[^/]*-old"
    r"|etc/(passwd|group|shadow|gshadow|subuid|subgid)-"
)
_SECRETS = re.compile(r"run/secrets(/.*)?")
_SHADOW = "etc/shadow"
_DAY_S = 86400
_CHANGED = 2
"""The field of shadow(5) with the day of the last change, counted from 1970."""

_MOST_SHADOW = 1 << 20
_PYC_HEAD = 16

Reader = Callable[[Node, int], bytes]
"""Reads at most so many bytes of a file's content."""


@dataclass(frozen=True, slots=True)
class Tidy:
    """An image's tree as it counts, by path, and the paths of files that were left out."""

    items: Mapping[str, Item]
    dropped: tuple[str, ...]


def tidy(nodes: Mapping[str, Node], read: Reader) -> Tidy:
    """The tree as it counts. BadInput names the first path, by name, that is refused."""
    items: dict[str, Item] = {}
    dropped = []
    for path in sorted(nodes):
        node = nodes[path]
        if _DROPPED.fullmatch(path) or _is_empty_mount(path, node):
            dropped += [path] if node.kind == "file" else []
        else:
            _refuse(path, node, read)
            items[path] = _item(path, node, read)
    if "etc" in items:
        items |= {path: _constant(path, content) for path, content in CONSTANT.items()}
    return Tidy(items, tuple(dropped))


def raw(path: str, node: Node) -> Item:
    """A node just as it is. BadInput for what no tar of ours holds."""
    if node.kind == "other":
        raise BadInput(f"/{path} is a device, a socket or a FIFO", "make it at run time, not in the image")
    content: Content = node if node.kind == "file" else b""
    return Item(
        path, node.kind, node.mode, node.uid, node.gid, node.mtime, node.target, content, node.capability
    )


def _item(path: str, node: Node, read: Reader) -> Item:
    item = raw(path, node)
    of_checkout = node.kind == "directory" or slice_of(path).checkout
    mtime = oci.INSTANT if of_checkout else min(node.mtime, oci.INSTANT)
    content = _shadow(read(node, _MOST_SHADOW)) if (path, node.kind) == (_SHADOW, "file") else item.content
    return replace(item, mtime=mtime, content=content)


def _constant(path: str, content: bytes) -> Item:
    return Item(path, mtime=oci.INSTANT, content=content)


def _is_empty_mount(path: str, node: Node) -> bool:
    return node.kind == "directory" and _SECRETS.fullmatch(path) is not None


def _refuse(path: str, node: Node, read: Reader) -> None:
    if _SECRETS.fullmatch(path):
        raise BadInput(
            f"/{path} was left in the image by a secret",
            "mount it (RUN --mount=type=secret) and do not copy it",
        )
    try:
        (path + node.target).encode()
    except UnicodeEncodeError:
        raise BadInput(f"the name {path!r} or its link's target is not UTF-8", "rename it") from None
    if node.kind == "file" and path.endswith(".pyc"):
        _refuse_timed(path, read(node, _PYC_HEAD))


def _refuse_timed(path: str, head: bytes) -> None:
    """BadInput for byte code that Python checks by its source's time (PEP 552), where the time moves."""
    flags, mtime = int.from_bytes(head[4:8], "little"), int.from_bytes(head[8:12], "little")
    if flags == 0 and mtime > oci.INSTANT:
        raise BadInput(
            f"/{path} is bound to its source's time, which is another in each build",
            "compile with --invalidation-mode unchecked-hash",
        )


def _shadow(content: bytes) -> bytes:
    return b"".join(_aged(line) for line in content.splitlines(keepends=True))


def _aged(line: bytes) -> bytes:
    fields = line.split(b":")
    if len(fields) > _CHANGED and fields[_CHANGED].isdigit():
        fields[_CHANGED] = b"%d" % min(int(fields[_CHANGED]), oci.INSTANT // _DAY_S)
    return b":".join(fields)
