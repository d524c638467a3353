"""Firecracker's files: taken only where a list names their bytes, and stand-ins only where they say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import stand_ins
from esb_builder import artefacts
from esb_builder.lock import firecracker as locked
from esb_builder.store import Store
from esb_builder.verify import firecracker as judged
from esb_common.errors import BadInput, NotPossibleHere

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose pins are those of stand-ins, as if the project had published these."""
    place = tmp_path / "checkout"
    (place / artefacts.PINS).parent.mkdir(parents=True)
    (place / artefacts.PINS).write_text(stand_ins.sums(published(tmp_path)))
    return place


def published(place: Path) -> Path:
    return stand_ins.write(place / "published", listed=False)


def test_lock_image_and_judge_pin_the_same_files() -> None:
    pins = artefacts.pinned(ROOT, "x86_64")
    amd64 = {artefact.pin.sha256 for artefact in locked.ARTEFACTS["amd64"].values()}
    assert set(pins.values()) == amd64
    assert pins["vmlinux-6.1.155-x86_64"] == judged.PINNED["amd64"][judged.FILES[2]]
    arm64 = artefacts.pinned(ROOT, "aarch64")
    assert {artefact.pin.sha256 for artefact in locked.ARTEFACTS["arm64"].values()} <= set(arm64.values())
    assert arm64["vmlinux-6.1.155-aarch64"] == judged.PINNED["arm64"][judged.FILES[2]]


def test_a_machine_without_pins_is_told_so() -> None:
    with pytest.raises(NotPossibleHere, match="not pinned for riscv64"):
        artefacts.pinned(ROOT, "riscv64")


def test_the_store_gives_what_was_fetched(checkout: Path, store: Store, tmp_path: Path) -> None:
    for path in published(tmp_path).iterdir():
        store.add(path)
    found = artefacts.stored(checkout, store)
    assert (found.kind, found.files) == ("pinned", artefacts.pinned(checkout))


def test_what_the_store_lacks_is_named_with_both_ways_on(checkout: Path, store: Store) -> None:
    with pytest.raises(NotPossibleHere) as caught:
        artefacts.stored(checkout, store)
    assert all(name in caught.value.fact for name in artefacts.pinned(checkout))
    assert "esb fetch" in caught.value.hint
    assert "--artefacts DIR" in caught.value.hint


def test_a_folder_with_the_pinned_files_gives_the_real_thing(
    checkout: Path, store: Store, tmp_path: Path
) -> None:
    found = artefacts.given(published(tmp_path), checkout, store)
    assert found == artefacts.Artefacts("pinned", artefacts.pinned(checkout))
    assert artefacts.stored(checkout, store) == found


def test_other_bytes_are_refused_and_never_become_stand_ins(store: Store, tmp_path: Path) -> None:
    """A damaged download must not end in an image that merely is labelled."""
    with pytest.raises(BadInput, match=r"is not the file that artefacts\.sha256 names") as caught:
        artefacts.given(published(tmp_path), ROOT, store)
    assert artefacts.STAND_INS in caught.value.hint
    assert not store.folder.exists()


def test_listed_stand_ins_are_taken_and_named_so(store: Store, tmp_path: Path) -> None:
    folder = stand_ins.write(tmp_path / "given")
    found = artefacts.given(folder, ROOT, store)
    assert found.kind == "stand-ins"
    assert found.files.keys() == artefacts.pinned(ROOT).keys() | {artefacts.STAND_INS}


def test_a_stand_in_that_is_not_the_listed_one_is_refused(store: Store, tmp_path: Path) -> None:
    folder = stand_ins.write(tmp_path / "given")
    changed = next(folder.glob("vmlinux-*"))
    changed.write_bytes(b"another")
    with pytest.raises(BadInput, match=r"is not the file that stand-ins\.sha256 names"):
        artefacts.given(folder, ROOT, store)


@pytest.mark.parametrize("lost", ["vmlinux", "firecracker"])
def test_a_missing_file_or_line_is_named(lost: str, store: Store, tmp_path: Path) -> None:
    folder = stand_ins.write(tmp_path / "given")
    path = next(folder.glob(f"{lost}-*"))
    path.unlink()
    with pytest.raises(BadInput, match=path.name):
        artefacts.given(folder, ROOT, store)
    (folder / artefacts.STAND_INS).write_text(stand_ins.sums(folder))
    with pytest.raises(BadInput, match=f"does not list {path.name}"):
        artefacts.given(folder, ROOT, store)


@pytest.mark.parametrize("text", ["hello\n", "0" * 64 + "  ../etc/passwd\n", "0" * 63 + "  a\n", "\n"])
def test_a_line_that_is_none_of_sha256sum_is_refused_with_its_number(text: str) -> None:
    with pytest.raises(BadInput, match="list:2 is not a line of sha256sum"):
        artefacts.sums("0" * 64 + "  a\n" + text, "list")


def test_the_view_holds_exactly_the_files_and_the_key_follows_their_bytes(
    store: Store, tmp_path: Path
) -> None:
    folder = stand_ins.write(tmp_path / "given")
    found = artefacts.given(folder, ROOT, store)
    shown = found.show(store, tmp_path / "checkout")
    assert {path.name for path in shown.iterdir()} == found.files.keys()
    assert (shown / artefacts.STAND_INS).read_bytes() == (folder / artefacts.STAND_INS).read_bytes()
    other = artefacts.Artefacts("pinned", {**found.files, next(iter(found.files)): "0" * 64})
    assert found.key == artefacts.given(folder, ROOT, store).key != other.key
