"""What an image changes: written over its parent it gives the image again, and nothing is in it twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from esb_builder.canonical.difference import difference, whiteout
from esb_builder.canonical.slices import cut
from esb_builder.canonical.tape import Item
from hypothesis import given
from hypothesis import strategies as st
from trees import Tree, image, seen, trees

FOLDER = Item("d", "directory", 0o755)


def changes(below: Tree, above: Tree) -> list[Item]:
    return sorted(difference(below, above, equal), key=lambda item: item.path)


def equal(one: Item, other: Item) -> bool:
    return one.content == other.content


def tree(*items: Item) -> Tree:
    return {item.path: item for item in items}


def grown(below: Tree) -> st.SearchStrategy[Tree]:
    """Trees that share much with ``below``: parts of it, with another tree laid over."""
    kept = st.sets(st.sampled_from(sorted(below))) if below else st.just(set())
    return st.builds(lambda names, other: _over(below, names, other), kept, trees())


def _over(below: Tree, dropped: set[str], other: Tree) -> Tree:
    rest = {path: item for path, item in below.items() if not _in(path, dropped)}
    solid = {path for path, item in other.items() if item.kind != "directory"}
    rest = {path: item for path, item in rest.items() if not _in(path, solid)}
    folders = {path for path, item in other.items() if item.kind == "directory"}
    rest = {path: item for path, item in rest.items() if path not in folders or item.kind == "directory"}
    broken = {path for path, item in rest.items() if item.kind != "directory"}
    return rest | {path: item for path, item in other.items() if not _in(path.rpartition("/")[0], broken)}


def _in(path: str, places: set[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


@given(pair=trees().flatmap(lambda below: st.tuples(st.just(below), grown(below))))
def test_the_parent_and_the_slices_of_the_difference_make_the_image(
    pair: tuple[Tree, Tree], tmp_path_factory: pytest.TempPathFactory
) -> None:
    below, above = pair
    layers = [items for _, items in cut(difference(below, above, equal))]
    assert seen(image(tmp_path_factory.getbasetemp(), [below.values(), *layers])) == above


@given(trees().flatmap(lambda below: st.tuples(st.just(below), grown(below))))
def test_nothing_is_said_twice_or_without_need(pair: tuple[Tree, Tree]) -> None:
    below, above = pair
    found = changes(below, above)
    paths = [item.path for item in found]
    assert len(paths) == len(set(paths))
    assert not [item for item in found if below.get(item.path) == item]


@given(trees())
def test_an_image_that_changes_nothing_adds_nothing(below: Tree) -> None:
    assert changes(below, dict(below)) == []


def test_a_removed_folder_is_one_whiteout() -> None:
    below = tree(FOLDER, Item("d/a"), Item("d/e", "directory"), Item("d/e/f"))
    assert changes(below, {}) == [whiteout("d")]
    assert changes(below, tree(FOLDER, Item("d/a"))) == [whiteout("d/e")]
    assert whiteout("d/e").path == "d/.wh.e"


def test_what_replaces_a_folder_needs_no_whiteout() -> None:
    link = Item("d", "symlink", 0o777, target="elsewhere")
    assert changes(tree(FOLDER, Item("d/a")), tree(link)) == [link]


def test_a_file_written_again_with_the_same_content_is_no_change() -> None:
    assert changes(tree(Item("a", content=b"1")), tree(Item("a", content=b"1"))) == []


@pytest.mark.parametrize(
    "change",
    [{"mode": 0o755}, {"uid": 1}, {"mtime": 5}, {"content": b"2"}, {"capability": b"c"}, {"content": b"12"}],
)
def test_each_attribute_counts(change: dict[str, object]) -> None:
    before = Item("a", content=b"1")
    after = replace(before, **change)  # type: ignore[arg-type]
    assert changes(tree(before), tree(after)) == [after]
