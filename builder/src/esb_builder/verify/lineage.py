"""S1–S3: one distribution, one libc, every image on the base that it claims, each package scanned once."""

from __future__ import annotations

import re
from collections.abc import Iterator

from esb_builder.plan import FAMILY
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

OS_BASE = "esb-os-base"
_SCANNED = re.compile(r"var/lib/dpkg/info/[^/]+\.list|.*\.dist-info/METADATA|usr/lib/os-release")
_FOREIGN = {"ld-musl": "musl", "ld-uClibc": "uClibc"}


def one_distribution(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S1: Debian 12 and its glibc, no other libc, on os-base's layers."""
    release = os_release(subject)
    if (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12"):
        told = release.get("PRETTY_NAME", "nothing")
        yield Finding(f"the system is {told}, not Debian 12", "etc/os-release", "build it from esb-os-base")
    nodes = subject.tree.nodes
    if not any(path.endswith("/libc.so.6") for path in nodes):
        yield Finding("there is no glibc (libc.so.6)", "usr/lib", "build it from esb-os-base")
    for path in nodes:
        name = path.rpartition("/")[2]
        libc = next((libc for start, libc in _FOREIGN.items() if name.startswith(start)), None)
        if libc:
            yield Finding(
                f"a second libc, {libc}, is in the image", path, "take binaries built for Debian 12"
            )
    yield from _stands_on(subject, scene.family[OS_BASE])


def right_parent(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S2: the layers of the parent in the family come first."""
    parent = FAMILY[subject.name].parent
    assert parent is not None
    yield from _stands_on(subject, scene.family[parent])


def scanned_once(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S3: what a scanner reads of the parent lies in the shared layers alone, so one scan serves all images.

    That is every package's list of files, every wheel's metadata, and the system's own name.
    """
    parent = FAMILY[subject.name].parent
    assert parent is not None
    for path, node in scene.family[parent].tree.nodes.items():
        if _SCANNED.fullmatch(path) and subject.tree.nodes.get(path) != node:
            yield Finding(
                f"what a scanner reads of {parent} is in a layer of this image again, or gone",
                path,
                f"change packages of {parent} in {FAMILY[parent].dockerfile}, not on top of it",
            )


def os_base(_name: str) -> tuple[str, ...]:
    """What S1 needs to see beside the image."""
    return (OS_BASE,)


def parent_of(name: str) -> tuple[str, ...]:
    """What S2 needs to see beside the image."""
    parent = FAMILY[name].parent
    return (parent,) if parent else ()


def os_release(subject: Subject) -> dict[str, str]:
    """The image's ``os-release``, unquoted."""
    text = (subject.tree.read("etc/os-release") or b"").decode(errors="replace")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip('"') for name, _, value in pairs}


def _stands_on(subject: Subject, base: Subject) -> Iterator[Finding]:
    below, own = base.image.diff_ids, subject.image.diff_ids
    if own[: len(below)] == below:
        return
    at = next(number for number, one in enumerate(below) if own[number : number + 1] != (one,))
    yield Finding(
        f"it does not stand on {base.name}: layer {at + 1} is another one",
        f"rootfs.diff_ids[{at}] of {subject.image.id}",
        f"rebuild both: ./esb build {base.name} {subject.name}",
    )
