"""Canonical images on this machine: configurations and layers in the content-addressed store.

Nothing else is kept: an image is named by its configuration's digest, layers are stored
uncompressed under their diffIDs, and manifest, index and archive follow from these by one rule.
The family takes the space of its layers, each once. An archive is written to its end and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_common.errors import BadInput
from esb_common.ids import Digest

from esb_builder import oci
from esb_builder.canonical import document, tape
from esb_builder.canonical.document import Document
from esb_builder.canonical.tape import Item, Opener
from esb_builder.store import Blob, Store

_CHUNK = 1 << 20
_LAYOUT = {"imageLayoutVersion": "1.0.0"}


@dataclass(frozen=True, slots=True)
class Shelf:
    """The images in a store."""

    store: Store

    def layer(self, items: Iterable[Item], of_node: Opener) -> Digest:
        """Write a layer of ``items``; its diffID."""
        self.store.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.store.folder) as scratch:
            written = tape.write(scratch, items, of_node)
            scratch.seek(0)
            self.store.put(iter(lambda: scratch.read(_CHUNK), b""), Blob(written.sha256, written.size))
        return Digest(f"sha256:{written.sha256}")

    def document(self, content: Document) -> Digest:
        """Keep a document; its digest."""
        return Digest(f"sha256:{self.store.add_bytes(document.encode(content)).sha256}")

    def has(self, image: Digest) -> bool:
        """Whether an image is here, whole."""
        return self._path(image).is_file() and all(self._path(one).is_file() for one in self.layers(image))

    def config(self, image: Digest) -> Document:
        """An image's configuration. BadInput where it is not here."""
        path = self._path(image)
        if not path.is_file():
            raise BadInput(f"the image {image} is not in {self.store.folder}", "build it: ./esb build")
        found: Document = json.loads(path.read_bytes())
        return found

    def layers(self, image: Digest) -> list[Digest]:
        """The diffIDs of an image, lowest first."""
        return [Digest(one) for one in self.config(image)["rootfs"]["diff_ids"]]

    def manifest(self, image: Digest) -> bytes:
        """An image's manifest."""
        layers = [(one, self._size(one)) for one in self.layers(image)]
        return document.encode(document.manifest((image, self._size(image)), layers))

    def archive(self, target: Path, images: Mapping[str, Digest], without: Collection[Digest] = ()) -> None:
        """Write images, by the references to load them under, for ``docker load`` and containerd.

        Layers of ``without`` are only named in it, not contained.
        """
        left_out = {_place(one) for one in without}
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.new")
        with aside.open("wb") as out:
            tape.write(out, (item for item in self._members(images) if item.path not in left_out))
        aside.replace(target)

    def layout(self, folder: Path, images: Mapping[str, Digest]) -> None:
        """Write the same into the new ``folder``, layers as hard links where the file system lets it."""
        for item in self._members(images):
            place = folder / item.path
            if item.kind == "directory":
                place.mkdir(parents=True)
            elif isinstance(item.content, Path):
                _link(item.content, place)
            elif isinstance(item.content, bytes):
                place.write_bytes(item.content)

    def reference(self, folder: Path, image: Digest) -> str:
        """Lay an image out in the new ``folder``; where it is, in ``docker buildx build``'s words."""
        self.layout(folder, {"parent:latest": image})
        return f"oci-layout://{folder}@sha256:{hashlib.sha256(self.manifest(image)).hexdigest()}"

    def lend(self, folder: Path, image: Digest | None) -> None:
        """Put an image's layers where an engine that exports a layout into the new ``folder`` finds them."""
        (folder / "blobs/sha256").mkdir(parents=True)
        for one in self.layers(image) if image else ():
            _link(self._path(one), folder / _place(one))

    def _members(self, images: Mapping[str, Digest]) -> list[Item]:
        blobs: dict[str, Item] = {}
        manifests: dict[str, tuple[Digest, int]] = {}
        legacy = []
        for reference, image in sorted(images.items()):
            content = self.manifest(image)
            digest = Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
            manifests[reference] = (digest, len(content))
            layers = self.layers(image)
            blobs |= {_place(one): _file(_place(one), self._path(one)) for one in (image, *layers)}
            blobs[_place(digest)] = _file(_place(digest), content)
            legacy.append(
                {"Config": _place(image), "Layers": [_place(one) for one in layers], "RepoTags": [reference]}
            )
        return [
            *(Item(path, "directory", 0o755, mtime=oci.INSTANT) for path in ("blobs", "blobs/sha256")),
            *blobs.values(),
            _file("index.json", document.encode(document.index(manifests))),
            _file("manifest.json", json.dumps(legacy, sort_keys=True, separators=(",", ":")).encode()),
            _file("oci-layout", document.encode(_LAYOUT)),
        ]

    def _path(self, digest: Digest) -> Path:
        return self.store.path(digest.removeprefix("sha256:"))

    def _size(self, digest: Digest) -> int:
        return self._path(digest).stat().st_size


def _place(digest: Digest) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _file(path: str, content: bytes | Path) -> Item:
    return Item(path, mtime=oci.INSTANT, content=content)


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, place)
