"""Writes OCI images by hand: the same entries give the same bytes on every machine.

A layer is an uncompressed tar, because compressed bytes change with the compressor's version
while a diffID does not. Headers hold only what we say: entries in the order of their paths,
one instant for all of them, numeric owners, no names of users, PAX records only where a path
needs them. An image layout is a folder that BuildKit takes as ``oci-layout://FOLDER@DIGEST``.

Format: https://github.com/opencontainers/image-spec (``image-layout.md``, ``layer.md``).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from esb_common.ids import Digest

INSTANT = 1735689600
"""SOURCE_DATE_EPOCH of every build, in seconds: not a clock, only a constant that no machine changes."""

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
_CHUNK = 1 << 20

Kind = Literal["file", "directory", "symlink", "hardlink"]
_TAR_TYPES: Mapping[Kind, bytes] = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a layer. ``path`` has no leading slash; ``target`` is a link's; ``content`` a file's."""

    path: str
    kind: Kind = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: bytes | Path = b""
    target: str = ""


def write_layer(out: IO[bytes], entries: Iterable[Entry]) -> None:
    """Write ``entries`` as one canonical tar, sorted by path."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries, key=lambda one: one.path.encode()):
            _add(tar, entry)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.path)
    member.type = _TAR_TYPES[entry.kind]
    member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
    member.mtime, member.linkname = INSTANT, entry.target
    if entry.kind != "file":
        tar.addfile(member)
    elif isinstance(entry.content, bytes):
        member.size = len(entry.content)
        tar.addfile(member, io.BytesIO(entry.content))
    else:
        member.size = entry.content.stat().st_size
        with entry.content.open("rb") as content:
            tar.addfile(member, content)


def entries_below(folder: Path, at: str) -> Iterator[Entry]:
    """Everything below ``folder`` as entries below ``at``, owned by root, modes made 0755 or 0644."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            inside = f"{at}/{path.relative_to(folder)}" if at else str(path.relative_to(folder))
            yield _entry_of(path, inside)


def _entry_of(path: Path, inside: str) -> Entry:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return Entry(inside, "symlink", 0o777, target=str(path.readlink()))
    if stat.S_ISDIR(mode):
        return Entry(inside, "directory", 0o755)
    return Entry(inside, "file", 0o755 if mode & 0o100 else 0o644, content=path)


def write_image(
    folder: Path, layers: Sequence[Path], config: Mapping[str, Any] | None = None, name: str = ""
) -> Digest:
    """Write a layout of one image into the new ``folder`` and return its manifest's digest.

    ``layers`` are tar files, lowest first; ``config`` is the image configuration's ``config``
    member (Env, User, Labels …); ``name`` is annotated as the image's name where given.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    stored = [_store_file(blobs, layer) for layer in layers]
    document = {
        "architecture": architecture(),
        "config": dict(config or {}),
        "created": "2025-01-01T00:00:00Z",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in stored]},
    }
    configured = _store(blobs, document)
    manifest = _store(
        blobs,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, *configured),
            "layers": [_descriptor(LAYER, *one) for one in stored],
        },
    )
    write_index(folder, *manifest, name)
    return manifest[0]


def write_index(folder: Path, manifest: Digest, size: int, name: str = "") -> None:
    """Make a folder of blobs a layout of the one image that ``manifest`` names."""
    entry = _descriptor(MANIFEST, manifest, size)
    if name:
        entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    _write_json(folder / "index.json", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    _write_json(folder / "oci-layout", {"imageLayoutVersion": "1.0.0"})


def write_archive(out: Path, layout: Path) -> None:
    """Pack a layout into one tar, as ``docker save`` does (without its legacy index)."""
    with out.open("wb") as stream:
        write_layer(stream, entries_below(layout, ""))


def architecture() -> str:
    """This machine's architecture in OCI's (Go's) words."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _store(blobs: Path, document: Mapping[str, Any]) -> tuple[Digest, int]:
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    value = hashlib.sha256(content).hexdigest()
    (blobs / value).write_bytes(content)
    return Digest(f"sha256:{value}"), len(content)


def _store_file(blobs: Path, source: Path) -> tuple[Digest, int]:
    with source.open("rb") as content:
        value = hashlib.file_digest(content, "sha256").hexdigest()
    shutil.copyfile(source, blobs / value)
    return Digest(f"sha256:{value}"), source.stat().st_size


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
