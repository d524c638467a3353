"""Random file trees for property tests, and images of them read back by the archive reader."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from esb_builder import oci
from esb_builder.archive import Archive, Node
from esb_builder.canonical import tape
from esb_builder.canonical.tape import Item
from esb_builder.canonical.tidy import raw
from hypothesis import strategies as st

Tree = dict[str, Item]

_COUNT = itertools.count()

NAMES = st.one_of(
    st.sampled_from(["a", "b", "c", "d", "e"]),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.sampled_from(["x" * 120, "é" * 80, "a b", "a\nb", "-", "a-b", "...", "名前", " ", "a=b", "%s"]),
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))

OWNERS = st.sampled_from([0, 1, 10001, 2_097_151, 2_097_152, 2_147_483_647])
TIMES = st.integers(0, oci.INSTANT)
CONTENTS = st.binary(max_size=40) | st.sampled_from([b"x" * 511, b"x" * 512, b"x" * 1025])


def trees(leaves: int = 12) -> st.SearchStrategy[Tree]:
    """Trees of files, folders and symlinks; every folder is listed."""
    nested: st.SearchStrategy[dict[str, Any]] = st.recursive(
        st.just({}), lambda below: st.dictionaries(NAMES, _leaf() | below, max_size=5), max_leaves=leaves
    )
    return nested.flatmap(_listed)


def _leaf() -> st.SearchStrategy[Item]:
    modes = st.sampled_from([0o644, 0o755, 0o4755, 0o600])
    files = st.builds(
        Item,
        path=st.just(""),
        mode=modes,
        uid=OWNERS,
        gid=OWNERS,
        mtime=TIMES,
        content=CONTENTS,
        capability=st.sampled_from([b"", b"", b"\x01\x00\x00\x02\xff\n\x00="]),
    )
    targets = st.sampled_from(["a", "../b", "/etc/passwd", "x" * 130, "ü"])
    links = st.builds(
        Item, path=st.just(""), kind=st.just("symlink"), mode=st.just(0o777), mtime=TIMES, target=targets
    )
    return files | links


@st.composite
def _listed(draw: st.DrawFn, nested: dict[str, Any]) -> Tree:
    found: Tree = {}

    def walk(below: dict[str, Any], at: str) -> None:
        for name, what in below.items():
            path = f"{at}{name}"
            if isinstance(what, Item):
                found[path] = replace(what, path=path)
            else:
                mode = draw(st.sampled_from([0o755, 0o700, 0o1777]))
                found[path] = Item(path, "directory", mode, draw(OWNERS), draw(OWNERS), oci.INSTANT)
                walk(what, f"{path}/")

    walk(nested, "")
    return found


def image(place: Path, layers: Sequence[Iterable[Item]], config: Mapping[str, Any] | None = None) -> Path:
    """An archive of one image with these layers, written by the tape."""
    here = place / str(next(_COUNT))
    here.mkdir()
    files = []
    for number, items in enumerate(layers):
        files.append(here / f"{number}.tar")
        with files[-1].open("wb") as out:
            tape.write(out, items)
    oci.write_image(here / "layout", files, config)
    oci.write_archive(here / "image.tar", here / "layout")
    return here / "image.tar"


def seen(archive: Path) -> Tree:
    """The merged tree of an archive's one image, contents as bytes."""
    with Archive(archive) as opened:
        (found,) = opened.images()
        tree = found.tree()
        return {path: _item(path, node, opened) for path, node in tree.nodes.items()}


def _item(path: str, node: Node, archive: Archive) -> Item:
    item = raw(path, node)
    return replace(item, content=archive.content(node).read()) if node.kind == "file" else item
