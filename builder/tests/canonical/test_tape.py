"""The writer: every bit is decided, and whoever reads a tar finds in it what was written."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest
from esb_builder import run
from esb_builder.archive import CAPABILITY, Node
from esb_builder.canonical import tape
from esb_builder.canonical.tape import Item
from esb_common.ids import Digest
from hypothesis import given
from hypothesis import strategies as st
from trees import Tree, image, seen, trees

GOLDEN = "9abd6eaa6d5a8733ceb82a542d8dc0c04b7f16365f23a1709f59890dbbb998fe"


def written(*items: Item) -> bytes:
    out = io.BytesIO()
    tape.write(out, items)
    return out.getvalue()


def members(content: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content), encoding="utf-8") as tar:
        return tar.getmembers()


@given(trees())
def test_a_stranger_reads_what_was_written(tree: Tree) -> None:
    content = written(*tree.values())
    with tarfile.open(fileobj=io.BytesIO(content), encoding="utf-8") as tar:
        for member in tar:
            item = tree[member.name]
            assert (member.mode, member.uid, member.gid) == (item.mode, item.uid, item.gid)
            assert (member.mtime, member.linkname) == (item.mtime, item.target)
            assert (member.uname, member.gname) == ("", "")
            assert set(member.pax_headers) <= {"path", "linkpath", "uid", "gid", CAPABILITY}
            if item.kind == "file":
                extracted = tar.extractfile(member)
                assert extracted is not None
                assert extracted.read() == item.content
        assert sorted(member.name for member in tar.getmembers()) == sorted(tree)


@given(tree=trees())
def test_our_reader_reads_what_was_written(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert seen(image(tmp_path_factory.getbasetemp(), [tree.values()])) == tree


@given(trees(), st.randoms())
def test_the_order_of_items_does_not_matter(tree: Tree, shuffle: random.Random) -> None:
    items = list(tree.values())
    shuffle.shuffle(items)
    assert written(*items) == written(*tree.values())


@given(trees())
def test_what_is_written_is_counted_and_hashed(tree: Tree) -> None:
    out = io.BytesIO()
    done = tape.write(out, tree.values())
    assert (done.size, done.sha256) == (len(out.getvalue()), hashlib.sha256(out.getvalue()).hexdigest())
    assert done.size % 512 == 0


def test_members_are_in_the_order_of_their_bytes() -> None:
    names = ["b", "a-b", "a/b", "é", "a", "Z"]
    content = written(*(Item(name, "directory") for name in names))
    assert [member.name for member in members(content)] == ["Z", "a", "a-b", "a/b", "b", "é"]


def test_hard_links_point_to_the_first_of_them() -> None:
    node = Node("file", 0o644, 0, 0, 3, layer=Digest("sha256:1"), offset=512)
    items = [Item(name, content=node) for name in ("c", "a", "b")]
    out = io.BytesIO()
    tape.write(out, items, lambda _: io.BytesIO(b"abc"))
    found = members(out.getvalue())
    assert [(one.name, one.type, one.linkname) for one in found] == [
        ("a", tarfile.REGTYPE, ""),
        ("b", tarfile.LNKTYPE, "a"),
        ("c", tarfile.LNKTYPE, "a"),
    ]


def test_files_in_one_place_that_differ_otherwise_are_no_hard_links() -> None:
    node = Node("file", 0o644, 0, 0, 3, layer=Digest("sha256:1"), offset=512)
    items = [Item("a", content=node), Item("b", content=node, mtime=5)]
    out = io.BytesIO()
    tape.write(out, items, lambda _: io.BytesIO(b"abc"))
    assert [one.type for one in members(out.getvalue())] == [tarfile.REGTYPE, tarfile.REGTYPE]


def test_a_short_name_of_plain_letters_needs_no_extended_header() -> None:
    assert len(written(Item("a", content=b"1"))) == 512 + 512 + 1024


@pytest.mark.parametrize("size", [2, 4])
def test_content_of_another_length_is_refused(size: int) -> None:
    node = Node("file", 0o644, 0, 0, 3, layer=Digest("sha256:1"))
    with pytest.raises(ValueError, match="the content of a differs from its size"):
        tape.write(io.BytesIO(), [Item("a", content=node)], lambda _: io.BytesIO(bytes(size)))


def test_the_bytes_are_these_and_no_others() -> None:
    """Ids must outlive this Python and this machine: whoever changes them raises the canonical form."""
    content = written(
        Item("dir", "directory", 0o755, mtime=1735689600),
        Item("dir/file", mode=0o4755, uid=3_000_000, gid=7, mtime=1, content=b"hello\n", capability=b"\x01"),
        Item("dir/link", "symlink", 0o777, target="é"),
        Item("x" * 101, content=b""),
    )
    assert hashlib.sha256(content).hexdigest() == GOLDEN


def test_gnu_tar_agrees(tmp_path: Path) -> None:
    names = ["short", "x" * 150, "日本語", "d/e"]
    (tmp_path / "a.tar").write_bytes(
        written(*(Item(name, content=name.encode()) for name in names), Item("d", "directory", 0o755))
    )
    shown = run.run(
        ("tar", "--list", "--quoting-style=literal", "--show-stored-names", "--file", tmp_path / "a.tar"),
        environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    assert shown.stdout.splitlines() == ["d/", "d/e", "short", "x" * 150, "日本語"]
    assert shown.stderr == ""
