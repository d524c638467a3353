"""Public images: from a registry's API, or from an OCI layout in a folder, to blobs that a lock names.

Which registry is the machine's business: its address, or the layout's folder, is the mirror ``registry``. A
name without a slash is looked for as it is and below ``library/``. Anonymous tokens are fetched as
registries ask for them; they are sent to the registry alone, never to where it redirects.

Interface: https://github.com/opencontainers/distribution-spec (``spec.md``).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from esb_common.errors import BadInput, NotPossibleHere

from esb_builder.lock.model import Image
from esb_builder.sources import http
from esb_builder.sources.http import Location
from esb_builder.sources.machine import Machine
from esb_builder.store import Blob, Corrupt, Store

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MOST_DOCUMENT = 4 << 20
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_STATUS = "var/lib/dpkg/status"


@dataclass(slots=True)
class Registry:
    """Where the mirror ``registry`` points. Tokens are kept by repository, for this run."""

    machine: Machine
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def resolve(self, reference: str, digest: str, architecture: str) -> Image:
        """The image ``digest`` (an index or a manifest) as blobs of this architecture."""
        name = reference.rpartition(":")[0]
        document = self._document(name, digest)
        pinned = document
        if parsed := _parsed(document, reference).get("manifests"):
            pinned = self._document(name, _of_platform(parsed, architecture, reference))
        manifest = _parsed(pinned, reference)
        return Image(
            reference,
            digest,
            Blob(hashlib.sha256(pinned).hexdigest(), len(pinned)),
            _blob(manifest["config"]),
            tuple(_blob(layer) for layer in manifest["layers"]),
        )

    def locations(self, image: Image, blob: Blob) -> list[Location]:
        """Where a blob of ``image`` can be had; signs in where the registry wants it."""
        name = image.reference.rpartition(":")[0]
        kind = "manifests" if blob == image.manifest else "blobs"
        if self._is_layout:
            return self._layout(f"blobs/sha256/{blob.sha256}")
        self._read(name, f"sha256:{image.manifest.sha256}")
        return [self._at(one, kind, f"sha256:{blob.sha256}") for one in _names(name)]

    def _document(self, name: str, digest: str) -> bytes:
        content = self._read(name, digest)
        if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            raise Corrupt(f"{name}@{digest}: the registry sent another document")
        return content

    def _read(self, name: str, reference: str) -> bytes:
        errors: list[http.Gone | http.Unreachable] = []
        for one in (name,) if self._is_layout else _names(name):
            try:
                return self._signed_in(one, reference)
            except (http.Gone, http.Unreachable) as error:
                errors.append(error)
        raise errors[-1]

    def _signed_in(self, name: str, reference: str) -> bytes:
        web = self.machine.web
        if self._is_layout:
            return http.read(web, self._layout(f"blobs/{reference.replace(':', '/')}")[0], _MOST_DOCUMENT)
        try:
            return http.read(web, self._at(name, "manifests", reference), _MOST_DOCUMENT)
        except http.Unreachable as error:
            if not error.challenge.startswith("Bearer ") or name in self._tokens:
                raise
            self._tokens[name] = self._token(error.challenge)
            return http.read(web, self._at(name, "manifests", reference), _MOST_DOCUMENT)

    def _token(self, challenge: str) -> str:
        asked = dict(_CHALLENGE.findall(challenge))
        query = urlencode({key: asked[key] for key in ("service", "scope") if key in asked})
        answer = json.loads(
            http.read(self.machine.web, Location(f"{asked['realm']}?{query}"), _MOST_DOCUMENT)
        )
        return str(answer.get("token") or answer["access_token"])

    def _at(self, name: str, kind: str, reference: str) -> Location:
        headers = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))}
        if name in self._tokens:
            headers["Authorization"] = f"Bearer {self._tokens[name]}"
        found = self.machine.mirror("registry", f"v2/{name}/{kind}/{reference}")
        if not found:
            raise NotPossibleHere(
                "no image registry is named here",
                "name one: ESB_MIRRORS=registry=ADDRESS, or the folder of an OCI layout",
            )
        return replace(found[0], headers=headers)

    @property
    def _is_layout(self) -> bool:
        return self.machine.mirrors.get("registry", "").startswith("file:")

    def _layout(self, path: str) -> list[Location]:
        return self.machine.mirror("registry", path)


def status_of(image: Image, store: Store) -> str:
    """dpkg's status file in an image whose layers are in the store. BadInput where it has none."""
    for layer in reversed(image.layers):
        with tarfile.open(store.path(layer.sha256)) as content:
            for member in content:
                if member.name.removeprefix("./") == _STATUS and (found := content.extractfile(member)):
                    return io.TextIOWrapper(found, encoding="utf-8").read()
    raise BadInput(f"{image.reference} holds no Debian packages", "take a Debian image as the base")


def _names(name: str) -> tuple[str, ...]:
    return (name,) if "/" in name else (f"library/{name}", name)


def _parsed(document: bytes, reference: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(document)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or not (
        {"manifests"} & parsed.keys() or {"config", "layers"} <= parsed.keys()
    ):
        raise BadInput(f"{reference}: the registry sent something that is no image")
    return parsed


def _of_platform(manifests: list[Mapping[str, Any]], architecture: str, reference: str) -> str:
    for entry in manifests:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return str(entry["digest"])
    raise BadInput(f"{reference} does not exist for linux/{architecture}")


def _blob(descriptor: Mapping[str, Any]) -> Blob:
    return Blob(str(descriptor["digest"]).removeprefix("sha256:"), int(descriptor["size"]))


def layout_files(image: Image) -> Iterator[tuple[str, Blob]]:
    """The blobs of an OCI layout of ``image``, by path."""
    return ((f"blobs/sha256/{blob.sha256}", blob) for blob in image.blobs)
