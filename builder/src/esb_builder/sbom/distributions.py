"""Python distributions in an image: every ``*.dist-info``, wherever it lies, and the wheels CPython carries.

Of two folders that Python searches, a distribution finds its needs in its own.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser

from esb_common.errors import BadInput

from esb_builder.archive import Tree, Window
from esb_builder.sbom import contents, licences
from esb_builder.sbom.component import Component, purl
from esb_builder.sbom.pins import Pins, normal

METADATA = ".dist-info/METADATA"
_MOST = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BUNDLED = re.compile(r".*/ensurepip/_bundled/(?P<name>[^-/]+)-(?P<version>[^-/]+)-[^/]+\.whl")


@dataclass(frozen=True, slots=True)
class _Metadata:
    name: str
    version: str
    licence: str
    needs: tuple[str, ...]

    @property
    def purl(self) -> str:
        return purl("pypi", normal(self.name), self.version)


def components(tree: Tree, pins: Pins) -> Iterator[Component]:
    """Every distribution."""
    found = {path: tree.once(node, _read) for path, node in tree.nodes.items() if path.endswith(METADATA)}
    folders = {posixpath.dirname(posixpath.dirname(path)) for path in found}
    for folder in sorted(folders):
        inside = {path: one for path, one in found.items() if path.startswith(f"{folder}/")}
        beside = {normal(one.name): one for one in inside.values()}
        yield from (_component(tree, path, one, beside, pins) for path, one in inside.items())
    yield from _bundled(tree)


def _component(
    tree: Tree, path: str, one: _Metadata, beside: Mapping[str, _Metadata], pins: Pins
) -> Component:
    if not one.name or not one.version:
        raise BadInput(f"{path} says no Name or no Version", "build the image again")
    record = f"{posixpath.dirname(path)}/RECORD"
    return Component(
        one.purl,
        normal(one.name),
        one.version,
        licence=one.licence,
        sha256=pins.wheel(one.name, one.version),
        places=(path, *(place for place in (record,) if place in tree.nodes)),
        layer=tree.nodes[path].layer,
        needs=tuple(sorted(beside[name].purl for name in one.needs if name in beside)),
    )


def _bundled(tree: Tree) -> Iterator[Component]:
    """Wheels that lie in the image as files (ensurepip's pip)."""
    for path, node in tree.nodes.items():
        if match := _BUNDLED.fullmatch(path):
            name, version = normal(match["name"]), match["version"]
            sha256 = tree.once(node, contents.sha256)
            yield Component(
                purl("pypi", name, version), name, version, sha256=sha256, places=(path,), layer=node.layer
            )


def _read(content: Window) -> _Metadata:
    headers = HeaderParser().parsestr(content.read(_MOST).decode(errors="replace"))
    every = headers.get_all
    licence = licences.of_metadata(
        headers.get("License-Expression", ""), headers.get("License", "").strip(), every("Classifier", [])
    )
    name, version = headers.get("Name", ""), headers.get("Version", "")
    return _Metadata(name, version, licence, _needed(every("Requires-Dist", [])))


def _needed(requirements: Sequence[str]) -> tuple[str, ...]:
    """Names that it requires whatever was asked for: extras were asked for by nobody."""
    plain = [one for one in requirements if not re.search(r";.*\bextra\b", one)]
    return tuple(normal(match[0]) for one in plain if (match := _NAME.match(one)))
