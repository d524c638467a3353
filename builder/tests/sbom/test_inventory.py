"""What a bill names: everything that lies in the image, once, with what is known of it."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from esb_builder import sbom, verify
from esb_builder.archive import Archive, Node, Window
from esb_builder.oci import Entry
from esb_builder.sbom import Component, Inventory, Pins
from esb_common.errors import BadInput
from families import Family
from stocked_families import DEBIAN, RUNTIME, SITE, archives, distribution, stocked

GATEWAY, LAMBDA, NODE = "esb-gateway", "esb-lambda-python", "esb-runtime-node:firecracker"


@contextmanager
def taken(place: Path, drafts: Family, pins: Pins | None = None) -> Iterator[dict[str, Inventory]]:
    with ExitStack() as stack:
        opened = [stack.enter_context(Archive(path)) for path in archives(place, drafts)]
        subjects = verify.subjects(opened)
        yield {name: sbom.inventory(one, pins or Pins()) for name, one in subjects.items()}


@pytest.fixture
def found(tmp_path: Path) -> Iterator[dict[str, Inventory]]:
    with taken(
        tmp_path, stocked(), Pins({("mawk", "1.3.4-1"): "a" * 64}, {("httptools", "0.9.0"): "b" * 64})
    ) as one:
        yield one


def named(inventory: Inventory, start: str) -> list[Component]:
    return [one for one in inventory.components if one.purl.startswith(f"pkg:{start}")]


def test_every_installed_package_is_named_and_no_removed_one(found: dict[str, Inventory]) -> None:
    for inventory in found.values():
        assert {one.name: one.version for one in named(inventory, "deb/")} == DEBIAN


def test_every_distribution_is_named_wherever_it_lies(tmp_path: Path) -> None:
    drafts = stocked()
    for folder in ("opt/odd", "usr/lib/python3/dist-packages"):
        for entry in distribution(folder, f"lost.{folder[:3]}", "1.0", "MIT"):
            drafts[LAMBDA].put(entry)
    with taken(tmp_path, drafts) as found:
        names = {one.name for one in named(found[LAMBDA], "pypi/")}
    assert names == {"boto3", "botocore", "lost-opt", "lost-usr", "pip"}


def test_a_package_url_escapes_what_it_must(found: dict[str, Inventory]) -> None:
    urls = {one.name: one.purl for one in named(found[GATEWAY], "deb/")}
    assert urls["libc6"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12"
    assert urls["libssl3"] == "pkg:deb/debian/libssl3@1:3.0.17-1~deb12u3?arch=amd64&distro=debian-12"


def test_a_package_needs_what_stands_in_for_a_name_or_an_alternative(found: dict[str, Inventory]) -> None:
    packages = {one.purl: one for one in named(found[GATEWAY], "deb/")}
    needs = {one.name: {packages[need].name for need in one.needs} for one in packages.values()}
    assert needs == {
        "gcc-12-base": set(),
        "libc6": {"libgcc-s1"},
        "libgcc-s1": {"libc6", "gcc-12-base"},
        "mawk": {"libc6"},
        "libssl3": {"mawk", "libc6"},
    }


def test_a_distribution_needs_no_extra_that_nobody_asked_for(found: dict[str, Inventory]) -> None:
    needs = {one.name: one.needs for one in named(found[LAMBDA], "pypi/")}
    assert needs["boto3"] == ("pkg:pypi/botocore@1.44.5",)


def test_hashes_are_those_of_the_lock(found: dict[str, Inventory]) -> None:
    hashes = {one.name: one.sha256 for one in found[GATEWAY].components}
    assert (hashes["mawk"], hashes["httptools"], hashes["libc6"]) == ("a" * 64, "b" * 64, "")


def test_licences_come_from_copyright_files_through_links_and_from_metadata(
    found: dict[str, Inventory],
) -> None:
    licences = {one.name: one.licence for one in found[GATEWAY].components}
    assert licences["mawk"] == "(GPL-1.0-or-later OR LicenseRef-Artistic) AND GPL-2.0-or-later AND MIT"
    assert licences["libgcc-s1"] == licences["mawk"]
    assert (licences["libc6"], licences["gcc-12-base"], licences["httptools"]) == ("", "", "MIT")


def test_a_component_is_shown_by_the_layer_that_brought_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(Archive(path)) for path in archives(tmp_path, stocked())]
        subjects = verify.subjects(opened)
        base, gateway = subjects["esb-os-base"].image, sbom.inventory(subjects[GATEWAY], Pins())
    layers = {one.name: one.layer for one in gateway.components}
    assert layers["mawk"] in base.diff_ids
    assert layers["httptools"] not in base.diff_ids


def test_cpython_says_its_version_and_carries_pip(found: dict[str, Inventory]) -> None:
    assert [one.version for one in named(found[LAMBDA], "generic/cpython")] == ["3.12.1"]
    (pip,) = named(found[LAMBDA], "pypi/pip")
    assert (pip.version, pip.sha256) == ("23.2.1", hashlib.sha256(b"PK").hexdigest())
    assert not named(found["esb-os-base"], "generic/cpython")


def test_uv_is_named_with_the_crates_that_it_lists_in_itself(found: dict[str, Inventory]) -> None:
    (uv,) = named(found[GATEWAY], "pypi/uv")
    assert (uv.version, uv.needs) == ("0.13.9", ("pkg:cargo/uv@0.13.9",))
    crates = {one.purl: one.needs for one in named(found[GATEWAY], "cargo/")}
    assert crates == {
        "pkg:cargo/uv@0.13.9": ("pkg:cargo/serde@1.0.9%2Bx",),
        "pkg:cargo/serde@1.0.9%2Bx": (),
    }


def test_a_program_that_lists_nothing_has_no_version(tmp_path: Path) -> None:
    drafts = stocked()
    drafts[GATEWAY].put(Entry("usr/local/bin/uv", mode=0o755, content=b"\x7fELF and no more"))
    with taken(tmp_path, drafts) as found:
        assert [one.purl for one in named(found[GATEWAY], "pypi/uv")] == ["pkg:pypi/uv"]


def test_stand_ins_are_not_called_firecracker_of_some_version(found: dict[str, Inventory]) -> None:
    files = {one.name: (one.version, one.licence) for one in named(found[NODE], "generic/")}
    assert {files[name] for name in ("firecracker", "jailer", "linux")} == {("stand-ins", "")}


def test_pinned_files_have_the_versions_that_the_image_was_given(tmp_path: Path) -> None:
    drafts = stocked()
    given = (
        b"pinned\n"
        + b"a" * 64
        + b"  firecracker-v1.15.1-x86_64.tgz\n"
        + b"b" * 64
        + b"  vmlinux-6.1.155-x86_64\n"
    )
    drafts[NODE].put(Entry("usr/local/share/firecracker/artefacts", content=given))
    with taken(tmp_path, drafts) as found:
        files = {one.name: one.version for one in named(found[NODE], "generic/")}
    assert (files["firecracker"], files["jailer"], files["linux"]) == ("1.15.1", "1.15.1", "6.1.155")


def test_our_own_code_is_named(found: dict[str, Inventory]) -> None:
    own = {one.name for inventory in found.values() for one in inventory.components if one.supplier == "ESB"}
    assert own == {"esb-gateway", "esb-runtime-node", "esb-bootstrap"}


def test_what_lies_in_two_places_is_one_component(tmp_path: Path) -> None:
    drafts: Family = {LAMBDA: stocked()[LAMBDA]}
    for entry in distribution("opt/second", "boto3", "1.44.5", "Apache-2.0"):
        drafts[LAMBDA].put(entry)
    with taken(tmp_path, drafts) as found:
        (boto3,) = named(found[LAMBDA], "pypi/boto3")
    assert {place.split("/")[0] for place in boto3.places} == {"opt", "var"}
    assert boto3.needs == ("pkg:pypi/botocore@1.44.5",)


class Counting(Archive):
    """An archive that counts how often each content is read."""

    def __init__(self, path: Path) -> None:
        self.read: Counter[tuple[str, int]] = Counter()
        super().__init__(path)

    def content(self, node: Node) -> Window:
        self.read[(node.layer, node.offset)] += 1
        return super().content(node)


def test_what_images_share_is_read_once(tmp_path: Path) -> None:
    """Two images on one base in one archive: of the base's files the second reads none again."""
    names = ("esb-python-base", LAMBDA)
    archives(tmp_path, {name: stocked()[name] for name in names})
    with Counting(together(tmp_path, *names)) as archive:
        subjects = verify.subjects([archive])
        base = sbom.inventory(subjects[names[0]], Pins())
        before = Counter(archive.read)
        sbom.inventory(subjects[LAMBDA], Pins())
        again = archive.read - before
        tree = subjects[names[0]].tree
        evidence = {
            path: tree.nodes[path] for one in base.components for path in one.places if path in tree.nodes
        }
    read = {path for path, node in evidence.items() if before[(node.layer, node.offset)]}
    assert {"usr/share/doc/mawk/copyright", "usr/local/lib/libpython3.12.so.1.0"} <= read
    assert {path for path in read if again[(evidence[path].layer, evidence[path].offset)]} <= {
        "usr/lib/os-release"
    }


