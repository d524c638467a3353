"""Bills of materials: what an image is made of, read off its archive alone.

Not what a Dockerfile asked for but what lies there: dpkg's status with the copyright files, every Python
distribution, CPython, uv with the crates that it lists in itself, Firecracker's files, our code. An
:class:`Inventory` is written as CycloneDX 1.6 or SPDX 2.3, the same bytes for the same image and lock.

What several images of one archive share is read once, since contents are asked once (``Tree.once``).
A family of five takes about 2 s, most of it for the first image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from esb_builder.sbom import cyclonedx, debian, distributions, programs, spdx
from esb_builder.sbom.component import NO_LAYER, Component, merged, purl
from esb_builder.sbom.inventory import Inventory
from esb_builder.sbom.pins import Pins
from esb_builder.verify import lineage
from esb_builder.verify.subject import Subject

__all__ = ["FORMATS", "Component", "Format", "Inventory", "Pins", "Writer", "inventory"]

Format = Literal["cyclonedx", "spdx"]


@dataclass(frozen=True, slots=True)
class Writer:
    """One format: how a document is made, what files of it end with, and what attestations call it."""

    document: Callable[[Inventory], dict[str, Any]]
    ending: str
    predicate: str


FORMATS: Mapping[Format, Writer] = {
    "cyclonedx": Writer(cyclonedx.document, "cdx.json", "https://cyclonedx.org/bom"),
    "spdx": Writer(spdx.document, "spdx.json", "https://spdx.dev/Document"),
}


def inventory(subject: Subject, pins: Pins) -> Inventory:
    """Everything that an image holds; hashes of what it came as where ``pins`` know them."""
    release = lineage.os_release(subject)
    system = release.get("ID", "linux"), release.get("VERSION_ID", "")
    tree = subject.tree
    found = (
        _system(subject, *system, release.get("PRETTY_NAME", "")),
        *debian.components(tree, "-".join(system), pins),
        *distributions.components(tree, pins),
        *programs.components(tree, pins),
    )
    architecture = str(subject.image.config.get("architecture", ""))
    return Inventory(subject.name, subject.image.id, architecture, merged(found))


def _system(subject: Subject, name: str, version: str, called: str) -> Component:
    place = subject.tree.real("etc/os-release") or ""
    node = subject.tree.nodes.get(place)
    layer = node.layer if node else NO_LAYER
    return Component(
        purl("generic", name, version),
        name,
        version,
        "operating-system",
        supplier=called.partition(" ")[0],
        places=(place,) if place else (),
        layer=layer,
    )
