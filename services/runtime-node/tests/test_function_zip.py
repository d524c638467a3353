"""Zips that must not get out, and zips that must keep what they hold."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from esb_node.hands.archive import BadArchive, unpack

LINK, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666


def archive(*entries: tuple[str, bytes, int]) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(entry, data)
    content.seek(0)
    return content


def file(name: str, mode: int = 0o600) -> tuple[str, bytes, int]:
    return name, b"content", stat.S_IFREG | mode


def test_files_folders_links_and_execute_bits_are_kept(tmp_path: Path) -> None:
    entries = (file("a/run", 0o700), file("a/data", 0o600), ("b/", b"", 0), ("c/link", b"../a/run", LINK))
    unpack(archive(*entries), tmp_path)
    assert stat.S_IMODE((tmp_path / "a/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a/data").stat().st_mode) == 0o644
    assert (tmp_path / "b").is_dir()
    assert (tmp_path / "c/link").read_bytes() == b"content"


@pytest.mark.parametrize("name", ["/etc/passwd", "../out", "a/../../out", "a/..", ".."])
def test_names_outside_are_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(BadArchive, match="not a name inside"):
        unpack(archive(file(name)), inside)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../out", b"a/../../out", b"", b"loop"])
def test_links_that_leave_are_refused(tmp_path: Path, target: bytes) -> None:
    with pytest.raises(BadArchive):
        unpack(archive(("loop", target, LINK)), tmp_path)


def test_a_chain_of_links_does_not_get_out(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    chain = archive(("a/b/c/", b"", 0), ("x", b"a/b/c", LINK), ("a/y", b"../x/../../../..", LINK))
    with pytest.raises(BadArchive, match="leaves"):
        unpack(chain, inside)


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.lstat().st_mode) for path in folder.rglob("*"))


def test_a_link_is_never_made_through_an_earlier_one(tmp_path: Path) -> None:
    inside = tmp_path / "outer" / "inside"
    inside.mkdir(parents=True)
    way_out = archive(
        ("x/y/z/w/up", b"../../../..", LINK),
        ("esc", b"x/y/z/w/up/../..", LINK),
        ("esc/etc/evil", b"../../app.py", LINK),
        file("app.py"),
    )
    with pytest.raises(BadArchive, match="leaves"):
        unpack(way_out, inside)
    assert [name for name, _ in tree(tmp_path) if not name.startswith("outer/inside/")] == [
        "outer",
        "outer/inside",
    ]


def test_not_even_through_one_that_stays_inside(tmp_path: Path) -> None:
    through = archive(file("a/data"), ("b", b"a", LINK), ("b/c/link", b"../data", LINK))
    with pytest.raises(BadArchive, match="a link and a folder at once"):
        unpack(through, tmp_path)
    assert not (tmp_path / "a/c").exists()


def test_a_link_that_a_later_one_leads_astray_is_refused(tmp_path: Path) -> None:
    astray = archive(file("p/q"), ("d/a", b"b/../..", LINK), ("d/b", b"../p", LINK), ("c", b"d/a/x", LINK))
    with pytest.raises(BadArchive, match="leaves"):
        unpack(astray, tmp_path)


def test_folders_are_open_to_all_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        unpack(archive(file("a/b/data"), ("c/d/", b"", 0), ("e/link", b"../a", LINK)), tmp_path)
    finally:
        os.umask(before)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir() and not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}
    assert len(folders) == 5


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    with pytest.raises(BadArchive):
        unpack(archive(("x", b"../outside", LINK), file("x/evil")), inside)
    assert list(outside.iterdir()) == []


def test_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="neither"):
        unpack(archive(("dev", b"", DEVICE)), tmp_path)


def test_a_bomb_is_stopped_by_what_really_comes_out(tmp_path: Path) -> None:
    bomb = archive(("zeros", bytes(5 << 20), stat.S_IFREG), ("more", bytes(5 << 20), stat.S_IFREG))
    assert len(bomb.getvalue()) < 1 << 20
    with pytest.raises(BadArchive, match="larger than"):
        unpack(bomb, tmp_path, most_bytes=8 << 20)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all"])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadArchive, match="not a readable zip"):
        unpack(io.BytesIO(content), tmp_path)


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(archive(("a", bytes(range(256)) * 64, stat.S_IFREG)).getvalue())
    content[60] ^= 0xFF
    with pytest.raises(BadArchive):
        unpack(io.BytesIO(content), tmp_path)


def test_one_name_as_file_and_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="at once"):
        unpack(archive(file("a"), file("a/b")), tmp_path)
