"""Bundles from a made-up checkout: what comes back, what is refused, and that nothing lands outside."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from authorities import NOW
from esb_builder import bundle, oci, stamps
from esb_builder.bundle import roll
from esb_builder.bundle.contents import KIND, decode, encode
from esb_builder.bundle.packing import Ingredients
from esb_builder.ca import issue
from esb_builder.canonical import Shelf
from esb_builder.lock.model import Lock, Pin, WheelSet
from esb_builder.signing import attestations, dsse, keys
from esb_builder.signing.keys import Signer
from esb_builder.stamps import Stamp
from esb_builder.store import Blob, Store
from esb_builder.voice import Recorded
from esb_common.errors import BadInput, EsbError, Misuse
from esb_common.ids import Digest
from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Machine:
    """A home and a checkout with its lock."""

    home: Path
    root: Path

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    @property
    def root_ca(self) -> Path:
        return self.home / "certs/rootCA.crt"

    def load(self, file: Path, trust: str | None) -> bundle.Loaded:
        return bundle.load(file, self.root, self.home, self.root_ca, trust, Recorded())

    @property
    def seen(self) -> dict[str, bytes]:
        """Every file outside the store."""
        files = [
            one for one in self.home.rglob("*") if one.is_file() and self.home / "store" not in one.parents
        ]
        return {str(one.relative_to(self.home)): one.read_bytes() for one in files}


def machine(place: Path) -> Machine:
    (place / "checkout").mkdir(parents=True)
    (place / "checkout/esb.lock").write_text("the lock\n")
    return Machine(place / "home", place / "checkout")


def image(store: Store) -> Stamp:
    """An image of one layer."""
    layer = store.add_bytes(b"layer")
    config = {"rootfs": {"diff_ids": [f"sha256:{layer.sha256}"]}, "history": []}
    return Stamp({"argument A": "1"}, Shelf(store).document(config), "of my engine", "", 1)


def pin(store: Store, name: str) -> Pin:
    blob = store.add_bytes(name.encode())
    return Pin("1", blob.sha256, blob.size, name)


@pytest.fixture
def source(tmp_path: Path) -> Machine:
    made = machine(tmp_path / "source")
    made.root_ca.parent.mkdir(parents=True)
    made.root_ca.write_bytes(issue.pem(issue.root(issue.new_key(), "factory", NOW)))
    return made


@pytest.fixture
def target(tmp_path: Path) -> Machine:
    return machine(tmp_path / "target")


@pytest.fixture
def signer(source: Machine) -> Signer:
    keys.init(source.home)
    return keys.load(source.home)


@pytest.fixture
def parts(source: Machine, signer: Signer) -> Ingredients:
    store = source.store
    stamp = image(store)
    statement = attestations.folder(source.home, stamp.id) / "provenance.dsse.json"
    statement.parent.mkdir(parents=True)
    statement.write_text("signed")
    own = WheelSet("requirements.lock", "1" * 64, {"a": pin(store, "a-1-py3-none-any.whl")})
    cli = WheelSet("cli/requirements.lock", "2" * 64, {"b": pin(store, "b-1-py3-none-any.whl")})
    return Ingredients(
        store=store,
        home=source.home,
        lock=Lock("debian", oci.architecture(), wheels={"own": own}, python=pin(store, "python.tar")),
        lock_file=source.root / "esb.lock",
        root_ca=source.root_ca,
        images={"esb-os-base": stamp},
        wheels={"cli": cli},
        engine={"dockerd_1_amd64.deb": store.add_bytes(b"dockerd")},
        host={"iptables_1_amd64.deb": store.add_bytes(b"iptables")},
    )


@pytest.fixture
def file(parts: Ingredients, signer: Signer, tmp_path: Path) -> Path:
    bundle.create(tmp_path / "esb.bundle", parts, signer)
    return tmp_path / "esb.bundle"


@pytest.fixture
def trust(signer: Signer) -> str:
    return signer.verifier.fingerprint


def test_everything_arrives_where_it_is_looked_for(
    source: Machine, target: Machine, parts: Ingredients, file: Path, trust: str
) -> None:
    done = target.load(file, trust)
    stamp = parts.images["esb-os-base"]
    assert done.images
    assert target.root_ca.read_bytes() == source.root_ca.read_bytes()
    assert Shelf(target.store).has(stamp.id)
    assert stamps.read(target.home, "esb-os-base") == replace(stamp, engine_id="")
    offline = target.home / "offline"
    assert {one.name for one in offline.rglob("*.*")} == {
        "a-1-py3-none-any.whl",
        "b-1-py3-none-any.whl",
        "dockerd_1_amd64.deb",
        "iptables_1_amd64.deb",
    }
    assert (offline / "locks").read_text().split() == ["1" * 64, "2" * 64]
    assert (target.home / "attestations" / stamp.id[7:] / "provenance.dsse.json").read_text() == "signed"


def test_the_same_ingredients_give_the_same_bytes(
    parts: Ingredients, signer: Signer, file: Path, tmp_path: Path
) -> None:
    bundle.create(tmp_path / "again", parts, signer)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_any_tar_reads_it(file: Path) -> None:
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert names[:3] == list(roll.HEAD)
    assert all(name.startswith("blobs/sha256/") for name in names[3:])


def test_loading_again_stores_nothing_and_changes_nothing(target: Machine, file: Path, trust: str) -> None:
    first = target.load(file, trust)
    before = target.seen
    second = target.load(file, trust)
    assert (second.files, second.present) == (0, first.files + first.present)
    assert target.seen == before


def test_what_a_broken_off_load_left_is_taken_up_and_what_it_damaged_is_replaced(
    target: Machine, parts: Ingredients, file: Path, trust: str
) -> None:
    damaged, half = parts.engine["dockerd_1_amd64.deb"], parts.host["iptables_1_amd64.deb"]
    target.store.put((b"dockerd",), damaged)
    target.store.path(damaged.sha256).chmod(0o644)
    target.store.path(damaged.sha256).write_bytes(b"DOCKERD")
    target.store.path(half.sha256).with_name(f"{half.sha256}.part").write_bytes(b"xx")
    target.load(file, trust)
    assert target.store.is_sound(damaged)
    assert target.store.is_sound(half)


def test_another_root_ca_is_never_replaced_and_its_images_are_not_taken(
    target: Machine, file: Path, trust: str
) -> None:
    target.root_ca.parent.mkdir(parents=True)
    target.root_ca.write_bytes(b"of this machine")
    assert not target.load(file, trust).images
    assert target.root_ca.read_bytes() == b"of this machine"
    assert stamps.read(target.home, "esb-os-base") is None


def test_without_a_fingerprint_or_with_another_nothing_is_read(target: Machine, file: Path) -> None:
    with pytest.raises(Misuse, match="fingerprint"):
        target.load(file, None)
    with pytest.raises(BadInput, match="not with the trusted"):
        target.load(file, "0" * 64)
    assert target.seen == {}


def test_another_checkout_is_refused(target: Machine, file: Path, trust: str) -> None:
    (target.root / "esb.lock").write_text("another lock\n")
    with pytest.raises(BadInput, match="another checkout"):
        target.load(file, trust)
    assert target.seen == {}


def test_images_with_another_root_ca_are_not_packed(
    parts: Ingredients, signer: Signer, tmp_path: Path
) -> None:
    stamp = replace(parts.images["esb-os-base"], parts={"argument ESB_ROOT_CA_SHA256": "0" * 64})
    with pytest.raises(BadInput, match="another root CA"):
        bundle.create(tmp_path / "x", replace(parts, images={"esb-os-base": stamp}), signer)
    assert not (tmp_path / "x").exists()


def test_what_the_store_lacks_is_named_and_nothing_is_written(
    parts: Ingredients, signer: Signer, tmp_path: Path
) -> None:
    parts.store.path(parts.engine["dockerd_1_amd64.deb"].sha256).unlink()
    with pytest.raises(BadInput, match="lacks 1 files"):
        bundle.create(tmp_path / "x", parts, signer)
    assert list(tmp_path.glob("*x*")) == []


# --- hostile and damaged files --------------------------------------------------------------

Tar = list[tuple[tarfile.TarInfo, bytes]]


def members(file: Path) -> Tar:
    with tarfile.open(file) as tar:
        return [(one, (content.read() if (content := tar.extractfile(one)) else b"")) for one in tar]


def rewritten(file: Path, found: Tar, form: int = tarfile.USTAR_FORMAT) -> None:
    with tarfile.open(file, "w", format=form) as tar:
        for member, content in found:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def _blob(content: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


HOSTILE: dict[str, Callable[[Tar], Tar]] = {
    "a path out": lambda tar: [*tar, (named("../../etc/passwd"), b"x")],
    "an absolute path": lambda tar: [*tar, (named("/etc/passwd"), b"x")],
    "a path behind a blob's": lambda tar: [*tar, (named("blobs/sha256/../../x"), b"x")],
    "a link": lambda tar: [*tar, (named(_blob(b"~"), tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "a hard link": lambda tar: [*tar, (named(_blob(b"~"), tarfile.LNKTYPE, tar[-1][0].name), b"")],
    "a device": lambda tar: [*tar, (named(_blob(b"~"), tarfile.CHRTYPE), b"")],
    "a folder": lambda tar: [*tar, (named("blobs", tarfile.DIRTYPE), b"")],
    "a blob twice": lambda tar: [*tar, tar[-1]],
    "a blob that nobody signed": lambda tar: [
        *tar[:3],
        *sorted([*tar[3:], (named(_blob(b"more")), b"more")], key=lambda one: one[0].name),
    ],
    "a blob less": lambda tar: tar[:-1],
    "another order": lambda tar: [*tar[:3], *reversed(tar[3:])],
    "another content": lambda tar: [*tar[:-1], (tar[-1][0], bytes(len(tar[-1][1])))],
    "another size": lambda tar: [*tar[:-1], (tar[-1][0], tar[-1][1] + b"x")],
    "no list": lambda tar: tar[1:],
    "nothing": lambda _tar: [],
    "another list": lambda tar: [
        (tar[0][0], tar[0][1].replace(b'"payload":"', b'"payload":"AAAA')),
        *tar[1:],
    ],
    "no signature": lambda tar: [(tar[0][0], b"{}"), *tar[1:]],
    "no JSON": lambda tar: [(tar[0][0], b"["), *tar[1:]],
    "another key": lambda tar: [tar[0], (tar[1][0], b"-----BEGIN"), *tar[2:]],
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_file_is_bad_input_and_leaves_nothing(
    how: str, target: Machine, file: Path, trust: str, tmp_path: Path
) -> None:
    rewritten(file, HOSTILE[how](members(file)))
    around = {one for one in tmp_path.rglob("*") if target.home not in one.parents}
    with pytest.raises(BadInput):
        target.load(file, trust)
    assert target.seen == {}
    assert {one for one in tmp_path.rglob("*") if target.home not in one.parents} - {target.home} == around
    assert all(
        one.suffix == ".part" or hashlib.sha256(one.read_bytes()).hexdigest() == one.name
        for one in (target.home / "store/sha256").glob("*")
    )


def test_long_headers_and_gigantic_sizes_are_refused_unread(target: Machine, file: Path, trust: str) -> None:
    found = members(file)
    found[-1][0].pax_headers = {"comment": "x" * 100_000}
    rewritten(file, found, tarfile.PAX_FORMAT)
    with pytest.raises(BadInput, match="not a bundle"):
        target.load(file, trust)
    assert target.seen == {}


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 600, -1024, -512, -1, -700])
def test_a_file_that_is_cut_off_is_refused(target: Machine, file: Path, trust: str, cut: int) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:cut])
    with pytest.raises(BadInput):
        target.load(file, trust)
    assert target.seen == {}


@given(position=st.integers(min_value=0), value=st.integers(min_value=0, max_value=255))
def test_a_changed_byte_is_refused_or_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    content = bytearray(_small())
    place = position % len(content)
    content[place] = value
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(content)
    with path.open("rb") as opened:
        try:
            found = roll.Roll(opened, "changed")
            assert b"".join(found.chunks(hashlib.sha256(b"blob").hexdigest())) is not None
        except (BadInput, KeyError):
            return
    assert set(found.blobs) <= {hashlib.sha256(b"blob").hexdigest()}


def _small() -> bytes:
    out = io.BytesIO()
    roll.write(out, dict.fromkeys(roll.HEAD, b"{}"), [])
    return out.getvalue()


# --- the signed list ------------------------------------------------------------------------

SPOILED: dict[str, Callable[[dict[str, object]], object]] = {
    "schema": lambda text: text | {"schema": 2},
    "a wheel's path": lambda text: text | {"wheels": {"../x.whl": "1" * 64}},
    "a hidden file": lambda text: text | {"engine": {".x.deb": "1" * 64}},
    "a wheel among packages": lambda text: text | {"engine": {"x.whl": "1" * 64}},
    "no hash": lambda text: text | {"lock": "x"},
    "a negative size": lambda text: text | {"blobs": {"1" * 64: -1}},
    "an image that is none": lambda text: text | {"images": {"other": {}}},
    "a stamp that is none": lambda text: text | {"images": {"esb-os-base": {}}},
    "a statement elsewhere": lambda text: text | {"attestations": {"../x/provenance.dsse.json": "1" * 64}},
    "a file that is not there": lambda text: text | {"lock": "f" * 64},
    "nothing": lambda _text: [],
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_signed_list_is_not_trusted_to_be_sane(
    how: str, parts: Ingredients, signer: Signer, target: Machine, file: Path, trust: str
) -> None:
    found = members(file)
    verifier = signer.verifier
    text = json.loads(dsse.opened(found[0][1], KIND, verifier, "x"))
    spoiled = dsse.sign(json.dumps(SPOILED[how](text)).encode(), KIND, signer)
    rewritten(file, [(found[0][0], spoiled), *found[1:]])
    with pytest.raises(BadInput):
        target.load(file, trust)
    assert target.seen == {}


def test_a_list_reads_back_as_it_was(parts: Ingredients, file: Path, signer: Signer) -> None:
    text = dsse.opened(members(file)[0][1], KIND, signer.verifier, "x")
    assert encode(decode(text, "x")) == text


def test_an_image_id_is_a_digest(parts: Ingredients, file: Path, signer: Signer) -> None:
    found = decode(dsse.opened(members(file)[0][1], KIND, signer.verifier, "x"), "x")
    spoiled = replace(found, images={"esb-os-base": replace(found.images["esb-os-base"], id=Digest("x"))})
    with pytest.raises(EsbError):
        decode(encode(spoiled), "x")


def test_a_file_that_changed_in_the_store_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"short")
    with pytest.raises(BadInput, match="instead of 9"):
        roll.write(io.BytesIO(), dict.fromkeys(roll.HEAD, b""), [(Blob("1" * 64, 9), tmp_path / "blob")])
