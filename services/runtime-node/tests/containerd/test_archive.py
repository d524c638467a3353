"""What an image archive may look like, and what is refused with which words."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from esb_common.errors import BadInput
from esb_node.drivers.containerd.archive import Image, chain_ids, layer_chunks, read_archive
from image_archives import Layout, digest, docker_save, encode, layer, write

BASE, CODE = layer(base="debian"), layer(code="python")
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def read(path: Path) -> Image:
    with path.open("rb") as file:
        return read_archive(file)


@pytest.mark.parametrize("compress", [False, True])
def test_an_oci_layout_gives_layers_in_order_and_the_configuration_as_identity(
    tmp_path: Path, compress: bool
) -> None:
    layout = Layout(BASE, CODE, compress=compress)
    image = read(layout.write(tmp_path / "image.tar"))
    assert image.config == layout.config["digest"]
    assert [one.diff_id for one in image.layers] == [digest(BASE), digest(CODE)]
    assert [one.digest for one in image.layers] == [one["digest"] for one in layout.layers]


def test_a_layer_is_read_in_pieces_that_make_up_its_blob(tmp_path: Path) -> None:
    path = Layout(BASE, CODE).write(tmp_path / "image.tar")
    code = read(path).layers[1]
    with path.open("rb") as file:
        pieces = list(layer_chunks(file, code, step=1000))
    assert b"".join(pieces) == CODE
    assert max(map(len, pieces)) == 1000


def test_an_archive_of_older_docker_save_is_read_by_its_manifest(tmp_path: Path) -> None:
    image = read(write(tmp_path / "image.tar", docker_save(BASE, CODE)))
    assert [one.digest for one in image.layers] == [digest(BASE), digest(CODE)]


def test_both_forms_of_one_image_have_one_identity(tmp_path: Path) -> None:
    layout = Layout(BASE, CODE)
    names = [f"blobs/sha256/{one['digest'][7:]}" for one in layout.layers]
    config = f"blobs/sha256/{layout.config['digest'][7:]}"
    oci = read(layout.write(tmp_path / "oci.tar"))
    del layout.members["index.json"]
    layout.members["manifest.json"] = encode([{"Config": config, "Layers": names}])
    assert read(layout.write(tmp_path / "docker.tar")).layers[0].diff_id == oci.layers[0].diff_id
    assert read(tmp_path / "docker.tar").config == oci.config


def test_of_several_platforms_and_an_attestation_this_machines_image_is_taken(tmp_path: Path) -> None:
    layout = Layout(BASE)
    mine = layout.set_manifest() | {"platform": {"os": "linux", "architecture": MACHINE}}
    other = mine | {"platform": {"os": "linux", "architecture": "riscv64"}}
    attestation = mine | {"platform": {"os": "unknown", "architecture": "unknown"}}
    nested = layout.blob({"manifests": [other, mine, attestation]}, "application/vnd.oci.image.index.v1+json")
    layout.set_index(nested)
    assert read(layout.write(tmp_path / "image.tar")).config == layout.config["digest"]


def test_chain_ids_follow_the_image_specification() -> None:
    first, second, third = (digest(text) for text in (b"1", b"2", b"3"))
    both = digest(f"{first} {second}".encode())
    assert chain_ids([first, second, third]) == [first, both, digest(f"{both} {third}".encode())]


def _change_a_blob(layout: Layout) -> None:
    layout.members[f"blobs/sha256/{layout.config['digest'][7:]}"] = encode({"rootfs": {"diff_ids": []}})


def _lose_a_layer(layout: Layout) -> None:
    del layout.members[f"blobs/sha256/{layout.layers[0]['digest'][7:]}"]


def _name_too_many_layers(layout: Layout) -> None:
    layout.layers *= 2
    layout.set_manifest()


def _lie_about_a_size(layout: Layout) -> None:
    layout.layers[0]["size"] += 1
    layout.set_manifest()


def _nest_for_ever(layout: Layout) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    inner = layout.set_manifest()
    for _ in range(5):
        inner = layout.blob({"manifests": [inner]}, kind)
    layout.set_index(inner)


def _index(content: bytes) -> Callable[[Layout], None]:
    def change(layout: Layout) -> None:
        layout.members["index.json"] = content

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_change_a_blob, "has another content"),
        (_lose_a_layer, "is missing"),
        (_name_too_many_layers, "2 layers, but its configuration names 1"),
        (_lie_about_a_size, "bytes, not"),
        (_nest_for_ever, "nested too deeply"),
        (lambda layout: layout.set_index(), "0 images"),
        (lambda layout: layout.set_index(*[layout.set_manifest()] * 2), "2 images"),
        (lambda layout: layout.set_manifest(os="linux", architecture="vax") and None, "0 images"),
        (_index(b"{"), "malformed"),
        (_index(b"[]"), "malformed"),
        (_index(b'{"manifests": [{"digest": "../../etc/passwd"}]}'), "not a sha256 digest"),
        (_index(b'{"manifests": [{}]}'), "malformed"),
        (_index(b"\xff"), "malformed"),
        (_index(b" " * (5 << 20)), "more than a description needs"),
        (lambda layout: layout.members.pop("index.json") and None, "neither index.json nor manifest.json"),
    ],
)
def test_a_wrong_archive_is_refused_with_its_reason(
    tmp_path: Path, change: Callable[[Layout], None], words: str
) -> None:
    layout = Layout(BASE)
    change(layout)
    with pytest.raises(BadInput, match=words):
        read(layout.write(tmp_path / "image.tar"))


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = Layout(BASE, CODE).write(tmp_path / "image.tar").read_bytes()
    needed = len(whole.rstrip(b"\0"))
    cut = tmp_path / "cut.tar"
    for length in range(0, needed, 997):
        cut.write_bytes(whole[:length])
        with pytest.raises(BadInput):
            read(cut)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b" + bytes(600)])
def test_what_is_no_tar_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(content)
    with pytest.raises(BadInput):
        read(tmp_path / "image.tar")
