"""The writer: the same entries give the same bytes, and the reader gives them back."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from esb_builder import oci
from esb_builder.archive import Archive
from esb_builder.oci import INSTANT, Entry
from hypothesis import given
from hypothesis import strategies as st

LETTERS = st.characters(codec="utf-8", exclude_characters="/\0")
NAMES = st.text(LETTERS, min_size=1, max_size=120)
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4).map("/".join)


def layer(*entries: Entry) -> bytes:
    out = io.BytesIO()
    oci.write_layer(out, entries)
    return out.getvalue()


def test_the_order_of_entries_does_not_matter() -> None:
    one, other = Entry("b", content=b"1"), Entry("a", "directory", 0o755)
    assert layer(one, other) == layer(other, one)


def test_headers_hold_no_clock_no_names_and_only_what_was_said() -> None:
    made = layer(
        Entry("a/b", mode=0o4755, uid=7, gid=8, content=b"text"), Entry("l", "symlink", target="a/b")
    )
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        file, link = tar.getmembers()
    assert (file.mode, file.uid, file.gid, file.size, file.mtime) == (0o4755, 7, 8, 4, INSTANT)
    assert (file.uname, file.gname, file.pax_headers) == ("", "", {})
    assert (link.issym(), link.linkname) == (True, "a/b")


@given(st.dictionaries(PATHS, st.binary(max_size=2000), max_size=8))
def test_a_tar_reader_gets_back_every_path_and_content(files: dict[str, bytes]) -> None:
    made = layer(*(Entry(path, content=content) for path, content in files.items()))
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        read = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
        assert list(read) == sorted(files, key=str.encode)
    assert read == files


def test_a_folder_becomes_entries_without_owner_umask_or_time(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/sub/run").write_bytes(b"#!")
    (tmp_path / "in/sub/run").chmod(0o700)
    (tmp_path / "in/data").write_bytes(b"1")
    (tmp_path / "in/data").chmod(0o600)
    (tmp_path / "in/link").symlink_to("data")
    found = {one.path: (one.kind, one.mode, one.uid) for one in oci.entries_below(tmp_path / "in", "at")}
    assert found == {
        "at/sub": ("directory", 0o755, 0),
        "at/sub/run": ("file", 0o755, 0),
        "at/data": ("file", 0o644, 0),
        "at/link": ("symlink", 0o777, 0),
    }


def test_an_archive_gives_back_the_image_under_its_name(tmp_path: Path) -> None:
    content = layer(Entry("etc/motd", content=b"hello"))
    (tmp_path / "layer.tar").write_bytes(content)
    manifest = oci.write_image(tmp_path / "layout", [tmp_path / "layer.tar"], {"User": "1:1"}, "name:latest")
    oci.write_archive(tmp_path / "image.tar", tmp_path / "layout")
    with Archive(tmp_path / "image.tar") as archive:
        (image,) = archive.images()
        assert image.tree().read("etc/motd") == b"hello"
    assert image.names == ("name:latest",)
    assert image.config["config"] == {"User": "1:1"}
    assert image.diff_ids == ("sha256:" + hashlib.sha256(content).hexdigest(),)
    assert (tmp_path / "layout/blobs/sha256" / manifest.removeprefix("sha256:")).exists()


def test_the_same_image_twice_is_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(layer(Entry("a")))
    for number in ("1", "2"):
        oci.write_image(tmp_path / number, [tmp_path / "layer.tar"], {"Env": ["A=1"]})
        oci.write_archive(tmp_path / f"{number}.tar", tmp_path / number)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_an_existing_layout_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(layer(Entry("a")))
    oci.write_image(tmp_path / "layout", [tmp_path / "layer.tar"])
    with pytest.raises(FileExistsError):
        oci.write_image(tmp_path / "layout", [tmp_path / "layer.tar"])
