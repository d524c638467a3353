"""Canonical images on a real engine: it gives them back as they are, and a new root CA moves one layer."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from authorities import NOW, authority
from conformance.conftest import Workbench
from esb_builder import build, exchange, plan, run
from esb_builder.archive import Archive
from esb_builder.ca import issue
from esb_builder.canonical import is_canonical
from esb_common.ids import Digest

pytestmark = pytest.mark.engine

BASES = ("esb-os-base", "esb-python-base")


def certificate(place: Path, name: str) -> dict[str, str]:
    """A folder of certificates with a root of this name."""
    (place / name).mkdir()
    key = issue.new_key()
    (place / name / "rootCA.crt").write_bytes(issue.pem(authority(key, name, key, name, NOW, 365)))
    return {"ESB_CERT_DIR": str(place / name)}


@dataclass(frozen=True)
class WithoutImageStore:
    """The engine, calling itself one without containerd's image store."""

    engine: exchange.Docker

    @property
    def environ(self) -> Mapping[str, str]:
        return self.engine.environ

    def docker(self, *args: str | Path, check: bool = True) -> run.Completed:
        if args[0] == "info":
            return run.Completed(0, '[["Backing Filesystem","extfs"]]', "")
        return self.engine.docker(*args, check=check)


def own_layers(shop: build.Workshop, image: Digest, parent: Digest | None) -> list[tuple[str, Digest]]:
    """An image's own layers with the names of their slices."""
    config = shop.shelf.config(image)
    depth = len(shop.shelf.layers(parent)) if parent else 0
    names = [one["created_by"].rpartition(" ")[2] for one in config["history"]]
    return list(zip(names, shop.shelf.layers(image), strict=True))[depth:]


def test_s17_another_root_ca_changes_one_layer_of_the_bases(bench: Workbench, tmp_path: Path) -> None:
    shops = [
        replace(bench.shop, environ={**bench.shop.environ, **certificate(tmp_path, name)})
        for name in ("One", "Another")
    ]
    before, after = (build.shelve(shop, BASES) for shop in shops)
    layers = [
        {
            (name, slice_): layer
            for name in BASES
            for slice_, layer in own_layers(bench.shop, made[name], made.get(plan.FAMILY[name].parent or ""))
        }
        for made in (before, after)
    ]
    assert layers[0].keys() == layers[1].keys()
    assert [one for one in layers[0] if layers[0][one] != layers[1][one]] == [("esb-os-base", "trust")]


def test_an_image_that_is_saved_is_the_one_that_is_exported(bench: Workbench) -> None:
    """The two ways out of an engine."""
    shop = replace(bench.shop, engine=WithoutImageStore(bench.engine))
    assert build.shelve(shop, BASES) == build.shelve(bench.shop, BASES)
    assert "esb-built" not in bench.docker("image", "ls").stdout


@pytest.fixture
def family(bench: Workbench, tmp_path: Path) -> Iterator[dict[str, Digest]]:
    """The family once more, under references of the test's own."""
    references = {
        f"esb-test-{os.getpid()}:{name.replace(':', '-')}": Digest(image) for name, image in bench.ids.items()
    }
    exchange.load(bench.engine, tmp_path, bench.shop.shelf, references)
    yield references
    bench.docker("image", "rm", *references)


def test_what_was_loaded_is_saved_with_the_same_ids(
    bench: Workbench, family: dict[str, Digest], tmp_path: Path
) -> None:
    bench.engine.docker("save", "--output", tmp_path / "family.tar", *family)
    with Archive(tmp_path / "family.tar") as archive:
        found = {image.id: image for image in archive.images()}
    assert set(found) == set(family.values())
    for image in found.values():
        assert is_canonical(image.config)
        assert list(image.diff_ids) == bench.shop.shelf.layers(image.id)


@pytest.fixture
def loaded(bench: Workbench, tag: str, tmp_path: Path) -> str:
    """os-base once more, under a tag of the test's own."""
    exchange.load(bench.engine, tmp_path, bench.shop.shelf, {tag: Digest(bench.ids["esb-os-base"])})
    return tag


def test_an_image_built_on_a_canonical_one_is_not_canonical(
    bench: Workbench, loaded: str, tmp_path: Path
) -> None:
    """What ``docker build`` and ``docker compose build`` leave."""
    (tmp_path / "Dockerfile").write_text(f"FROM {loaded}\nLABEL a=b\n")
    assert bench.docker("build", "--quiet", "--provenance=false", f"--tag={loaded}", tmp_path).code == 0
    bench.engine.docker("save", "--output", tmp_path / "built.tar", loaded)
    with Archive(tmp_path / "built.tar") as archive:
        assert [is_canonical(image.config) for image in archive.images()] == [False]


def test_the_nodes_archive_is_the_canonical_image(bench: Workbench) -> None:
    with Archive(bench.shop.archive) as archive:
        assert [image.id for image in archive.images()] == [bench.ids["esb-lambda-python"]]
