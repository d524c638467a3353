"""The list of images: facts come from the images, and are looked for once."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import families
import pytest
from authorities import NOW
from esb_builder import exchange, inventory, run, stamps
from esb_builder.archive import Archive
from esb_builder.ca import judge
from esb_builder.canonical import Shelf, canonicalise
from esb_builder.exchange import Present
from esb_builder.inventory import Facts, Listed
from esb_builder.oci import Entry
from esb_builder.stamps import Stamp
from esb_builder.store import Store
from esb_builder.voice import Recorded
from esb_common.ids import Digest

ROOT = Path(__file__).parents[2]
STATUS = b"""Package: a
Status: install ok installed

Package: b
Status: deinstall ok config-files

Package: c
Status: install ok installed
"""


@dataclass
class Engine:
    """The stand-in of ``tests/docker_stand_in.py``."""

    place: Path
    environ: dict[str, str] = field(default_factory=dict)

    def docker(self, *args: str | Path, check: bool = True) -> run.Completed:
        return run.run(("docker", *args), environ=self.environ, check=check)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    place = tmp_path / "engine"
    place.mkdir()
    program = place / "docker"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/docker_stand_in.py "$@"\n')
    program.chmod(0o755)
    paths = os.pathsep.join(str(ROOT / path / "src") for path in ("builder", "services/common"))
    return Engine(
        place, {"PATH": f"{place}:{os.environ['PATH']}", "STAND_IN": str(place), "PYTHONPATH": paths}
    )


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(Store(tmp_path / "home/store"))


def os_base(place: Path) -> Path:
    draft = families.family()["esb-os-base"]
    draft.put(Entry("var/lib/dpkg/status", content=STATUS))
    draft.put(Entry("usr/lib/python3/x-1.dist-info/METADATA", content=b""))
    return families.write(place, "esb-os-base", draft)


def listed(engine: Engine, tmp_path: Path, shelf: Shelf) -> tuple[list[Listed], list[str]]:
    """The list, and what was done for it."""
    voice = Recorded()
    return inventory.listed(engine, tmp_path / "home", shelf, voice), voice.said


def test_facts_are_read_from_the_image(tmp_path: Path) -> None:
    with Archive(os_base(tmp_path)) as archive:
        (image,) = archive.images()
        facts = inventory.facts_of(image)
        files = [node for node in image.tree().nodes.values() if node.kind == "file"]
    assert (facts.debian_packages, facts.python_packages) == (2, 1)
    assert facts.size == sum(node.size for node in files)
    assert facts.fingerprint == judge.fingerprint(families.ROOT_CA)
    assert facts.not_after == families.ROOT_CA.not_valid_after_utc.isoformat()
    assert not facts.canonical


def test_a_hard_link_takes_no_room(tmp_path: Path) -> None:
    draft = families.Draft(
        [families.entries(Entry("a", content=b"x" * 100), Entry("b", "hardlink", target="a"))]
    )
    with Archive(families.write(tmp_path, "esb-os-base", draft)) as archive:
        assert inventory.facts_of(archive.images()[0]).size == 100


def test_an_image_that_somebody_else_built_is_saved_once_and_is_not_canonical(
    engine: Engine, tmp_path: Path, shelf: Shelf
) -> None:
    shutil.copyfile(os_base(tmp_path), engine.place / "esb-os-base:latest.tar")
    first, said = listed(engine, tmp_path, shelf)
    assert [(one.name, one.facts.canonical) for one in first] == [("esb-os-base", False)]
    assert said == ["save esb-os-base:latest to look into"]
    assert listed(engine, tmp_path, shelf) == (first, [])


def test_a_canonical_image_is_read_from_the_shelf(engine: Engine, tmp_path: Path, shelf: Shelf) -> None:
    with Archive(os_base(tmp_path)) as archive:
        made = canonicalise("esb-os-base", archive.images()[0], None, shelf).id
    exchange.load(engine, tmp_path, shelf, {"esb-os-base:latest": made})
    stamps.write(tmp_path / "home", "esb-os-base", Stamp({}, made, made, ""))
    found, said = listed(engine, tmp_path, shelf)
    assert [(one.facts.id, one.facts.canonical, one.packages) for one in found] == [(made, True, 3)]
    assert said == []


def test_an_image_under_our_tag_that_is_not_the_stamped_one_is_looked_into(
    engine: Engine, tmp_path: Path, shelf: Shelf
) -> None:
    with Archive(os_base(tmp_path)) as archive:
        made = canonicalise("esb-os-base", archive.images()[0], None, shelf).id
    shutil.copyfile(os_base(tmp_path / "other"), engine.place / "esb-os-base:latest.tar")
    stamps.write(tmp_path / "home", "esb-os-base", Stamp({}, made, made, ""))
    found, _ = listed(engine, tmp_path, shelf)
    assert [one.facts.canonical for one in found] == [False]


def test_an_engine_without_images_lists_none(engine: Engine, tmp_path: Path, shelf: Shelf) -> None:
    assert listed(engine, tmp_path, shelf) == ([], [])


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("esb-os-base", ""),
        ("esb-python-base", "esb-os-base"),
        ("esb-gateway", "esb-python-base"),
        ("esb-lambda-python", ""),
    ],
)
def test_the_parent_is_the_image_whose_layers_come_first(name: str, parent: str) -> None:
    found = {
        "esb-os-base": Present("1", ("a",)),
        "esb-python-base": Present("2", ("a", "b")),
        "esb-gateway": Present("3", ("a", "b", "c")),
        "esb-lambda-python": Present("4", ("x", "b")),
    }
    assert inventory.parent_of(name, found) == parent


def facts(days: int = 365, *, canonical: bool = True, fingerprint: str = "f" * 64) -> Facts:
    end = NOW + timedelta(days=days)
    return Facts(Digest("sha256:" + "1" * 64), 79_300_000, 86, 1, fingerprint, end.isoformat(), canonical)


def line(one: Facts) -> str:
    shown = inventory.table([Listed("esb-gateway", "esb-gateway:latest", "", (), one)], datetime.now(UTC))
    return shown.splitlines()[1]


def test_the_table_says_what_a_person_asks() -> None:
    end = NOW + timedelta(days=365)
    assert line(facts()).split() == [
        "esb-gateway:latest",
        "1" * 12,
        "–",
        "79.3",
        "87",
        "f" * 12,
        "until",
        f"{end:%Y-%m-%d}",
        "yes",
    ]


def test_the_table_warns() -> None:
    assert " expired " in line(facts(days=-1))
    assert line(facts(canonical=False)).endswith("not canonical")
    assert " none " in line(facts(fingerprint=""))
