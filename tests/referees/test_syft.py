"""syft on every archive: its list of packages and ours are one, but for what is listed with reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from esb_builder import locked, sbom, verify
from esb_builder.archive import Archive
from esb_builder.plan import FAMILY
from referees.conftest import ROOT, Referees, exceptions

pytestmark = [pytest.mark.engine, pytest.mark.network]

TYPES = {"deb": "deb", "python": "pypi", "rust-crate": "cargo"}
"""The kind of package URL for each of syft's types."""

Listed = set[tuple[str, str, str]]
"""Kind, name, version."""


@dataclass
class Differences:
    """The images judged in this run, and the exceptions that they needed."""

    judged: set[str] = field(default_factory=set)
    only_syft: set[str] = field(default_factory=set)
    only_ours: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def differences() -> Differences:
    return Differences()


@pytest.mark.parametrize("image", FAMILY)
def test_syft_and_our_bill_name_the_same_packages(
    image: str,
    referees: Referees,
    archives: Mapping[str, Path],
    differences: Differences,
    tmp_path: Path,
) -> None:
    theirs, unlisted = _theirs(referees, archives[image], tmp_path)
    ours, extra = _ours(image, archives[image])
    assert theirs ^ ours == set()
    assert theirs
    assert unlisted <= {one["type"] for one in exceptions("only-syft")}
    reasons = [one["purl"] for one in exceptions("only-ours")]
    unreasoned = [purl for purl in extra if not purl.startswith(tuple(reasons))]
    assert unreasoned == []
    differences.judged.add(image)
    differences.only_syft |= unlisted
    differences.only_ours |= {start for start in reasons for purl in extra if purl.startswith(start)}


def test_every_listed_difference_was_needed(differences: Differences) -> None:
    if differences.judged != set(FAMILY):
        pytest.skip("only after every image was judged in this run")
    assert differences.only_syft == {one["type"] for one in exceptions("only-syft")}
    assert differences.only_ours == {one["purl"] for one in exceptions("only-ours")}


def _theirs(referees: Referees, archive: Path, scratch: Path) -> tuple[Listed, set[str]]:
    """What syft lists of the types that both know, and the types that only it knows."""
    report = scratch / "syft.json"
    environ = {"SYFT_FILE_METADATA_SELECTION": "none", "SYFT_CACHE_DIR": str(scratch)}
    done = referees.call(
        "syft", "scan", f"docker-archive:{archive}", "--quiet", f"--output=syft-json={report}", **environ
    )
    assert done.code == 0, done.stderr
    found = json.loads(report.read_text())["artifacts"]
    known = {(TYPES[one["type"]], one["name"], one["version"]) for one in found if one["type"] in TYPES}
    return known, {one["type"] for one in found if one["type"] not in TYPES}


def _ours(image: str, archive: Path) -> tuple[Listed, list[str]]:
    """What our bill lists that syft should know, and the package URLs of the rest."""
    only = tuple(one["purl"] for one in exceptions("only-ours"))
    with Archive(archive) as opened:
        subject = verify.subjects([opened])[image]
        found = sbom.inventory(subject, sbom.Pins.of(locked.read(ROOT))).components
    extra = [one.purl for one in found if one.purl.startswith(("pkg:generic/", *only))]
    listed = {(_kind(one.purl), one.name, one.version) for one in found if one.purl not in extra}
    return listed, extra


def _kind(purl: str) -> str:
    return purl.removeprefix("pkg:").partition("/")[0]
