"""How images leave an engine and enter it.

A build's result is taken out before it ever gets a tag. An engine with containerd's image store
writes it as an OCI layout, and leaves out the layers that lie there already: an image whose
parent is on the shelf costs what it adds. Other engines cannot export; there the result gets a name
of its own, is saved and forgotten again (about 2 s for 160 MB).

The parent enters by its digest, from the shelf, so what a tag names meanwhile does not matter.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from esb_common.ids import Digest

from esb_builder import run
from esb_builder.canonical import Shelf
from esb_builder.plan import FAMILY, Image

IMAGE_STORE = "io.containerd.snapshotter.v1"
"""What ``docker info`` calls containerd's image store."""

_PLAIN = "compression=uncompressed,force-compression=true,oci-mediatypes=true"


class Docker(Protocol):
    """What building needs of an engine."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The whole environment for a ``docker`` command."""

    def docker(self, *args: str | Path, check: bool = True) -> run.Completed:
        """Run ``docker args`` to its end."""


@dataclass(frozen=True, slots=True)
class Present:
    """What an engine says of an image: its own id, and the layers' diffIDs, lowest first."""

    engine_id: str
    layers: tuple[str, ...]


def present(engine: Docker, images: Sequence[Image]) -> dict[str, Present]:
    """The images of ``images`` that the engine has, by name."""
    shown = engine.docker(
        "image",
        "inspect",
        "--format={{json .RepoTags}}\t{{.Id}}\t{{json .RootFS.Layers}}",
        *(image.reference for image in images),
        check=False,
    )
    found = {}
    for tags, engine_id, layers in (line.split("\t") for line in shown.stdout.splitlines() if "\t" in line):
        for tag in json.loads(tags):
            name = tag.removesuffix(":latest")
            if name in FAMILY:
                found[name] = Present(engine_id, tuple(json.loads(layers)))
    return found


@dataclass(frozen=True, slots=True)
class Outlet:
    """What one build stands on and where its result goes, for ``docker buildx build``.

    ``parent`` is the value of the named context that replaces the parent; empty where there is none.
    """

    output: str
    parent: str
    _engine: Docker
    _tag: str
    _path: Path

    def collect(self) -> Path:
        """After the build: the result as an archive or a layout."""
        if self._tag:
            self._engine.docker("save", "--output", self._path, self._tag)
            self._engine.docker("image", "rm", self._tag)
        return self._path


@contextmanager
def outlet(engine: Docker, place: Path, shelf: Shelf, parent: Digest | None) -> Iterator[Outlet]:
    """An outlet for a build on ``parent``; what it collects is gone at the end. ``place`` is for scratch."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".built-") as scratch:
        below = shelf.reference(Path(scratch, "parent"), parent) if parent else ""
        if _exports(engine):
            layout = Path(scratch, "layout")
            shelf.lend(layout, parent)
            yield Outlet(f"type=oci,tar=false,dest={layout},{_PLAIN}", below, engine, "", layout)
        else:
            tag = f"esb-built:{os.getpid()}"
            yield Outlet(f"type=image,name={tag},{_PLAIN}", below, engine, tag, Path(scratch, "built.tar"))


def load(
    engine: Docker,
    place: Path,
    shelf: Shelf,
    images: Mapping[str, Digest],
    held: Collection[Digest] = (),
) -> None:
    """Put images of the shelf into an engine, by the references that they get there.

    ``held`` are layers that the engine has of images that we loaded: it need not be given them again.
    Where it does need one (it lost it meanwhile, or is of another kind), it says so and gets all of them.
    """
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".loaded-") as scratch:
        archive = Path(scratch, "images.tar")
        if held:
            shelf.archive(archive, images, without=held)
            if engine.docker("load", "--quiet", "--input", archive, check=False).code == 0:
                return
        shelf.archive(archive, images)
        engine.docker("load", "--quiet", "--input", archive)


def _exports(engine: Docker) -> bool:
    return IMAGE_STORE in engine.docker("info", "--format", "{{json .DriverStatus}}").stdout
