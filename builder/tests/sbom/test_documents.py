"""Both formats: the same bytes each time, and nothing that points nowhere."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from esb_builder import sbom, verify
from esb_builder.archive import Archive
from esb_builder.sbom import FORMATS, Inventory, Pins
from esb_builder.sbom.component import purl
from hypothesis import given
from hypothesis import strategies as st
from stocked_families import archives, stocked

GATEWAY = "esb-gateway"


def inventory(place: Path) -> Inventory:
    (path,) = archives(place, {GATEWAY: stocked()[GATEWAY]})
    with Archive(path) as archive:
        return sbom.inventory(verify.subjects([archive])[GATEWAY], Pins({("mawk", "1.3.4-1"): "a" * 64}))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    return inventory(tmp_path_factory.mktemp("image"))


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_image_gives_the_same_bytes(form: sbom.Format, found: Inventory, tmp_path: Path) -> None:
    def text(one: Inventory) -> str:
        return json.dumps(FORMATS[form].document(one))

    assert text(found) == text(inventory(tmp_path))
    assert str(tmp_path) not in text(found)


def test_a_cyclonedx_document_points_at_what_it_has(found: Inventory) -> None:
    document = FORMATS["cyclonedx"].document(found)
    names = [one["bom-ref"] for one in document["components"]]
    assert len(names) == len(set(names)) == len(found.components)
    assert {one["ref"] for one in document["dependencies"]} == {*names, found.purl}
    assert {need for one in document["dependencies"] for need in one.get("dependsOn", [])} == set(names)
    assert names == sorted(names)
    assert uuid.UUID(document["serialNumber"]).version == 5
    assert document["metadata"]["timestamp"] == "2025-01-01T00:00:00Z"
    assert document["metadata"]["component"]["version"] == found.id


def test_an_spdx_document_points_at_what_it_has(found: Inventory) -> None:
    document = FORMATS["spdx"].document(found)
    names = [one["SPDXID"] for one in document["packages"]]
    assert len(names) == len(set(names)) == len(found.components) + 1
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", name) for name in names)
    ends = {one[end] for one in document["relationships"] for end in ("spdxElementId", "relatedSpdxElement")}
    assert ends == {*names, "SPDXRef-DOCUMENT"}
    used = set(re.findall(r"LicenseRef-[\w.-]+", json.dumps(document["packages"])))
    assert used == {one["licenseId"] for one in document["hasExtractedLicensingInfos"]} != set()


def test_both_say_the_same(found: Inventory) -> None:
    cyclonedx, spdx = (FORMATS[form].document(found) for form in ("cyclonedx", "spdx"))
    one = {(part["purl"], part.get("version", "")) for part in cyclonedx["components"]}
    other = {(_purl(part), part.get("versionInfo", "")) for part in spdx["packages"][1:]}
    assert one == other
    hashed = [part["hashes"] for part in cyclonedx["components"] if part["name"] == "mawk"]
    assert hashed == [[{"alg": "SHA-256", "content": "a" * 64}]]


def test_another_image_is_another_document(found: Inventory) -> None:
    other = Inventory(found.image, type(found.id)("sha256:" + "0" * 64), "amd64", found.components)
    assert (
        FORMATS["cyclonedx"].document(other)["serialNumber"]
        != FORMATS["cyclonedx"].document(found)["serialNumber"]
    )


@given(st.text(min_size=1), st.text())
def test_a_package_url_keeps_any_name_in_one_segment(name: str, version: str) -> None:
    url = purl("generic", name, version, arch="amd64")
    path = url.removeprefix("pkg:generic/").partition("?")[0]
    assert re.fullmatch(r"[A-Za-z0-9._~:%-]+(@[A-Za-z0-9._~:%-]+)?", path)


def _purl(package: dict[str, Any]) -> str:
    (reference,) = package["externalRefs"]
    return str(reference["referenceLocator"])
