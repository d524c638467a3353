import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from esb_builder.base import Apt
from esb_builder.lock.images import Registry, status_of
from esb_builder.sources.http import Gone, Web, download, read
from esb_builder.sources.machine import Machine, mirrors_of
from esb_builder.store import Blob, Corrupt, Store
from esb_common.errors import BadInput, NotPossibleHere
from local_web import Site, serving

STATUS = "Package: libc6\nStatus: install ok installed\nVersion: 2.36\n"
NAME = "debian:bookworm-slim"


def layer(files: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


@dataclass
class Published:
    """An image for two architectures: documents and blobs by hex digest."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    index: str = ""

    def add(self, content: bytes) -> dict[str, Any]:
        value = hashlib.sha256(content).hexdigest()
        self.blobs[value] = content
        return {"digest": f"sha256:{value}", "size": len(content)}

    def document(self, content: Any) -> dict[str, Any]:
        return self.add(json.dumps(content).encode())

    @classmethod
    def made(cls) -> "Published":
        one = cls()
        manifests = []
        for architecture in ("arm64", "amd64"):
            config = one.document({"architecture": architecture})
            layers = [
                one.add(layer({"./var/lib/dpkg/status": STATUS})),
                one.add(layer({"etc/hostname": architecture})),
            ]
            manifest = one.document({"schemaVersion": 2, "config": config, "layers": layers})
            manifests.append(manifest | {"platform": {"os": "linux", "architecture": architecture}})
        one.index = one.document({"schemaVersion": 2, "manifests": manifests})["digest"]
        return one


@pytest.fixture
def published() -> Published:
    return Published.made()


@pytest.fixture
def site(published: Published) -> Iterator[Site]:
    with serving(Site()) as site:
        for kind in ("manifests", "blobs"):
            site.files |= {
                f"/v2/library/debian/{kind}/sha256:{one}": content for one, content in published.blobs.items()
            }
        yield site


def machine(mirrors: str) -> Machine:
    return Machine(
        Web.of({}, lambda _: None, timeout_s=5), Apt((), ""), mirrors_of(mirrors), Path("uv"), {}, {}
    )


def layout(folder: Path, published: Published) -> Path:
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for name, content in published.blobs.items():
        (blobs / name).write_bytes(content)
    return folder


def test_an_index_is_followed_to_this_architecture(site: Site, published: Published) -> None:
    image = Registry(machine(f"registry={site.address}")).resolve(NAME, published.index, "amd64")
    assert (image.reference, image.digest) == (NAME, published.index)
    assert {blob.sha256 for blob in image.blobs} < published.blobs.keys()
    assert json.loads(published.blobs[image.config.sha256]) == {"architecture": "amd64"}
    assert len(image.layers) == 2


def test_a_registry_and_a_layout_give_the_same(site: Site, published: Published, tmp_path: Path) -> None:
    folder = layout(tmp_path / "layout", published)
    remote = Registry(machine(f"registry={site.address}")).resolve(NAME, published.index, "amd64")
    assert Registry(machine(f"registry={folder}")).resolve(NAME, published.index, "amd64") == remote


@pytest.mark.parametrize("local", [True, False], ids=["layout", "registry"])
def test_its_blobs_come_into_the_store(site: Site, published: Published, tmp_path: Path, local: bool) -> None:
    address = str(layout(tmp_path / "layout", published)) if local else site.address
    here, store = machine(f"registry={address}"), Store(tmp_path / "store")
    registry = Registry(here)
    image = registry.resolve(NAME, published.index, "amd64")
    for blob in image.blobs:
        download(here.web, registry.locations(image, blob)[0], blob, store, lambda _: None)
    assert all(store.is_sound(blob) for blob in image.blobs)
    assert status_of(image, store) == STATUS


def test_a_token_is_fetched_where_it_is_wanted_and_sent_along(site: Site, published: Published) -> None:
    path = f"/v2/library/debian/manifests/{published.index}"
    site.answers[path] = [401]
    site.headers["WWW-Authenticate"] = f'Bearer realm="{site.address}/token",service="here",scope="pull"'
    site.files["/token?service=here&scope=pull"] = b'{"token": "secret"}'
    here = machine(f"registry={site.address}")
    registry = Registry(here)
    image = registry.resolve(NAME, published.index, "amd64")
    assert [one.get("authorization") for one in site.asked_for(path)] == [None, "Bearer secret"]
    location = registry.locations(image, image.layers[0])[0]
    read(here.web, location, 1 << 20)
    assert site.asked[-1][1]["authorization"] == "Bearer secret"
    assert "secret" not in repr(location)
    assert "secret" not in repr(registry)


def test_another_document_than_the_pinned_one_is_refused(site: Site, published: Published) -> None:
    site.files[f"/v2/library/debian/manifests/{published.index}"] = b'{"config": {}, "layers": []}'
    with pytest.raises(Corrupt, match="another document"):
        Registry(machine(f"registry={site.address}")).resolve(NAME, published.index, "amd64")


@pytest.mark.parametrize("document", [b"junk", b"[]", b"{}", b'{"config": {}}'])
def test_what_is_no_image_is_refused(site: Site, document: bytes) -> None:
    value = hashlib.sha256(document).hexdigest()
    site.files[f"/v2/library/debian/manifests/sha256:{value}"] = document
    with pytest.raises(BadInput, match="no image"):
        Registry(machine(f"registry={site.address}")).resolve(NAME, f"sha256:{value}", "amd64")


def test_an_architecture_that_it_lacks_is_named(site: Site, published: Published) -> None:
    with pytest.raises(BadInput, match="linux/riscv64"):
        Registry(machine(f"registry={site.address}")).resolve(NAME, published.index, "riscv64")


def test_without_a_registry_the_setting_is_named(published: Published) -> None:
    with pytest.raises(NotPossibleHere) as caught:
        Registry(machine("")).resolve(NAME, published.index, "amd64")
    assert "ESB_MIRRORS=registry=" in caught.value.hint


def test_an_image_that_is_gone_is_gone(site: Site) -> None:
    with pytest.raises(Gone):
        Registry(machine(f"registry={site.address}")).resolve(NAME, "sha256:" + "0" * 64, "amd64")


def test_an_image_without_packages_is_no_base(tmp_path: Path, published: Published) -> None:
    store = Store(tmp_path / "store")
    image = Registry(machine(f"registry={layout(tmp_path / 'layout', published)}")).resolve(
        NAME, published.index, "amd64"
    )
    bare = store.add_bytes(layer({"bin/sh": ""}))
    without = type(image)(NAME, image.digest, image.manifest, image.config, (Blob(bare.sha256, bare.size),))
    with pytest.raises(BadInput, match="no Debian packages"):
        status_of(without, store)
