"""What no package system of the image knows: CPython, uv, Firecracker's files, and our own code.

A version is read off the thing itself. A program that does not tell one has none in its package URL.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

from esb_common.errors import BadInput

from esb_builder.archive import Node, Tree
from esb_builder.sbom import contents
from esb_builder.sbom.component import ESB, Component, Kind, purl
from esb_builder.sbom.pins import Pins
from esb_builder.verify import firecracker

UV = "usr/local/bin/uv"
BOOTSTRAP = "var/runtime/bootstrap.py"
OURS = "Apache-2.0"
_PYTHON = re.compile(r"usr/local/bin/python3\.\d+")
_LIBRARY = re.compile(r"usr/local/lib/libpython3\.\d+\.so\.[\d.]+")
_SERVICE = re.compile(r"app/services/[^/]+/pyproject\.toml")
_RELEASE = re.compile(r"(?P<name>firecracker|vmlinux)-v?(?P<version>\d[\d.]*)-.*")


def components(tree: Tree, pins: Pins) -> Iterator[Component]:
    """All of them that the image has."""
    yield from _cpython(tree, pins)
    yield from _uv(tree, pins)
    yield from _firecracker(tree)
    yield from _services(tree)


def _cpython(tree: Tree, pins: Pins) -> Iterator[Component]:
    programs = [path for path, node in tree.nodes.items() if _PYTHON.fullmatch(path) and node.kind == "file"]
    libraries = [
        path for path, node in tree.nodes.items() if _LIBRARY.fullmatch(path) and node.kind == "file"
    ]
    for path in programs:
        told = (tree.once(tree.nodes[one], contents.cpython) for one in (*libraries, path))
        version = next((one for one in told if one), "")
        yield Component(
            purl("generic", "cpython", version),
            "cpython",
            version,
            "application",
            "PSF-2.0",
            "Python Software Foundation",
            pins.python(version),
            places=(path, *libraries),
            layer=tree.nodes[path].layer,
        )


def _uv(tree: Tree, pins: Pins) -> Iterator[Component]:
    """uv, which came as a wheel, and the crates that it is made of, which it lists itself."""
    node = tree.nodes.get(UV)
    if node is None or node.kind != "file":
        return
    listed = tree.once(node, contents.crates)
    version = next((one.version for one in listed if one.root), "")
    yield Component(
        purl("pypi", "uv", version),
        "uv",
        version,
        "application",
        "Apache-2.0 OR MIT",
        sha256=pins.wheel("uv", version),
        places=(UV,),
        layer=node.layer,
        needs=tuple(_crate_purl(one) for one in listed if one.root),
    )
    for one in listed:
        if one.built_in:
            needs = sorted(_crate_purl(listed[number]) for number in one.needs if listed[number].built_in)
            yield Component(
                _crate_purl(one), one.name, one.version, places=(UV,), layer=node.layer, needs=tuple(needs)
            )


def _crate_purl(crate: contents.Crate) -> str:
    return purl("cargo", crate.name, crate.version)


def _firecracker(tree: Tree) -> Iterator[Component]:
    """The three files of Firecracker's, by what the image says that it was given."""
    kind, versions = _given(tree)
    for path in firecracker.FILES:
        node = tree.nodes.get(path)
        if node is not None and node.kind == "file":
            yield _artefact(tree, path, node, kind, versions)


def _artefact(tree: Tree, path: str, node: Node, kind: str, versions: Mapping[str, str]) -> Component:
    name = path.rpartition("/")[2]
    pinned = kind == "pinned"
    version = versions.get("vmlinux" if name == "vmlinux" else "firecracker", "") if pinned else kind
    called, licence = ("linux", "GPL-2.0-only WITH Linux-syscall-note")
    if name != "vmlinux":
        called, licence = name, "Apache-2.0"
    return Component(
        purl("generic", called, version),
        called,
        version,
        "operating-system" if name == "vmlinux" else "application",
        licence if pinned else "",
        sha256=tree.once(node, contents.sha256),
        places=(path,),
        layer=node.layer,
    )


def _given(tree: Tree) -> tuple[str, dict[str, str]]:
    """What the image says that it was given: *pinned* or *stand-ins*, and versions by file."""
    kind, *lines = (tree.read(firecracker.TAKEN) or b"").decode(errors="replace").splitlines() or [""]
    names = (match for line in lines if (match := _RELEASE.fullmatch(line.split()[-1])))
    return kind, {match["name"]: match["version"] for match in names}


def _services(tree: Tree) -> Iterator[Component]:
    """Our own programs: each service by its pyproject.toml, and the worker's bootstrap."""
    for path, node in sorted(tree.nodes.items()):
        if _SERVICE.fullmatch(path):
            yield _own(*_project(tree.read(path) or b"", path), path, node)
        if path == BOOTSTRAP:
            sha256 = tree.once(node, contents.sha256)
            yield _own("esb-bootstrap", f"sha256:{sha256}", path, node, sha256)


def _project(content: bytes, path: str) -> tuple[str, str]:
    """Name and version."""
    try:
        project = tomllib.loads(content.decode())["project"]
        return str(project["name"]), str(project["version"])
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path} says no name or no version of its project", "build the image again") from None


def _own(name: str, version: str, path: str, node: Node, sha256: str = "") -> Component:
    kind: Kind = "application"
    return Component(
        purl("generic", name, version),
        name,
        version,
        kind,
        OURS,
        ESB,
        sha256,
        places=(path,),
        layer=node.layer,
    )
