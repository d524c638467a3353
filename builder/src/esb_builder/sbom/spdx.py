"""An inventory as SPDX 2.3. https://spdx.github.io/spdx-spec/v2.3/

A licence that SPDX does not know is listed as its package names it; the text lies in the image.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from esb_builder.sbom import licences
from esb_builder.sbom.component import Component, Kind
from esb_builder.sbom.inventory import FORM, TOOL, WRITTEN, Inventory

_NOTHING = "NOASSERTION"
_DOCUMENT, _IMAGE = "SPDXRef-DOCUMENT", "SPDXRef-Image"
_PURPOSES: dict[Kind, str] = {
    "application": "APPLICATION",
    "library": "LIBRARY",
    "operating-system": "OPERATING-SYSTEM",
}


def document(inventory: Inventory) -> dict[str, Any]:
    """The bill of materials."""
    packages = [_package(one) for one in inventory.components]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": inventory.image,
        "documentNamespace": f"urn:uuid:{inventory.uuid('spdx')}",
        "creationInfo": {"created": WRITTEN, "creators": [f"Tool: {TOOL}-{FORM}"]},
        "packages": [_image(inventory), *packages],
        "relationships": _relationships(inventory),
        **_extracted(inventory),
    }


def _image(inventory: Inventory) -> dict[str, Any]:
    return {
        **_described(_IMAGE, inventory.image, inventory.purl),
        "versionInfo": inventory.id,
        "checksums": _checksums(inventory.id.removeprefix("sha256:")),
        "primaryPackagePurpose": "CONTAINER",
    }


def _package(one: Component) -> dict[str, Any]:
    told: dict[str, Any] = {
        "versionInfo": one.version,
        "supplier": f"Organization: {one.supplier}" if one.supplier else _NOTHING,
        "checksums": _checksums(one.sha256),
        "licenseDeclared": one.licence or _NOTHING,
        "primaryPackagePurpose": _PURPOSES[one.kind],
        "sourceInfo": f"found in /{', /'.join(one.places)}" if one.places else "",
    }
    described = _described(_id(one.purl), one.name, one.purl)
    return described | {name: value for name, value in told.items() if value}


def _described(identity: str, name: str, purl: str) -> dict[str, Any]:
    return {
        "SPDXID": identity,
        "name": name,
        "downloadLocation": _NOTHING,
        "filesAnalyzed": False,
        "licenseConcluded": _NOTHING,
        "licenseDeclared": _NOTHING,
        "copyrightText": _NOTHING,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl,
            }
        ],
    }


def _checksums(sha256: str) -> list[dict[str, str]]:
    return [{"algorithm": "SHA256", "checksumValue": sha256}] if sha256 else []


def _id(purl: str) -> str:
    """An identifier of the letters that SPDX allows; the hash keeps apart what they would make equal."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", purl.removeprefix("pkg:").partition("?")[0])
    return f"SPDXRef-{readable}-{hashlib.sha256(purl.encode()).hexdigest()[:12]}"


def _relationships(inventory: Inventory) -> list[dict[str, str]]:
    known = {one.purl for one in inventory.components}
    found = [(_DOCUMENT, "DESCRIBES", _IMAGE)]
    found += [(_IMAGE, "CONTAINS", _id(one.purl)) for one in inventory.components]
    found += [
        (_id(one.purl), "DEPENDS_ON", _id(need))
        for one in inventory.components
        for need in one.needs
        if need in known
    ]
    return [
        {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
        for one, kind, other in found
    ]


def _extracted(inventory: Inventory) -> dict[str, Any]:
    named = sorted({name for one in inventory.components for name in licences.references(one.licence)})
    if not named:
        return {}
    return {"hasExtractedLicensingInfos": [_licence(name) for name in named]}


def _licence(name: str) -> dict[str, str]:
    called = name.removeprefix(licences.REFERENCE)
    text = (
        f"Called {called} by its package; the text is in the image, below /usr/share/doc or in a dist-info."
    )
    return {"licenseId": name, "name": called, "extractedText": text}
