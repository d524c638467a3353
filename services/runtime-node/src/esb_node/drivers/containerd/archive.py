"""Reading an image archive: an OCI layout in a tar file, or what ``docker save`` writes.

Only the archive's table of contents and its JSON are read into memory; a layer is a stretch of the file.
What the archive says of itself is believed only as far as a digest confirms it: the configuration's here,
each layer's by containerd when it is stored and again when it is unpacked.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
"""

from __future__ import annotations

import json
import platform
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from esb_common import ids
from esb_common.errors import BadInput

_MOST_JSON = 4 << 20
_MOST_LAYERS = 127
"""More cannot be stacked by overlayfs in one mount call's options."""
_MOST_NESTED = 3
"""Indexes in indexes: a layout's own, an image's by platform."""

_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_TAR, _TAR_GZIP = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"
_GZIP_MAGIC = b"\x1f\x8b"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Layer:
    """``size`` bytes of the archive from ``offset``, named ``digest``; unpacked they are ``diff_id``."""

    digest: ids.Digest
    diff_id: ids.Digest
    media_type: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    """What an archive holds. ``config`` is the image's identity; layers are in order, the base first."""

    config: ids.Digest
    layers: tuple[Layer, ...]


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The name of each stack of layers, from the first alone to all of them.

    https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md#layer-chainid
    """
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(ids.digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def read_archive(file: BinaryIO) -> Image:
    """The image in ``file``; BadInput where it is no archive, is damaged, or holds not exactly one image."""
    archive = _Archive(file)
    try:
        if "index.json" in archive.entries:
            return _oci_image(archive, archive.json("index.json"), _MOST_NESTED)
        if "manifest.json" in archive.entries:
            return _docker_image(archive)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise BadInput(f"image archive: its description is malformed: {error!r}") from None
    raise BadInput("image archive: neither index.json nor manifest.json in it", "write it with `esb build`")


class _Archive:
    """A tar file's regular members by name, and where each lies."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                self.entries: Mapping[str, tuple[int, int]] = {
                    member.name.removeprefix("./"): (member.offset_data, member.size)
                    for member in tar
                    if member.isreg()
                }
                end = tar.offset
        except tarfile.TarError as error:
            raise BadInput(f"image archive: not a tar file: {error}") from None
        if end > file.seek(0, 2):
            raise BadInput(
                "image archive: it ends in the middle of a member", "it was not written to its end"
            )

    def where(self, name: str) -> tuple[int, int]:
        if name not in self.entries:
            raise BadInput(f"image archive: {name} is missing")
        offset, size = self.entries[name]
        if offset + size > self._file.seek(0, 2):
            raise BadInput(f"image archive: {name} is cut off", "the archive was not written to its end")
        return offset, size

    def read(self, name: str) -> bytes:
        offset, size = self.where(name)
        if size > _MOST_JSON:
            raise BadInput(f"image archive: {name} has {size} bytes, more than a description needs")
        self._file.seek(offset)
        return self._file.read(size)

    def starts_with(self, name: str, magic: bytes) -> bool:
        self._file.seek(self.where(name)[0])
        return self._file.read(len(magic)) == magic

    def json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def blob(self, digest: ids.Digest) -> Any:
        """A JSON blob of an OCI layout, its digest confirmed."""
        content = self.read(_blob_name(digest))
        _confirm(content, digest)
        return json.loads(content)


def _confirm(content: bytes, digest: ids.Digest) -> None:
    if ids.digest_of(content) != digest:
        raise BadInput(
            f"image archive: {digest} has another content", "the archive is damaged; write it again"
        )


def _blob_name(digest: ids.Digest) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


# --- OCI layout -------------------------------------------------------------------------


