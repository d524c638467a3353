"""An inventory as CycloneDX 1.6. https://cyclonedx.org/docs/1.6/json/"""

from __future__ import annotations

from typing import Any

from esb_builder.sbom import licences
from esb_builder.sbom.component import Component
from esb_builder.sbom.inventory import FORM, TOOL, WRITTEN, Inventory


def document(inventory: Inventory) -> dict[str, Any]:
    """The bill of materials."""
    known = {one.purl for one in inventory.components}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{inventory.uuid('cyclonedx')}",
        "version": 1,
        "metadata": {
            "timestamp": WRITTEN,
            "tools": {"components": [{"type": "application", "name": TOOL, "version": str(FORM)}]},
            "component": _image(inventory),
        },
        "components": [_component(one) for one in inventory.components],
        "dependencies": [
            {"ref": inventory.purl, "dependsOn": sorted(known)},
            *(_needs(one, known) for one in inventory.components),
        ],
    }


def _image(inventory: Inventory) -> dict[str, Any]:
    return {
        "type": "container",
        "bom-ref": inventory.purl,
        "name": inventory.image,
        "version": inventory.id,
        "purl": inventory.purl,
        "hashes": _hashes(inventory.id.removeprefix("sha256:")),
    }


def _component(one: Component) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": one.kind, "bom-ref": one.purl, "name": one.name}
    told = {
        "version": one.version,
        "purl": one.purl,
        "supplier": {"name": one.supplier} if one.supplier else None,
        "licenses": [_licence(one.licence)] if one.licence else None,
        "hashes": _hashes(one.sha256),
        "properties": _properties(one),
        "evidence": {"occurrences": [{"location": f"/{place}"} for place in one.places]},
    }
    return facts | {name: value for name, value in told.items() if value}


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}] if sha256 else []


def _licence(expression: str) -> dict[str, Any]:
    if licences.is_known(expression):
        return {"license": {"id": expression, "acknowledgement": "declared"}}
    return {"expression": expression, "acknowledgement": "declared"}


def _properties(one: Component) -> list[dict[str, str]]:
    told = {"esb:layer": str(one.layer), "esb:source": one.source}
    return [{"name": name, "value": value} for name, value in told.items() if value]


def _needs(one: Component, known: set[str]) -> dict[str, Any]:
    needs = [need for need in one.needs if need in known]
    return {"ref": one.purl, **({"dependsOn": needs} if needs else {})}
