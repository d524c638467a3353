"""S19, S20 and the still part of S22: Firecracker and WireGuard are where they belong, and nowhere else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from esb_builder.archive import Node, Window
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

GATEWAY, NODE = "esb-gateway:firecracker", "esb-runtime-node:firecracker"
FILES = ("usr/local/bin/firecracker", "usr/local/bin/jailer", "usr/local/share/firecracker/vmlinux")
TAKEN = "usr/local/share/firecracker/artefacts"
LABEL, STAND_INS = "esb.artefacts", "stand-ins"

PINNED: Mapping[str, Mapping[str, str]] = {
    "amd64": {
        FILES[0]: "7e8b57e88c459396d4680d83dcdd8c7f72305447cb55b11f4ac98ad70a3f7825",
        FILES[1]: "4830a9b1fc6cece036d8992ff12f1fe9c5247aacad77f42c7aba683c7a08622e",
        FILES[2]: "e20e46d0c36c55c0d1014eb20576171b3f3d922260d9f792017aeff53af3d4f2",
    },
    "arm64": {FILES[2]: "e3544b10603acbf3db492cb52e000d22ba202cb4b63b9add027565683e11c591"},
}
"""The files as they lie in the image. Of arm64's release only the hash of its archive is known."""

KNOWN: Mapping[int, str] = {3417392: PINNED["amd64"][FILES[0]], 44279576: PINNED["amd64"][FILES[2]]}
"""The pinned firecracker and guest kernel for amd64 by size, to find them under any name."""

TUNNEL = ("usr/bin/wg", "usr/bin/wireguard-go", "usr/local/bin/esb-tunnel")

_FIRECRACKER = re.compile(r"(firecracker|jailer)(-v\d.*)?|vmlinux.*")
_WIREGUARD = re.compile(r"wg|wg-quick|wireguard-go|wireguard\.ko(\.\w+)?")
_PACKAGES = re.compile(r"^Package: (wireguard\S*)$", re.MULTILINE)
_DPKG = "var/lib/dpkg/status"
_MOST_DPKG = 16 << 20
REBUILD = "./esb build runtime-node:firecracker"


def firecracker_in_its_place(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S19: Firecracker is in the image of its mode's node, and not one byte of it elsewhere."""
    return _firecracker(subject) if subject.name == NODE else no_firecracker(subject)


def wireguard_in_its_place(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S20: what a tunnel takes is in the two images of Firecracker mode, and none of it elsewhere."""
    return _tunnel(subject) if subject.name in (GATEWAY, NODE) else _no_wireguard(subject)


def is_root(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S22: its user is root, who alone may make a tunnel."""
    user = str(subject.image.config.get("config", {}).get("User", ""))
    if user not in ("", "0", "0:0", "root", "root:root"):
        yield Finding(f"its user is {user}, not root", "config.User", "USER 0:0 in its Dockerfile")


def stand_ins(subject: Subject) -> str:
    """What a verdict must add: *stand-ins* where the image is made of them."""
    return STAND_INS if _label(subject) == STAND_INS else ""


def no_firecracker(subject: Subject, known: Mapping[int, str] = KNOWN) -> Iterator[Finding]:
    """Not one file of it, under its own name, or under another where its size and SHA-256 are known."""
    for path, node in _files(subject):
        name = path.rpartition("/")[2]
        by_content = node.size in known and _sha256(subject, node) == known[node.size]
        if by_content or _FIRECRACKER.fullmatch(name):
            yield Finding(
                "a file of Firecracker's is in the image", path, "only runtime-node:firecracker has it"
            )


def _firecracker(subject: Subject) -> Iterator[Finding]:
    """Firecracker, jailer and guest kernel are the pinned ones, or the image says that they are not."""
    label, taken = _label(subject), (subject.tree.read(TAKEN) or b"").decode(errors="replace").split()[:1]
    if [label] != taken or label not in ("pinned", STAND_INS):
        told = f"label {LABEL} says {label or 'nothing'}, the image {' '.join(taken) or 'nothing'}"
        yield Finding(f"{told}, of what Firecracker this is", TAKEN, REBUILD)
    architecture = str(subject.image.config.get("architecture", ""))
    for path in FILES:
        node = subject.tree.nodes.get(path)
        if node is None or node.kind != "file":
            yield Finding("a file of Firecracker's is missing", path, REBUILD)
        elif label != STAND_INS:
            yield from _not_pinned(subject, path, node, PINNED.get(architecture, {}).get(path))


def _no_wireguard(subject: Subject) -> Iterator[Finding]:
    """None of WireGuard's programs, and no package of them."""
    for path, _ in _files(subject):
        if _WIREGUARD.fullmatch(path.rpartition("/")[2]):
            yield Finding(
                "a WireGuard program is in the image", path, "only the images of Firecracker mode have it"
            )
    status = (subject.tree.read(_DPKG, _MOST_DPKG) or b"").decode(errors="replace")
    for package in _PACKAGES.findall(status):
        yield Finding(
            f"the package {package} is installed", _DPKG, "take it out of the Dockerfile's packages"
        )


def _tunnel(subject: Subject) -> Iterator[Finding]:
    """What a tunnel takes, kernels without WireGuard included."""
    for path in TUNNEL:
        node = subject.tree.get(path)
        if node is None or not node.mode & 0o111:
            yield Finding("a program that the tunnel takes is missing", path, f"./esb build {subject.name}")


def _not_pinned(subject: Subject, path: str, node: Node, sha256: str | None) -> Iterator[Finding]:
    if sha256 is not None and (found := _sha256(subject, node)) != sha256:
        yield Finding(f"it is not the pinned file: its SHA-256 is {found}", path, REBUILD)


def _files(subject: Subject) -> Iterator[tuple[str, Node]]:
    return ((path, node) for path, node in subject.tree.nodes.items() if node.kind != "directory")


def _label(subject: Subject) -> str:
    return str((subject.image.config.get("config", {}).get("Labels") or {}).get(LABEL, ""))


def _sha256(subject: Subject, node: Node) -> str:
    return subject.tree.once(node, _hash)


def _hash(content: Window) -> str:
    known = hashlib.sha256()
    while chunk := content.read(1 << 20):
        known.update(chunk)
    return known.hexdigest()
