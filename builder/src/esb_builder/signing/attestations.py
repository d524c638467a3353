"""Signed statements about images, in a folder named by each image's id, beside the signer's public key.

Three a piece: how it was built, and what it holds in either format. Who verifies brings the fingerprint; the
public key beside the statements only saves them from carrying a key, and counts where it has that
fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from esb_common.errors import BadInput, EsbError, Misuse
from esb_common.ids import Digest

from esb_builder import sbom
from esb_builder.ca import files
from esb_builder.signing import dsse, keys, statement
from esb_builder.signing.keys import Signer, Verifier
from esb_builder.signing.statement import PAYLOAD, PROVENANCE, Statement
from esb_builder.verify.verdict import Finding, Verdict

ROW, SAYS = "signed", "the trusted key attests how it was built and what it holds"
PUBLIC_KEY = "signer.pem"
FILES: Mapping[str, str] = {
    PROVENANCE: "provenance.dsse.json",
    **{one.predicate: f"{name}.dsse.json" for name, one in sbom.FORMATS.items()},
}
"""File by what a statement says (its predicate type); an image that is signed has all of them."""

UNLOCKED = "inputs not locked"
_MEND = "./esb sign"


def folder(home: Path, image: Digest) -> Path:
    """Where an image's statements lie."""
    algorithm, _, value = image.partition(":")
    if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise BadInput(f"{image} is not an image's id")
    return home / "attestations" / value


def write(home: Path, signer: Signer, statements: Iterable[Statement]) -> list[Path]:
    """Sign statements and put them in place; their paths. What was there before is replaced."""
    written = []
    for one in statements:
        place = folder(home, one.id) / FILES[one.kind]
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write(place.parent / PUBLIC_KEY, signer.verifier.pem, 0o644)
        files.write(place, dsse.sign(one.encoded(), PAYLOAD, signer), 0o644)
        written.append(place)
    return written


def trusted(fingerprint: str | None) -> str:
    """The fingerprint to verify by. Misuse where none is given: a key beside a signature proves nothing."""
    if not fingerprint:
        raise Misuse(
            "signatures are only worth something against a fingerprint that you already trust",
            "verify with: --signatures --trust FINGERPRINT; who signed reads it with: ./esb key show",
        )
    return keys.fingerprint(fingerprint)


def judge(home: Path, images: Mapping[str, Digest], fingerprint: str | None) -> list[Verdict]:
    """Whether the key with that fingerprint signed all statements about these very images."""
    wanted = trusted(fingerprint)
    return [_verdict(home, name, image, wanted) for name, image in images.items()]


def _verdict(home: Path, name: str, image: Digest, fingerprint: str) -> Verdict:
    place = folder(home, image)
    if not place.is_dir():
        return Verdict(ROW, SAYS, name, (Finding(f"{image} is not signed", str(place), f"{_MEND} {name}"),))
    try:
        verifier = _verifier(place, fingerprint)
    except EsbError as error:
        return Verdict(ROW, SAYS, name, (Finding(error.fact, str(place / PUBLIC_KEY), error.hint or _MEND),))
    found: dict[str, Statement] = {}
    findings = tuple(_findings(place, name, image, verifier, found))
    return Verdict(ROW, SAYS, name, findings, note=_note(found))


def _findings(
    place: Path, name: str, image: Digest, verifier: Verifier, found: dict[str, Statement]
) -> Iterator[Finding]:
    """What is wrong with each statement; those that are right are put into ``found``."""
    for kind, file in FILES.items():
        try:
            found[kind] = _statement(place / file, name, image, kind, verifier)
        except EsbError as error:
            yield Finding(error.fact, str(place / file), f"{_MEND} {name}")


def _verifier(place: Path, fingerprint: str) -> Verifier:
    path = place / PUBLIC_KEY
    pem = files.read(path)
    if pem is None:
        raise BadInput("the signer's public key is missing", _MEND)
    verifier = keys.verifier(pem, PUBLIC_KEY)
    if verifier.fingerprint != fingerprint:
        raise BadInput(
            f"signed with the key {verifier.fingerprint}, not with the trusted {fingerprint}",
            "ask who signed for the right fingerprint (./esb key show), or do not trust these images",
        )
    return verifier


def _statement(path: Path, name: str, image: Digest, kind: str, verifier: Verifier) -> Statement:
    envelope = files.read(path)
    if envelope is None:
        raise BadInput(f"the statement {path.name} is missing")
    found = statement.read(dsse.opened(envelope, PAYLOAD, verifier, path.name), path.name)
    if found.id != image:
        raise BadInput(f"{path.name} is about the image {found.id}, not about {image}")
    if (found.image, found.kind) != (name, kind):
        raise BadInput(f"{path.name} says {found.kind} of {found.image}, not {kind} of {name}")
    return found


def _note(found: Mapping[str, Statement]) -> str:
    if PROVENANCE not in found:
        return ""
    built = found[PROVENANCE].predicate.get("buildDefinition", {})
    return "" if built.get("internalParameters", {}).get("locked") is True else UNLOCKED
