"""No file gives powers that nobody listed: set-uid, set-gid, capabilities, and what everybody may write."""

from __future__ import annotations

from collections.abc import Iterator

from esb_builder.archive import Node
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

SET_ID = frozenset(
    {
        ("usr/bin/chage", 0o2755),
        ("usr/bin/chfn", 0o4755),
        ("usr/bin/chsh", 0o4755),
        ("usr/bin/expiry", 0o2755),
        ("usr/bin/gpasswd", 0o4755),
        ("usr/bin/newgrp", 0o4755),
        ("usr/bin/passwd", 0o4755),
        ("usr/bin/su", 0o4755),
        ("usr/sbin/unix_chkpwd", 0o2755),
    }
)
"""Debian's own: packages login, passwd and libpam-modules-bin. The box runs with no-new-privileges."""

_STICKY, _SET_ID, _ALL_WRITE = 0o1000, 0o6000, 0o002


def listed(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """No set-uid or set-gid program but Debian's listed ones, and no capability on a file."""
    for path, node in subject.tree.nodes.items():
        if node.kind != "file":
            continue
        if node.mode & _SET_ID and (path, node.mode) not in SET_ID:
            kind = "set-uid" if node.mode & 0o4000 else "set-gid"
            yield Finding(f"a {kind} program, mode {node.mode:04o}", path, "chmod a-s, or leave it out")
        if node.capability:
            yield Finding("the file carries capabilities", path, "setcap -r, or leave it out")


def not_for_everybody(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """Nothing that everybody may write, but folders like /tmp with the sticky bit."""
    for path, node in subject.tree.nodes.items():
        if _for_everybody(node):
            yield Finding(f"everybody may write it, mode {node.mode:04o}", path, "chmod o-w")


def _for_everybody(node: Node) -> bool:
    if node.kind == "symlink" or not node.mode & _ALL_WRITE:
        return False
    return not (node.kind == "directory" and node.mode & _STICKY)
