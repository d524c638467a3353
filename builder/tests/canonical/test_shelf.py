"""Images on the shelf: archives and layouts follow from them, and lose nothing on the way."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from esb_builder.archive import Archive
from esb_builder.canonical import Shelf, document
from esb_builder.canonical.tape import Item, no_nodes
from esb_builder.store import Store
from esb_common.errors import BadInput
from esb_common.ids import Digest


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(Store(tmp_path / "store"))


def put(shelf: Shelf, name: str, *contents: bytes) -> Digest:
    layers = [
        (f"part{number}", shelf.layer([Item("file", content=content)], no_nodes))
        for number, content in enumerate(contents)
    ]
    return shelf.document(
        document.configuration({"architecture": "amd64", "os": "linux"}, name, layers, None)
    )


def test_an_archive_holds_its_images_under_their_references(shelf: Shelf, tmp_path: Path) -> None:
    ids = {"a:latest": put(shelf, "a", b"1", b"2"), "b:x": put(shelf, "b", b"1")}
    shelf.archive(tmp_path / "both.tar", ids)
    with Archive(tmp_path / "both.tar") as opened:
        found = {image.names: (image.id, list(image.diff_ids)) for image in opened.images()}
    assert found == {
        (f"docker.io/library/{reference}",): (one, shelf.layers(one)) for reference, one in ids.items()
    }


def test_an_archive_serves_engines_that_know_only_the_older_index(shelf: Shelf, tmp_path: Path) -> None:
    made = put(shelf, "a", b"1", b"2")
    shelf.archive(tmp_path / "a.tar", {"a:latest": made})
    with tarfile.open(tmp_path / "a.tar") as tar:
        content = tar.extractfile("manifest.json")
        assert content is not None
        (entry,) = json.load(content)
        assert entry["RepoTags"] == ["a:latest"]
        assert {entry["Config"], *entry["Layers"]} <= set(tar.getnames())
    assert entry["Config"] == f"blobs/sha256/{made.removeprefix('sha256:')}"


def test_the_same_images_give_the_same_archive(shelf: Shelf, tmp_path: Path) -> None:
    made = put(shelf, "a", b"1")
    for name in ("one.tar", "two.tar"):
        shelf.archive(tmp_path / name, {"a:latest": made})
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_layout_is_the_archive_as_a_folder(shelf: Shelf, tmp_path: Path) -> None:
    made = put(shelf, "a", b"1")
    shelf.layout(tmp_path / "layout", {"a:latest": made})
    with Archive(tmp_path / "layout") as opened:
        assert [image.id for image in opened.images()] == [made]


def test_layers_are_lent_under_their_digests(shelf: Shelf, tmp_path: Path) -> None:
    made = put(shelf, "a", b"1", b"2")
    shelf.lend(tmp_path / "lent", made)
    names = {path.name for path in (tmp_path / "lent/blobs/sha256").iterdir()}
    assert {f"sha256:{name}" for name in names} == set(shelf.layers(made))
    shelf.lend(tmp_path / "nothing", None)
    assert not list((tmp_path / "nothing/blobs/sha256").iterdir())


def test_an_image_is_here_only_when_all_of_it_is(shelf: Shelf) -> None:
    made = put(shelf, "a", b"1", b"2")
    assert shelf.has(made)
    shelf.store.path(shelf.layers(made)[1].removeprefix("sha256:")).unlink()
    assert not shelf.has(made)


def test_an_image_that_is_not_here_is_named_with_the_way_to_get_it(shelf: Shelf) -> None:
    with pytest.raises(BadInput, match=r"sha256:0+ is not in .*\n.*esb build"):
        shelf.config(Digest("sha256:" + "0" * 64))


def test_nothing_is_left_beside_what_was_written(shelf: Shelf, tmp_path: Path) -> None:
    made = put(shelf, "a", b"1")
    shelf.archive(tmp_path / "out/a.tar", {"a:latest": made})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.tar"]
    assert [path.name for path in shelf.store.folder.iterdir()] == ["sha256"]