def together(place: Path, *names: str) -> Path:
    """The layouts of images as one."""
    folder, manifests = place / "together", []
    for name in names:
        shutil.copytree(place / name, folder, dirs_exist_ok=True)
        manifests += json.loads((place / name / "index.json").read_text())["manifests"]
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return folder


def test_places_of_distributions_are_their_metadata_and_record(found: dict[str, Inventory]) -> None:
    (one,) = named(found[GATEWAY], "pypi/httptools")
    assert one.places == tuple(f"{SITE}/HttpTools-0.9.0.dist-info/{name}" for name in ("METADATA", "RECORD"))
    assert {one.places[0].partition("/")[0] for one in named(found[LAMBDA], "pypi/boto3")} == {
        RUNTIME.partition("/")[0]
    }


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        (
            "var/lib/dpkg/status",
            b"Package: x\nStatus: install ok installed\n",
            "var/lib/dpkg/status has a package",
        ),
        (f"{SITE}/x-1.dist-info/METADATA", b"Name: x\n", "says no Name or no Version"),
        (f"{SITE}/x-1.dist-info/METADATA", b"\xff\xfe", "says no Name or no Version"),
        ("app/services/gateway/pyproject.toml", b"", "app/services/gateway/pyproject.toml says no name"),
        ("app/services/gateway/pyproject.toml", b"\xff", "says no name or no version"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(
    path: str, content: bytes, said: str, tmp_path: Path
) -> None:
    drafts = {GATEWAY: stocked()[GATEWAY]}
    drafts[GATEWAY].put(Entry(path, content=content))
    with pytest.raises(BadInput, match=said), taken(tmp_path, drafts):
        pass
