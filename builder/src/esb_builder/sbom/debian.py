"""Debian's packages in an image, as dpkg itself knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser

from esb_common.errors import BadInput

from esb_builder.archive import Tree, Window
from esb_builder.sbom import licences
from esb_builder.sbom.component import Component, purl
from esb_builder.sbom.pins import Pins

STATUS = "var/lib/dpkg/status"
_INFO = "var/lib/dpkg/info"
_MOST_STATUS = 32 << 20
_MOST_COPYRIGHT = 4 << 20
_INSTALLED = "install ok installed"

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Installed:
    """The packages of one status file, and which of them stands for each name that it provides."""

    packages: Sequence[Fields]
    provided: Mapping[str, Fields]


def components(tree: Tree, distro: str, pins: Pins) -> Iterator[Component]:
    """Every installed package. ``distro`` is named in its package URL (``debian-12``)."""
    node = tree.get(STATUS)
    if node is None:
        return
    installed = tree.once(node, _read)
    for package in installed.packages:
        yield _component(tree, package, installed, distro, pins)


def _component(tree: Tree, package: Fields, installed: _Installed, distro: str, pins: Pins) -> Component:
    name, version = package["Package"], package["Version"]
    copyright_file, shown = f"usr/share/doc/{name}/copyright", _shown_by(tree, package)
    return Component(
        _purl(package, distro),
        name,
        version,
        licence=_licence(tree, copyright_file),
        supplier="Debian",
        sha256=pins.deb(name, version),
        source=package.get("Source", name),
        places=(shown, *(path for path in (copyright_file,) if path in tree.nodes)),
        layer=tree.nodes[shown].layer,
        needs=tuple(sorted({_purl(one, distro) for one in _needs(package, installed)})),
    )


def _shown_by(tree: Tree, package: Fields) -> str:
    """The package's list of files: unlike the status, it lies in the layer that brought the package."""
    name = package["Package"]
    lists = (f"{_INFO}/{name}.list", f"{_INFO}/{name}:{package['Architecture']}.list")
    return next((path for path in lists if path in tree.nodes), STATUS)


def _licence(tree: Tree, path: str) -> str:
    node = tree.get(path)
    return tree.once(node, _read_licence) if node and node.kind == "file" else ""


def _read_licence(content: Window) -> str:
    return licences.of_copyright(content.read(_MOST_COPYRIGHT).decode(errors="replace"))


def _purl(package: Fields, distro: str) -> str:
    asked = {"arch": package["Architecture"], "distro": distro}
    return purl("deb/debian", package["Package"], package["Version"], **asked)


def _read(content: Window) -> _Installed:
    text = content.read(_MOST_STATUS).decode(errors="replace")
    stanzas = [_fields(one) for one in text.split("\n\n") if one.strip()]
    packages = [one for one in stanzas if one.get("Status") == _INSTALLED]
    if any(not one.get(field) for one in packages for field in ("Package", "Version", "Architecture")):
        raise BadInput(
            f"{STATUS} has a package without name, version or architecture", "build the image again"
        )
    provided = {name: one for one in packages for name in _names(one.get("Provides", ""))}
    return _Installed(packages, provided | {one["Package"]: one for one in packages})


def _fields(stanza: str) -> Fields:
    return dict(HeaderParser().parsestr(stanza.strip("\n")).items())


def _needs(package: Fields, installed: _Installed) -> Iterator[Fields]:
    """What it depends on: of alternatives the first that is there."""
    for field in ("Pre-Depends", "Depends"):
        for choice in package.get(field, "").split(","):
            there = (installed.provided.get(name) for name in _names(choice, "|"))
            if (found := next((one for one in there if one), None)) is not None and found is not package:
                yield found


def _names(relation: str, between: str = ",") -> list[str]:
    """Bare names: without versions, architectures and qualifiers."""
    return [match[0] for one in relation.split(between) if (match := re.match(r"[a-z0-9.+-]+", one.strip()))]
