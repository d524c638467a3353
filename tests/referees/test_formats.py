"""CycloneDX's and SPDX's own validators on our bills; and that they would object."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from esb_builder import locked, sbom, verify
from esb_builder.archive import Archive
from esb_builder.sbom import FORMATS, Inventory, Pins
from referees.conftest import ROOT, Built, Referees
from stocked_families import archives as stocked_archives
from stocked_families import stocked

pytestmark = pytest.mark.network

Document = dict[str, Any]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[Inventory]:
    """Bills of the family in miniature."""
    found = []
    for path in stocked_archives(tmp_path_factory.mktemp("small"), stocked()):
        with Archive(path) as archive:
            found += [sbom.inventory(one, Pins()) for one in verify.subjects([archive]).values()]
    return found


def written(place: Path, inventories: list[Inventory]) -> list[Path]:
    paths = []
    for one in inventories:
        for form, writer in FORMATS.items():
            paths.append(place / f"{one.image.replace(':', '-')}.{writer.ending}")
            paths[-1].write_text(json.dumps(FORMATS[form].document(one)))
    return paths


def test_bills_of_the_family_in_miniature_are_valid(
    small: list[Inventory], referees: Referees, tmp_path: Path
) -> None:
    paths = written(tmp_path, small)
    assert referees.bills(*paths) == {path: [] for path in paths}
    assert len(paths) == 14


@pytest.mark.engine
def test_bills_of_the_built_images_are_valid(
    built: Built, archives: dict[str, Path], referees: Referees, tmp_path: Path
) -> None:
    pins = Pins.of(locked.read(ROOT))
    inventories = []
    for path in archives.values():
        with Archive(path) as archive:
            inventories += [sbom.inventory(one, pins) for one in verify.subjects([archive]).values()]
    assert {one.image: one.id for one in inventories} == built.ids
    paths = written(tmp_path, inventories)
    assert referees.bills(*paths) == {path: [] for path in paths}


def _drop_version(document: Document) -> None:
    del document["specVersion"]


def _add_member(document: Document) -> None:
    document["components"][0]["colour"] = "red"


def _other_licence(document: Document) -> None:
    document["components"][0]["licenses"] = [{"license": {"id": "GPL-2+"}}]


def _dangling(document: Document) -> None:
    document["relationships"][0]["relatedSpdxElement"] = "SPDXRef-Nothing"


def _no_licence_text(document: Document) -> None:
    document["hasExtractedLicensingInfos"] = []


def _short_hash(document: Document) -> None:
    document["packages"][0]["checksums"][0]["checksumValue"] = "abc"


@pytest.mark.parametrize(
    ("form", "spoil"),
    [
        ("cyclonedx", _drop_version),
        ("cyclonedx", _add_member),
        ("cyclonedx", _other_licence),
        ("spdx", _dangling),
        ("spdx", _no_licence_text),
        ("spdx", _short_hash),
    ],
)
def test_a_spoiled_bill_is_objected_to(
    form: sbom.Format,
    spoil: Callable[[Document], None],
    small: list[Inventory],
    referees: Referees,
    tmp_path: Path,
) -> None:
    document = FORMATS[form].document(next(one for one in small if one.image == "esb-gateway"))
    spoil(document)
    path = tmp_path / f"spoiled.{FORMATS[form].ending}"
    path.write_text(json.dumps(document))
    assert referees.bills(path)[path] != []
