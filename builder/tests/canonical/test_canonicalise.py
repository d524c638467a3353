"""A built image becomes a canonical one: the same tree gives the same id, whatever the engine did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from esb_builder.archive import Archive
from esb_builder.canonical import Canonical, Shelf, canonicalise, document
from esb_builder.canonical.difference import whiteout
from esb_builder.canonical.tape import Item
from esb_builder.store import Store
from esb_common.errors import BadInput, Broken
from esb_common.ids import Digest
from hypothesis import HealthCheck, given, settings
from trees import Tree, image, seen, trees

Make = Callable[..., Canonical]
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
PROGRAM = Item("usr/program", mode=0o755, content=b"program")
BASE = [
    *(Item(path, "directory", 0o755) for path in ("etc", "etc/ssl", "etc/ssl/certs", "usr", "dev", "var")),
    Item("etc/passwd", content=b"root:x:0:0\n"),
    PROGRAM,
    Item(BUNDLE, content=b"CA 1"),
]
BASE_FOLDERS = [replace(item, mtime=1_900_000_000) for item in BASE if item.kind == "directory"]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(Store(tmp_path / "store"))


@pytest.fixture
def make(shelf: Shelf, tmp_path: Path) -> Make:
    """Make a canonical image of layers as an engine wrote them."""

    def made(*layers: Iterable[Item], parent: Digest | None = None, **config: Any) -> Canonical:
        return canonical(shelf, image(tmp_path, layers, config), parent)

    return made


def canonical(shelf: Shelf, archive: Path, parent: Digest | None = None) -> Canonical:
    with Archive(archive) as opened:
        (built,) = opened.images()
        return canonicalise("esb-test", built, parent, shelf)


def on(shelf: Shelf, tmp_path: Path, parent: Digest, layers: Sequence[Iterable[Item]]) -> Path:
    """An archive of an image that an engine built on ``parent``."""
    shelf.archive(tmp_path / "parent.tar", {"parent:latest": parent})
    with Archive(tmp_path / "parent.tar") as opened:
        (below,) = opened.images()
        written = [list(_items(below, number)) for number in range(len(below.layers))]
    return image(tmp_path, [*written, *layers])


def _items(below: Any, number: int) -> Iterable[Item]:
    for change in below.layers[number].changes:
        node = change.node
        assert node is not None
        content = below.archive.content(node).read() if node.kind == "file" else b""
        yield Item(change.path, node.kind, node.mode, node.uid, node.gid, node.mtime, node.target, content)


def reread(shelf: Shelf, tmp_path: Path, made: Canonical) -> Tree:
    shelf.archive(tmp_path / "again.tar", {"esb-test:latest": made.id})
    return seen(tmp_path / "again.tar")


def test_layers_times_and_order_of_an_engine_do_not_matter(make: Make) -> None:
    one = make(BASE)
    late = [replace(item, mtime=2_000_000_000) for item in BASE]
    first, second = late[:4], late[4:]
    rubbish = [Item("etc/passwd", content=b"not yet"), Item("gone", content=b"1"), Item("dev/null")]
    other = make(rubbish, [*reversed(second), whiteout("gone")], first, BASE_FOLDERS)
    assert make([replace(item, mtime=1_800_000_000) for item in BASE]).id == other.id
    assert one.id != other.id, "a file's own, earlier time is part of it"


def test_a_canonical_image_made_canonical_is_itself(make: Make, shelf: Shelf, tmp_path: Path) -> None:
    made = make(BASE, [Item("usr/local/bin/python3.12", content=b"py")])
    shelf.archive(tmp_path / "made.tar", {"esb-test:latest": made.id})
    assert canonical(shelf, tmp_path / "made.tar").id == made.id


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(tree=trees())
def test_a_random_image_made_canonical_twice_is_the_same(tree: Tree, shelf: Shelf, tmp_path: Path) -> None:
    made = canonical(shelf, image(tmp_path, [tree.values()]))
    shelf.archive(tmp_path / "made.tar", {"esb-test:latest": made.id})
    assert canonical(shelf, tmp_path / "made.tar").id == made.id
    kept = {path: item.content for path, item in seen(tmp_path / "made.tar").items() if item.kind == "file"}
    assert kept == {path: item.content for path, item in tree.items() if item.kind == "file"}


def test_another_root_ca_changes_the_trust_slice_and_nothing_else(make: Make) -> None:
    """S17."""
    before, after = make(BASE), make(BASE, [Item(BUNDLE, content=b"CA 2")])
    changed = [
        name for (name, one), (_, other) in zip(before.layers, after.layers, strict=True) if one != other
    ]
    assert changed == ["trust"]
    assert [name for name, _ in before.layers] == ["system", "trust"]
    assert before.id != after.id


def test_a_child_adds_only_what_it_changes(make: Make, shelf: Shelf, tmp_path: Path) -> None:
    parent = make(BASE)
    engine = [
        *BASE_FOLDERS,
        PROGRAM,
        Item("etc/hosts", content=b""),
        Item("etc/resolv.conf", content=b"nameserver 192.0.2.1\n"),
        Item("app", "directory", 0o755),
        Item("app/services", "directory", 0o755),
        Item("app/services/a.py", content=b"pass\n", mtime=3),
    ]
    child = canonical(shelf, on(shelf, tmp_path, parent.id, [engine]), parent.id)
    assert shelf.layers(child.id)[:-1] == shelf.layers(parent.id)
    assert [name for name, _ in child.layers] == ["code"]
    added = reread(shelf, tmp_path, child).keys() - reread(shelf, tmp_path, parent).keys()
    assert added == {"app", "app/services", "app/services/a.py"}


def test_a_child_may_remove_what_its_parent_has(make: Make, shelf: Shelf, tmp_path: Path) -> None:
    parent = make(BASE)
    child = canonical(shelf, on(shelf, tmp_path, parent.id, [[whiteout("usr")]]), parent.id)
    assert not [path for path in reread(shelf, tmp_path, child) if path.startswith("usr")]


def test_an_image_on_another_parent_is_refused(make: Make, shelf: Shelf, tmp_path: Path) -> None:
    parent = make([Item("else", content=b"1")])
    with pytest.raises(Broken, match="esb-test was not built on the layers of its canonical parent"):
        canonical(shelf, image(tmp_path, [BASE]), parent.id)


def test_what_a_container_needs_is_kept_and_what_the_machine_said_is_not(make: Make, shelf: Shelf) -> None:
    made = make(
        BASE,
        Env=["A=1"],
        User="5:5",
        Hostname="factory-7",
        Image="sha256:0",
        Labels={"b": "2", "a": "1", "io.buildah.version": "1"},
        Cmd=None,
        AttachStdin=False,
    )
    config = shelf.config(made.id)
    assert config["config"] == {"Env": ["A=1"], "User": "5:5", "Labels": {"a": "1", "b": "2"}}
    assert config["created"] == "2025-01-01T00:00:00Z"
    assert [one["created_by"] for one in config["history"]] == [
        "esb canonical 1: esb-test system",
        "esb canonical 1: esb-test trust",
    ]


def test_a_setting_that_is_unknown_is_refused(make: Make) -> None:
    with pytest.raises(BadInput, match=r"config\.Surprise"):
        make(BASE, Surprise={"a": 1})


def test_an_image_knows_whether_it_is_canonical(make: Make, shelf: Shelf) -> None:
    config = shelf.config(make(BASE).id)
    assert document.is_canonical(config)
    built_on_it = {**config, "history": [*config["history"], {"created_by": "RUN true"}]}
    assert not document.is_canonical(built_on_it)
    assert not document.is_canonical({**config, "created": "2026-01-01T00:00:00Z"})
    assert not document.is_canonical({"rootfs": {"diff_ids": []}})


def test_a_hard_link_stays_one(shelf: Shelf, tmp_path: Path, make: Make) -> None:
    made = make([Item("a", content=b"x" * 600), Item("b", "hardlink", target="a")])
    shelf.archive(tmp_path / "made.tar", {"esb-test:latest": made.id})
    with Archive(tmp_path / "made.tar") as opened:
        (change,) = [one for one in opened.images()[0].layers[0].changes if one.path == "b"]
    assert change.linked == "a"
