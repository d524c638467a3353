"""Image archives for tests: an OCI layout in a tar file, and docker's older form; wrong on demand."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(**files: str) -> bytes:
    """An uncompressed layer with these files at its top."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    return packed.getvalue()


def encode(content: Any) -> bytes:
    return json.dumps(content).encode()


class Layout:
    """The members of an OCI layout, to be changed before they are written."""

    def __init__(self, *layers: bytes, compress: bool = False) -> None:
        self.members: dict[str, bytes] = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"})}
        self.diff_ids = [digest(one) for one in layers]
        packed = [gzip.compress(one, mtime=0) if compress else one for one in layers]
        kind = f"{OCI}.layer.v1.tar" + ("+gzip" if compress else "")
        self.config = self.blob(
            {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": self.diff_ids}}, "config"
        )
        self.layers = [self.blob(one, kind) for one in packed]
        self.set_manifest()

    def blob(self, content: Any, kind: str) -> dict[str, Any]:
        """Add a blob; its descriptor."""
        data = content if isinstance(content, bytes) else encode(content)
        self.members["blobs/sha256/" + digest(data).removeprefix("sha256:")] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def set_manifest(self, **platform: str) -> dict[str, Any]:
        """Point the index at a manifest of what the layout holds now; its descriptor."""
        content = {"schemaVersion": 2, "config": self.config, "layers": self.layers}
        manifest = self.blob(content, f"{OCI}.manifest.v1+json")
        self.set_index(manifest | ({"platform": platform} if platform else {}))
        return manifest

    def set_index(self, *manifests: Mapping[str, Any]) -> None:
        self.members["index.json"] = encode({"schemaVersion": 2, "manifests": list(manifests)})

    def write(self, path: Path) -> Path:
        return write(path, self.members)


def docker_save(*layers: bytes) -> dict[str, bytes]:
    """The members that older ``docker save`` writes."""
    config = encode({"rootfs": {"diff_ids": [digest(one) for one in layers]}})
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": digest(config).removeprefix("sha256:") + ".json", "Layers": names}]
    return {
        manifest[0]["Config"]: config,  # type: ignore[dict-item]
        **dict(zip(names, layers, strict=True)),
        "manifest.json": encode(manifest),
    }


def write(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path
