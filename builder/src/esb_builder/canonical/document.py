"""An image's documents as we write them: configuration, manifest, index. Same input, same bytes.

A configuration holds what changes how a container starts, and nothing of the machine or the
engine that built it. Its history has one line a layer, with our mark and the version of the
canonical form, so an image tells by itself whether it is canonical; the mark is not a proof
(another build is).

Format: https://github.com/opencontainers/image-spec (``config.md``, ``manifest.md``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from esb_common.errors import BadInput
from esb_common.ids import Digest

from esb_builder import oci

FORM = 1
"""The version of the canonical form; it rises when the same image would come out with other ids."""

MARK = f"esb canonical {FORM}: "

Document = Mapping[str, Any]

_KEPT = frozenset(
    (
        "Cmd",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Healthcheck",
        "Labels",
        "OnBuild",
        "Shell",
        "StopSignal",
        "User",
        "Volumes",
        "WorkingDir",
    )
)
_OF_THE_MACHINE = frozenset(
    (
        "ArgsEscaped",
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Domainname",
        "Hostname",
        "Image",
        "MacAddress",
        "NetworkDisabled",
        "OpenStdin",
        "StdinOnce",
        "StopTimeout",
        "Tty",
    )
)
_LABELS_OF_ENGINES = frozenset(("io.buildah.version",))
_CREATED = datetime.fromtimestamp(oci.INSTANT, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(document: Document) -> bytes:
    """The one JSON text of a document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def configuration(
    built: Document, name: str, layers: Sequence[tuple[str, Digest]], parent: Document | None
) -> Document:
    """The canonical configuration of an image that an engine ``built``.

    ``layers`` are its own, lowest first: slice and diffID; ``parent`` is the configuration of its parent.
    BadInput where the engine's says something that is unknown here, hence neither kept nor dropped.
    """
    below = parent or {"history": [], "rootfs": {"diff_ids": []}}
    history = [{"created": _CREATED, "created_by": f"{MARK}{name} {one}"} for one, _ in layers]
    return {
        "architecture": _text(built, "architecture"),
        "config": _settings(built.get("config") or {}),
        "created": _CREATED,
        "history": [*below["history"], *history],
        "os": _text(built, "os"),
        "rootfs": {
            "diff_ids": [*below["rootfs"]["diff_ids"], *(diff_id for _, diff_id in layers)],
            "type": "layers",
        },
    }


def is_canonical(config: Document) -> bool:
    """Whether a configuration is in the present canonical form and says that its layers are ours."""
    history = config.get("history") or []
    layers = (config.get("rootfs") or {}).get("diff_ids") or []
    ours = [one for one in history if str(one.get("created_by", "")).startswith(MARK)]
    return config.get("created") == _CREATED and len(ours) == len(history) == len(layers)


def manifest(config: tuple[Digest, int], layers: Sequence[tuple[Digest, int]]) -> Document:
    """The manifest of a configuration and layers, each with its size in bytes."""
    return {
        "config": _descriptor(oci.CONFIG, *config),
        "layers": [_descriptor(oci.LAYER, *one) for one in layers],
        "mediaType": oci.MANIFEST,
        "schemaVersion": 2,
    }


def index(manifests: Mapping[str, tuple[Digest, int]]) -> Document:
    """An OCI index of manifests by the references that engines load them under (``name:tag``)."""
    return {
        "manifests": [
            _descriptor(oci.MANIFEST, *one)
            | {
                "annotations": {
                    "io.containerd.image.name": f"docker.io/library/{reference}",
                    "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
                }
            }
            for reference, one in sorted(manifests.items())
        ],
        "mediaType": oci.INDEX,
        "schemaVersion": 2,
    }


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"digest": digest, "mediaType": media_type, "size": size}


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in config.items():
        if value and name not in _KEPT | _OF_THE_MACHINE:
            raise BadInput(f"the image's configuration has config.{name}, which is not known here")
    kept = {name: value for name, value in config.items() if value and name in _KEPT}
    if "Labels" in kept:
        kept["Labels"] = {k: v for k, v in kept["Labels"].items() if k not in _LABELS_OF_ENGINES}
    return kept


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise BadInput(f"the image's configuration says no {name}")
    return value
