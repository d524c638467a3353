"""An image's components, and the names that documents about it carry."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from esb_common.ids import Digest

from esb_builder import oci
from esb_builder.sbom.component import Component, purl

FORM = 1
"""The version of what we write; it rises when the same image would get another document."""

TOOL = "esb-sbom"
WRITTEN = datetime.fromtimestamp(oci.INSTANT, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
"""The instant of every build: a document says what an image is, not when somebody asked."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """``components`` are sorted by package URL, each once."""

    image: str
    id: Digest
    architecture: str
    components: tuple[Component, ...]

    @property
    def purl(self) -> str:
        """The image's own package URL."""
        return purl("oci", self.image.partition(":")[0], self.id, arch=self.architecture)

    def uuid(self, form: str) -> str:
        """The UUID of the document in this ``form``: the same image has the same one."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.id} {form} {FORM}"))
