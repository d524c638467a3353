"""Where every file of an image comes from: a Debian package, a wheel, CPython, our tree, or a named list.

What an image has of its parent unchanged is its parent's matter, so each file is judged once. Owners
are read off the image itself: dpkg's lists (through the links of merged /usr), wheels' RECORD, and byte code
beside its source. :data:`GENERATED` names what installing makes; a file that fits nothing is a finding.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterator

from esb_builder.archive import Node, Tree, Window
from esb_builder.plan import FAMILY
from esb_builder.verify import firecracker
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.trust import BAKED
from esb_builder.verify.verdict import Finding

PYTHON_BASE = "esb-python-base"
CPYTHON = re.compile(
    r"usr/local/(bin/python(3(\.12)?)?|lib/libpython3(\.12)?\.so(\.1\.0)?|lib/python3\.12/(?!site-packages/).+)"
)
SITE = re.compile(r"(app/\.venv/lib/python3\.12/site-packages|var/runtime)/.+")

GENERATED = re.compile(
    "|".join(
        (
            r"etc/(\.pwd\.lock|environment|fstab|hostname|hosts|inputrc|ld\.so\.cache|localtime|machine-id|motd)",
            r"etc/(networks|nsswitch\.conf|profile|resolv\.conf|shells|timezone|ca-certificates\.conf)",
            r"etc/(passwd|group|shadow|gshadow|subuid|subgid|security/opasswd|pam\.d/common-[a-z-]+)",
            r"etc/(dpkg/dpkg\.cfg\.d/esb-slim|dpkg/origins/default|rc\w\.d/[KS]\d\d[\w.-]+)",
            r"etc/(alternatives/.+|systemd/system/[\w.-]+\.wants/.+)",
            r"etc/ssl/certs/([0-9a-f]{8}\.\d+|[^/]+\.pem|ca-certificates\.crt)",
            r"root/\.(bashrc|profile)",
            r"usr/(local/man|share/info/dir)|var/spool/mail",
            r"var/cache/(apt/archives/lock|debconf/[\w.-]+\.dat)",
            r"var/lib/(apt/extended_states|shells\.state|pam/[\w-]+|systemd/deb-systemd-helper-enabled/.+)",
            r"var/lib/dpkg/(arch|diversions|lock|lock-frontend|status|statoverride|available|alternatives/[^/]+)",
            r"var/lib/dpkg/(triggers/[\w.-]+|info/[\w.+:-]+\.\w+|info/format)",
            r"app/\.venv/(pyvenv\.cfg|lib64|bin/(activate|python(3(\.12)?)?))",
        )
    )
)
"""What installing packages, baking the root CA and making a venv leave behind beside the packages' files."""

OURS = re.compile(
    r"app/entrypoint\.sh|app/services/.+|var/runtime/bootstrap\.py|usr/local/bin/esb-tunnel|var/lang"
)
"""Our own tree; S6 says file by file what of it belongs where."""

UV = "usr/local/bin/uv"
_BYTE_CODE = re.compile(r"(?P<folder>.*)/__pycache__/(?P<name>[^/]+)\.cpython-312(\.opt-\d)?\.pyc")
_DPKG = re.compile(r"var/lib/dpkg/info/[^/]+\.(list|conffiles)")
_RECORD = re.compile(r".*\.dist-info/RECORD")
_PATHS = re.compile(r".*\.(pth|egg-link)|.*/__editable__[^/]*")
_MOST = 32 << 20


def known(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """Every file that the image adds to its parent has an owner."""
    tree, below = subject.tree, _parent(subject, scene)
    owned = _owned(tree)
    for path, node in tree.nodes.items():
        if node.kind == "directory" or (below and below.nodes.get(path) == node):
            continue
        if path not in owned and not _explained(path, node, tree, owned, subject.name):
            yield Finding(
                "nothing that was installed owns this file",
                path,
                "leave it out of the image, or install it from a locked package, wheel or archive",
            )


def nothing_editable(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """No installed package leads out of the image's own folders: no path file, nothing editable."""
    for path, node in subject.tree.nodes.items():
        if node.kind != "file":
            continue
        if _PATHS.fullmatch(path):
            yield Finding("Python searches where this file says", path, "install it as a wheel, not editable")
        elif path.endswith(".dist-info/direct_url.json"):
            yield from _direct(path, subject.tree.read(path) or b"")


def _direct(path: str, content: bytes) -> Iterator[Finding]:
    if b'"editable": true' in content or b'"editable":true' in content or b"file://" in content:
        yield Finding("it was installed from a folder of the build", path, "install it as a locked wheel")


def _parent(subject: Subject, scene: Scene) -> Tree | None:
    parent = FAMILY[subject.name].parent
    return scene.family[parent].tree if parent else None


def _explained(path: str, node: Node, tree: Tree, owned: frozenset[str], image: str) -> bool:
    if compiled := _BYTE_CODE.fullmatch(path):
        source = f"{compiled['folder']}/{compiled['name']}.py"
        return source in tree.nodes and (
            source in owned or _explained(source, tree.nodes[source], tree, owned, image)
        )
    if node.kind == "symlink" and node.target.startswith("/etc/alternatives/"):
        return True
    if CPYTHON.fullmatch(path):
        return image == PYTHON_BASE
    fixed = (BAKED, UV, *firecracker.FILES, firecracker.TAKEN)
    return path in fixed or any(pattern.fullmatch(path) for pattern in (GENERATED, OURS))


def _owned(tree: Tree) -> frozenset[str]:
    """The paths that dpkg's lists and wheels' records name."""
    folders: dict[str, str] = {}
    named: set[str] = set()
    for path, node in tree.nodes.items():
        if node.kind != "file":
            continue
        if _DPKG.fullmatch(path):
            named |= {_placed(tree, one, folders) for one in tree.once(node, _lines)}
        elif _RECORD.fullmatch(path):
            site = posixpath.dirname(posixpath.dirname(path))
            named |= {posixpath.normpath(f"{site}/{one}") for one in tree.once(node, _recorded)}
    return frozenset(named)


def _placed(tree: Tree, path: str, folders: dict[str, str]) -> str:
    """A listed path with the links of its folder followed: ``bin/ls`` is ``usr/bin/ls``."""
    folder, name = posixpath.split(path)
    if folder not in folders:
        folders[folder] = (tree.real(folder) or folder) if folder else ""
    return posixpath.join(folders[folder], name)


def _lines(content: Window) -> list[str]:
    return [line.lstrip("/") for line in content.read(_MOST).decode(errors="replace").splitlines()]


def _recorded(content: Window) -> list[str]:
    rows = csv.reader(content.read(_MOST).decode(errors="replace").splitlines())
    return [row[0] for row in rows if row]