def _oci_image(archive: _Archive, index: Any, nested_left: int) -> Image:
    chosen = list(_for_this_machine(index["manifests"]))
    if len(chosen) != 1:
        raise BadInput(
            f"image archive: {len(chosen)} images for {_architecture()} in it, where one is needed",
            "save one image into one archive",
        )
    described = archive.blob(ids.digest(chosen[0]["digest"]))
    if chosen[0].get("mediaType") in _INDEX_TYPES:
        if not nested_left:
            raise BadInput("image archive: its indexes are nested too deeply")
        return _oci_image(archive, described, nested_left - 1)
    return _image_of_manifest(archive, described)


def _for_this_machine(manifests: Sequence[Any]) -> Iterator[Any]:
    """Manifests without a platform, or with ours; attestations name the platform ``unknown``."""
    for manifest in manifests:
        said = manifest.get("platform") or {}
        if (said.get("os", "linux"), said.get("architecture", _architecture())) == ("linux", _architecture()):
            yield manifest


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _image_of_manifest(archive: _Archive, manifest: Any) -> Image:
    config = ids.digest(manifest["config"]["digest"])
    diff_ids = _diff_ids(archive.blob(config))
    described = manifest["layers"]
    _same_number(len(described), len(diff_ids))
    layers = (_oci_layer(archive, layer, diff_id) for layer, diff_id in zip(described, diff_ids, strict=True))
    return Image(config, tuple(layers))


def _oci_layer(archive: _Archive, described: Any, diff_id: ids.Digest) -> Layer:
    digest = ids.digest(described["digest"])
    offset, size = archive.where(_blob_name(digest))
    if size != described["size"]:
        raise BadInput(f"image archive: {digest} has {size} bytes, not {described['size']}")
    return Layer(digest, diff_id, str(described["mediaType"]), offset, size)


# --- docker save ------------------------------------------------------------------------


def _docker_image(archive: _Archive) -> Image:
    manifests = archive.json("manifest.json")
    if len(manifests) != 1:
        raise BadInput(
            f"image archive: {len(manifests)} images in it, where one is needed",
            "save one image into one archive",
        )
    content = archive.read(manifests[0]["Config"])
    config = ids.digest("sha256:" + manifests[0]["Config"].rpartition("/")[2].removesuffix(".json"))
    _confirm(content, config)
    names, diff_ids = manifests[0]["Layers"], _diff_ids(json.loads(content))
    _same_number(len(names), len(diff_ids))
    layers = (_docker_layer(archive, name, diff_id) for name, diff_id in zip(names, diff_ids, strict=True))
    return Image(config, tuple(layers))


def _docker_layer(archive: _Archive, name: str, diff_id: ids.Digest) -> Layer:
    """A layer named by its blob, or (older archives) lying as ``<id>/layer.tar``: then it is uncompressed."""
    offset, size = archive.where(name)
    digest = ids.digest("sha256:" + name.rpartition("/")[2]) if name.startswith("blobs/") else diff_id
    media_type = _TAR_GZIP if archive.starts_with(name, _GZIP_MAGIC) else _TAR
    return Layer(digest, diff_id, media_type, offset, size)


# --- both -------------------------------------------------------------------------------


def _diff_ids(config: Any) -> list[ids.Digest]:
    diff_ids = [ids.digest(text) for text in config["rootfs"]["diff_ids"]]
    if not 1 <= len(diff_ids) <= _MOST_LAYERS:
        raise BadInput(f"image archive: {len(diff_ids)} layers, outside 1 to {_MOST_LAYERS}")
    return diff_ids


def _same_number(layers: int, diff_ids: int) -> None:
    if layers != diff_ids:
        raise BadInput(f"image archive: {layers} layers, but its configuration names {diff_ids}")


def layer_chunks(file: BinaryIO, layer: Layer, step: int = 1 << 20) -> Iterator[bytes]:
    """A layer's bytes, at most ``step`` at a time."""
    file.seek(layer.offset)
    left = layer.size
    while left:
        chunk = file.read(min(step, left))
        if not chunk:
            raise BadInput(
                f"image archive: {layer.digest} is cut off", "the archive changed while it was read"
            )
        left -= len(chunk)
        yield chunk
