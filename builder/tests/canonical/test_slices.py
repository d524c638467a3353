"""Which layer a path is in, and that each folder is in exactly one: the lowest that needs it."""

from __future__ import annotations

import posixpath
import random

import pytest
from esb_builder.canonical.slices import SLICES, cut, slice_of
from esb_builder.canonical.tape import Item
from hypothesis import given
from hypothesis import strategies as st
from trees import Tree, trees

PLACES = [place for one in SLICES for place in one.places]


def names(*items: Item) -> dict[str, list[str]]:
    return {one.name: sorted(item.path for item in own) for one, own in cut(items)}


def folders(*paths: str) -> list[Item]:
    return [Item(path, "directory", 0o755) for path in paths]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("usr/bin/sh", "system"),
        ("etc/passwd", "system"),
        ("etc/ssl/certs/ca-certificates.crt", "trust"),
        ("etc/ssl/openssl.cnf", "system"),
        ("usr/local/share/ca-certificates/esb-rootCA.crt", "trust"),
        ("usr/local/lib/python3.12/os.py", "python"),
        ("usr/local/bin/python3.12", "python"),
        ("usr/local/bin/uv", "dependencies"),
        ("app/.venv/bin/python", "dependencies"),
        ("app/services/gateway/src/esb_gateway/app.py", "code"),
        ("app/entrypoint.sh", "code"),
        ("app/services-else", "system"),
        ("var/runtime/boto3/__init__.py", "dependencies"),
        ("var/runtime/bootstrap.py", "code"),
        ("var/runtime/__pycache__/bootstrap.cpython-312.pyc", "code"),
    ],
)
def test_a_path_lies_in_the_slice_of_the_longest_place(path: str, name: str) -> None:
    assert slice_of(path).name == name


def test_only_what_comes_from_the_checkout_has_no_times() -> None:
    assert [one.name for one in SLICES if one.checkout] == ["code"]


def test_a_folder_lies_in_the_lowest_slice_that_has_a_file_in_it() -> None:
    made = [*folders("app", "app/.venv", "app/services"), Item("app/.venv/x"), Item("app/services/y")]
    assert names(*made) == {
        "dependencies": ["app", "app/.venv", "app/.venv/x"],
        "code": ["app/services", "app/services/y"],
    }


def test_a_folder_without_files_lies_in_the_system() -> None:
    assert names(*folders("usr", "usr/local", "usr/local/lib")) == {
        "system": ["usr", "usr/local", "usr/local/lib"]
    }


def moved(tree: Tree) -> Tree:
    """The tree's parts below places that slices know."""
    roots = random.Random(len(tree)).sample(PLACES, 4)
    return {
        path: Item(path, item.kind, item.mode, content=item.content, target=item.target)
        for root in roots
        for path, item in ((f"{root}/{path}", item) for path, item in tree.items())
    } | {path: Item(path, "directory", 0o755) for root in roots for path in _folders(root)}


def _folders(path: str) -> list[str]:
    return [path, *_folders(posixpath.dirname(path))] if path else []


@given(trees().map(moved), st.randoms())
def test_every_item_is_in_one_slice_and_no_folder_above_its_content(
    tree: Tree, shuffle: random.Random
) -> None:
    items = list(tree.values())
    shuffle.shuffle(items)
    level = {item.path: number for number, (_, own) in enumerate(cut(items)) for item in own}
    assert sum(len(own) for _, own in cut(items)) == len(items)
    for path in level:
        above = posixpath.dirname(path)
        assert above not in level or level[above] <= level[path]
