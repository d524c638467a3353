"""The reader: what layers make together, and archives that it must refuse."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from esb_builder import oci
from esb_builder.archive import Archive, Tree, Window, image_id
from esb_builder.oci import Entry
from esb_common.errors import BadInput
from hypothesis import given, settings
from hypothesis import strategies as st

Blobs = dict[str, bytes]


def layer(*entries: Entry) -> bytes:
    out = io.BytesIO()
    oci.write_layer(out, entries)
    return out.getvalue()


def digest(content: bytes) -> str:
    return "sha256:" + sha256(content).hexdigest()


def blobs_of(*layers: bytes, packed: Callable[[bytes], bytes] = lambda content: content) -> Blobs:
    """The members of an archive that holds one image of these layers."""
    stored = [packed(content) for content in layers]
    config = json.dumps({"rootfs": {"diff_ids": [digest(content) for content in layers]}}).encode()
    manifest = json.dumps(
        {"config": {"digest": digest(config)}, "layers": [{"digest": digest(content)} for content in stored]}
    ).encode()
    index = {"manifests": [{"digest": digest(manifest), "annotations": {"io.containerd.image.name": "x:1"}}]}
    return {"index.json": json.dumps(index).encode()} | {
        f"blobs/sha256/{digest(content)[7:]}": content for content in (config, manifest, *stored)
    }


def write(path: Path, members: Blobs) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def tree_of(path: Path, *layers: bytes) -> dict[str, str]:
    """The merged tree: files as their content, the rest as their kind."""
    with Archive(write(path, blobs_of(*layers))) as archive:
        tree = archive.images()[0].tree()
        return {
            name: tree.open(node).read().decode() if node.kind == "file" else node.kind
            for name, node in tree.nodes.items()
        }


# --- what layers make together ----------------------------------------------------------------


def test_a_later_layer_replaces_and_adds(tmp_path: Path) -> None:
    lower = layer(Entry("a", content=b"1"), Entry("b", content=b"1"))
    upper = layer(Entry("b", content=b"2"), Entry("c", content=b"2"))
    assert tree_of(tmp_path / "a.tar", lower, upper) == {"a": "1", "b": "2", "c": "2"}


def test_a_whiteout_removes_a_file_or_a_whole_folder_of_lower_layers(tmp_path: Path) -> None:
    lower = layer(
        Entry("d", "directory"), Entry("d/x/y", content=b"1"), Entry("f", content=b"1"), Entry("dd")
    )
    upper = layer(Entry(".wh.d"), Entry(".wh.f"))
    assert tree_of(tmp_path / "a.tar", lower, upper) == {"dd": ""}


def test_an_opaque_folder_keeps_only_what_its_own_layer_brings(tmp_path: Path) -> None:
    lower = layer(Entry("d", "directory"), Entry("d/old", content=b"1"))
    upper = layer(Entry("d", "directory"), Entry("d/.wh..wh..opq"), Entry("d/new", content=b"2"))
    assert tree_of(tmp_path / "a.tar", lower, upper) == {"d": "directory", "d/new": "2"}


def test_a_whiteout_does_not_remove_what_its_own_layer_brings(tmp_path: Path) -> None:
    lower = layer(Entry("d/old", content=b"1"))
    upper = layer(Entry(".wh.d"), Entry("d/new", content=b"2"))
    assert tree_of(tmp_path / "a.tar", lower, upper) == {"d": "directory", "d/new": "2"}


def test_a_file_in_a_folders_place_removes_the_folder(tmp_path: Path) -> None:
    lower = layer(Entry("d", "directory"), Entry("d/x", content=b"1"))
    assert tree_of(tmp_path / "a.tar", lower, layer(Entry("d", content=b"2"))) == {"d": "2"}


def test_a_hard_link_has_its_targets_content_even_of_a_lower_layer(tmp_path: Path) -> None:
    lower = layer(Entry("a", content=b"1"))
    assert tree_of(tmp_path / "a.tar", lower, layer(Entry("b", "hardlink", target="a"))) == {
        "a": "1",
        "b": "1",
    }


def test_folders_that_no_layer_lists_are_there_all_the_same(tmp_path: Path) -> None:
    assert tree_of(tmp_path / "a.tar", layer(Entry("a/b/c", content=b"1")))["a/b"] == "directory"


def test_symlinks_are_followed_inside_the_image_and_loops_lead_nowhere(tmp_path: Path) -> None:
    made = layer(
        Entry("bin", "symlink", target="usr/bin"),
        Entry("usr/bin/tool", "symlink", target="/etc/tool"),
        Entry("etc", "symlink", target="../../../real"),
        Entry("real/tool", content=b"found"),
        Entry("loop", "symlink", target="loop"),
    )
    with Archive(write(tmp_path / "a.tar", blobs_of(made))) as archive:
        tree = archive.images()[0].tree()
        assert tree.real("/bin/tool") == "real/tool"
        assert tree.read("bin/tool") == b"found"
        assert tree.real("loop/x") is None


@pytest.mark.parametrize("packed", [lambda content: content, gzip.compress])
def test_layers_may_be_plain_or_gzipped(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", blobs_of(layer(Entry("a", content=b"text")), packed=packed))
    with Archive(path) as archive:
        assert archive.images()[0].tree().read("a") == b"text"


def test_an_image_under_two_names_is_one_image(tmp_path: Path) -> None:
    members = blobs_of(layer(Entry("a")))
    index = json.loads(members["index.json"])
    (entry,) = index["manifests"]
    index["manifests"].append(entry | {"annotations": {"io.containerd.image.name": "y:2"}})
    path = write(tmp_path / "a.tar", members | {"index.json": json.dumps(index).encode()})
    with Archive(path) as archive:
        (image,) = archive.images()
    assert image.names == ("x:1", "y:2")
    assert image_id(path) == image.id


def test_an_index_in_the_index_is_followed_and_attestations_are_no_images(tmp_path: Path) -> None:
    members = blobs_of(layer(Entry("a")))
    inner = json.loads(members["index.json"])
    (entry,) = inner["manifests"]
    inner["manifests"] = [
        {"digest": entry["digest"]},
        {
            "digest": "sha256:" + "0" * 64,
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        },
    ]
    content = json.dumps(inner).encode()
    outer = {
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": digest(content),
                "annotations": entry["annotations"],
            }
        ]
    }
    members |= {"index.json": json.dumps(outer).encode(), f"blobs/sha256/{digest(content)[7:]}": content}
    with Archive(write(tmp_path / "a.tar", members)) as archive:
        assert [image.names for image in archive.images()] == [("x:1",)]


# --- what must be refused ---------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_all(path)
    return str(caught.value)


def read_all(path: Path) -> list[Tree]:
    with Archive(path) as archive:
        return [image.tree() for image in archive.images()]


def edited(members: Blobs, edit: Callable[[dict[str, Any]], None]) -> Blobs:
    index = json.loads(members["index.json"])
    edit(index)
    return members | {"index.json": json.dumps(index).encode()}


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.tar")


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\0" * 100, gzip.compress(b"x")])
def test_what_is_no_tar_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert "not an image archive" in refused(tmp_path / "a.tar") or "no index.json" in refused(
        tmp_path / "a.tar"
    )


def test_a_tar_of_something_else_is_refused(tmp_path: Path) -> None:
    assert "no index.json" in refused(write(tmp_path / "a.tar", {"hello": b"1"}))


@pytest.mark.parametrize(
    "index", [b"{", b"[]", b'"x"', b"[" * 5000, b'{"manifests": 1}', b'{"manifests": [1]}']
)
def test_an_index_that_is_none_is_refused(index: bytes, tmp_path: Path) -> None:
    assert refused(write(tmp_path / "a.tar", blobs_of(layer(Entry("a"))) | {"index.json": index}))


def test_a_digest_that_could_be_a_path_is_refused(tmp_path: Path) -> None:
    def leave(index: dict[str, Any]) -> None:
        index["manifests"][0]["digest"] = "sha256:../../../etc/passwd"

    told = refused(write(tmp_path / "a.tar", edited(blobs_of(layer(Entry("a"))), leave)))
    assert "not a sha256 digest" in told


def test_a_blob_with_another_content_is_refused(tmp_path: Path) -> None:
    members = blobs_of(layer(Entry("a", content=b"1")))
    name = next(name for name, content in members.items() if b'"diff_ids"' in content)
    assert "other content" in refused(write(tmp_path / "a.tar", members | {name: members[name] + b" "}))


def test_a_layer_with_another_content_is_refused(tmp_path: Path) -> None:
    content = layer(Entry("a", content=b"1"))
    members = blobs_of(content)
    name = f"blobs/sha256/{digest(content)[7:]}"
    other = layer(Entry("a", content=b"2"))
    assert "has diffID" in refused(write(tmp_path / "a.tar", members | {name: other}))


def test_a_missing_blob_is_refused(tmp_path: Path) -> None:
    content = layer(Entry("a"))
    members = blobs_of(content)
    del members[f"blobs/sha256/{digest(content)[7:]}"]
    assert "missing" in refused(write(tmp_path / "a.tar", members))


def test_a_layer_cut_or_damaged_in_the_middle_is_refused_not_read_in_part(tmp_path: Path) -> None:
    whole = layer(*(Entry(f"f{number}", content=b"x" * 600) for number in range(4)))
    damaged = bytearray(whole)
    damaged[1536 * 2 : 1536 * 2 + 100] = b"\xff" * 100
    assert "malformed" in refused(write(tmp_path / "a.tar", blobs_of(bytes(damaged))))
    assert "malformed" in refused(write(tmp_path / "b.tar", blobs_of(whole[: 1536 + 700])))


@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", "/../x"])
def test_a_name_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    assert "outside" in refused(write(tmp_path / "a.tar", blobs_of(layer(Entry(name)))))


def test_a_hard_link_to_nothing_is_refused(tmp_path: Path) -> None:
    made = layer(Entry("b", "hardlink", target="gone"))
    assert "hard link to nothing" in refused(write(tmp_path / "a.tar", blobs_of(made)))


def test_a_layer_of_zstd_says_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", blobs_of(layer(Entry("a")), packed=lambda _: b"\x28\xb5\x2f\xfd rest"))
    assert "uncompressed or with gzip" in refused(path)


def test_a_cut_gzip_layer_is_refused(tmp_path: Path) -> None:
    made = layer(Entry("a", content=b"x" * 5000))
    path = write(tmp_path / "a.tar", blobs_of(made, packed=lambda content: gzip.compress(content)[:-20]))
    assert "cannot be expanded" in refused(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_read_right_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.getbasetemp() / "damaged.tar"
    whole = write(place, blobs_of(layer(Entry("a", content=b"1" * 700), Entry("l", "symlink", target="a"))))
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    place.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        with Archive(place) as archive:
            trees = [image.tree() for image in archive.images()]
            assert all(tree.read("l") == b"1" * 700 for tree in trees)
    except BadInput:
        return


def test_a_window_never_leaves_its_part() -> None:
    window = Window(io.BytesIO(b"0123456789"), 2, 5)
    assert window.read() == b"23456"
    assert window.seek(-2, 2) == 3
    assert window.read(100) == b"56"
    window.seek(100)
    assert window.read() == b""
