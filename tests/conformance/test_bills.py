"""Bills and signed provenance of the built family: complete by dpkg's own word, every input named."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conformance.conftest import ROOT, Workbench
from esb_builder import artefacts, locked, plan, sbom, signing, verify
from esb_builder.archive import Archive
from esb_builder.lock import recipes
from esb_builder.locked import Locked
from esb_builder.sbom import Inventory, Pins
from esb_builder.signing import attestations, keys
from esb_builder.signing.statement import PROVENANCE
from esb_builder.verify import Subject
from esb_common.ids import Digest

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def family(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Subject]]:
    """The built images, from one archive."""
    path = tmp_path_factory.mktemp("family") / "family.tar"
    ids = {plan.FAMILY[name].reference: Digest(image) for name, image in bench.ids.items()}
    bench.shop.shelf.archive(path, ids)
    with Archive(path) as archive:
        yield verify.subjects([archive])
    path.unlink()


@pytest.fixture(scope="module")
def bills(family: Mapping[str, Subject]) -> Mapping[str, Inventory]:
    pins = Pins.of(locked.read(ROOT))
    return {name: sbom.inventory(subject, pins) for name, subject in family.items()}


@pytest.fixture(scope="module")
def lock(bench: Workbench) -> Locked:
    shop, found = bench.shop, locked.read(ROOT)
    assert found is not None
    asked = recipes.read(ROOT)
    return Locked(found, asked, shop.store, shop.layouts, shop.home / "cache/views", shop.environ, shop.voice)


@pytest.mark.parametrize("image", plan.FAMILY)
def test_every_package_that_dpkg_knows_is_in_the_bill(
    image: str, bench: Workbench, bills: Mapping[str, Inventory]
) -> None:
    form = "--showformat=${binary:Package} ${Version}\\n"
    told = bench.run(plan.FAMILY[image].reference, "dpkg-query", "--show", form).stdout.splitlines()
    dpkg = {(name.partition(":")[0], version) for name, version in (line.split() for line in told)}
    ours = {(one.name, one.version) for one in bills[image].components if one.purl.startswith("pkg:deb/")}
    assert ours == dpkg
    assert len(ours) > 80


@pytest.mark.parametrize("image", plan.FAMILY)
def test_every_distribution_that_lies_in_the_image_is_in_the_bill(
    image: str, bench: Workbench, bills: Mapping[str, Inventory]
) -> None:
    where = ("/", "-xdev", "-name", "METADATA", "-path", "*.dist-info/*")
    told = bench.run(plan.FAMILY[image].reference, "find", *where, options=("--user=0",)).stdout.split()
    shown = {f"/{place}" for one in bills[image].components for place in one.places}
    assert {path for path in told if path not in shown} == set()
    assert told or not image.startswith(("esb-gateway", "esb-runtime-node", "esb-lambda"))


@pytest.mark.parametrize("image", plan.FAMILY)
def test_what_came_out_of_the_lock_has_the_locks_hash(image: str, bills: Mapping[str, Inventory]) -> None:
    kinds = ("pkg:deb/", "pkg:pypi/", "pkg:generic/cpython")
    unknown = [one.purl for one in bills[image].components if one.purl.startswith(kinds) and not one.sha256]
    assert unknown == []


def test_programs_tell_their_versions(bills: Mapping[str, Inventory]) -> None:
    untold = [one.purl for bill in bills.values() for one in bill.components if not one.version]
    assert untold == []


@pytest.mark.parametrize("image", plan.FAMILY)
def test_the_provenance_names_every_entry_of_the_lock_that_the_image_is_made_of(
    image: str, bench: Workbench, family: Mapping[str, Subject], lock: Locked, tmp_path: Path
) -> None:
    said = _signed(image, bench, family, lock, tmp_path)
    build = said["predicate"]["buildDefinition"]
    named = {one["digest"]["sha256"] for one in build["resolvedDependencies"]}
    recipe = lock.recipes.of[image]
    step = lock.lock.steps[recipe.step].packages.values() if recipe.step else ()
    wheels = [lock.lock.wheels[one].wheels.values() for one in recipe.wheels.values()]
    assert {deb.sha256 for deb in step} | {pin.sha256 for one in wheels for pin in one} <= named
    parent = plan.FAMILY[image].parent
    assert parent is None or bench.ids[parent].removeprefix("sha256:") in named
    assert build["internalParameters"]["locked"] is True
    assert said["subject"][0]["digest"]["sha256"] == bench.ids[image].removeprefix("sha256:")


def test_what_this_machine_signed_verifies(
    bench: Workbench, family: Mapping[str, Subject], lock: Locked, tmp_path: Path
) -> None:
    verifier, _ = keys.init(tmp_path)
    for name in family:
        _signed(name, bench, family, lock, tmp_path)
    ids = {name: Digest(image) for name, image in bench.ids.items()}
    verdicts = signing.judge(tmp_path, ids, verifier.fingerprint)
    assert [(one.image, one.findings, one.note) for one in verdicts] == [(name, (), "") for name in ids]


def _signed(
    image: str, bench: Workbench, family: Mapping[str, Subject], lock: Locked, home: Path
) -> dict[str, Any]:
    """Sign an image, twice to the same bytes; its provenance."""
    keys.init(home)
    given = artefacts.given(Path(bench.shop.environ["ESB_ARTEFACTS"]), ROOT, bench.shop.store)
    path, once = None, b""
    for _ in range(2):
        statements = signing.statements(family[image], bench.shop.home, lock, given)
        signing.write(home, keys.load(home), statements)
        path = attestations.folder(home, Digest(bench.ids[image])) / attestations.FILES[PROVENANCE]
        assert once in (b"", path.read_bytes())
        once = path.read_bytes()
    said: dict[str, Any] = json.loads(base64.b64decode(json.loads(once)["payload"]))
    return said
