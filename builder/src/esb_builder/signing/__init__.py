"""Signed provenance: who built an image, from what, and what is in it, told so that a stranger can check.

``keys`` is the key and its fingerprint, ``dsse`` the envelope, ``statement`` what is said, ``inputs`` where
that comes from, ``attestations`` where it lies and how it is judged. Nothing needs a network or a third
party; what others must have beforehand is one fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from esb_builder import sbom
from esb_builder.artefacts import Artefacts
from esb_builder.locked import Locked
from esb_builder.signing import inputs
from esb_builder.signing.attestations import judge, trusted, write
from esb_builder.signing.statement import Statement, provenance
from esb_builder.verify.subject import Subject

__all__ = ["Statement", "judge", "statements", "trusted", "write"]


def statements(
    subject: Subject, home: Path, locked: Locked | None, given: Artefacts | None
) -> Iterator[Statement]:
    """All that is said of an image. BadInput where this machine has no record of its build."""
    name, image = subject.name, subject.image.id
    yield provenance(inputs.of(name, image, home, locked, given))
    found = sbom.inventory(subject, sbom.Pins.of(locked.lock if locked else None))
    for writer in sbom.FORMATS.values():
        yield Statement(name, image, writer.predicate, writer.document(found))
