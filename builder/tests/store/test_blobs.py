import hashlib
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from esb_builder.store import Blob, Corrupt, Store
from esb_common.errors import BadInput

CONTENT = bytes(range(256)) * 1000


def blob_of(content: bytes) -> Blob:
    return Blob(hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class GaveUp(Exception):
    """The writer of a part stops before its end."""


def break_off(store: Store, blob: Blob, content: bytes, meanwhile: Callable[[], None] = lambda: None) -> None:
    with suppress(GaveUp), store.receiving(blob) as part:
        assert part is not None
        meanwhile()
        part.write(content)
        raise GaveUp


def go_on(store: Store, blob: Blob) -> int:
    """Write the rest of CONTENT; the offset that it was continued from."""
    with store.receiving(blob) as part:
        assert part is not None
        offset = part.offset
        part.write(CONTENT[offset:])
    return offset


def visible(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file())


def test_what_was_put_is_there_under_its_hash(store: Store) -> None:
    blob = blob_of(CONTENT)
    path = store.put((CONTENT[:1000], CONTENT[1000:]), blob)
    assert path.read_bytes() == CONTENT
    assert visible(store) == [blob.sha256]
    assert store.has(blob)
    assert store.is_sound(blob)


def test_a_blob_is_read_only_whatever_the_umask(store: Store) -> None:
    before = os.umask(0o077)
    try:
        path = store.put((CONTENT,), blob_of(CONTENT))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.parametrize(
    "sent", [CONTENT[:-1], CONTENT + b"x", b"", CONTENT[:-1] + b"!"], ids=["short", "long", "empty", "other"]
)
def test_other_bytes_are_refused_and_nothing_is_left(store: Store, sent: bytes) -> None:
    with pytest.raises(Corrupt):
        store.put((sent,), blob_of(CONTENT))
    assert visible(store) == []


def test_a_part_is_continued(store: Store) -> None:
    blob = blob_of(CONTENT)
    break_off(store, blob, CONTENT[:5000])
    assert not store.has(blob)
    assert go_on(store, blob) == 5000
    assert store.is_sound(blob)


def test_a_part_with_wrong_bytes_is_never_trusted(store: Store) -> None:
    blob = blob_of(CONTENT)
    store.put((b"x",), blob_of(b"x"))
    store.path(blob.sha256 + ".part").write_bytes(b"\0" * 5000)
    with pytest.raises(Corrupt):
        go_on(store, blob)
    assert not store.has(blob)


def test_a_part_longer_than_its_blob_is_dropped(store: Store) -> None:
    blob = blob_of(CONTENT)
    store.put((b"x",), blob_of(b"x"))
    store.path(blob.sha256 + ".part").write_bytes(CONTENT + b"more")
    assert go_on(store, blob) == 0
    assert store.is_sound(blob)


def test_the_second_of_two_waits_and_finds_it(store: Store) -> None:
    blob = blob_of(CONTENT)
    found: list[bool] = []

    def second() -> None:
        with store.receiving(blob) as part:
            found.append(part is None)

    with store.receiving(blob) as part:
        assert part is not None
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        assert found == []
        part.write(CONTENT)
    thread.join(5)
    assert found == [True]


def test_the_second_takes_over_where_the_first_failed(store: Store) -> None:
    blob = blob_of(CONTENT)
    offsets: list[int] = []

    thread = threading.Thread(target=lambda: offsets.append(go_on(store, blob)))
    break_off(store, blob, CONTENT[:7], meanwhile=thread.start)
    thread.join(5)
    assert offsets == [7]
    assert store.is_sound(blob)


def test_a_truncated_blob_is_no_blob_and_is_replaced(store: Store) -> None:
    blob = blob_of(CONTENT)
    path = store.put((CONTENT,), blob)
    path.chmod(0o644)
    path.write_bytes(CONTENT[:10])
    assert not store.has(blob)
    store.put((CONTENT,), blob)
    assert store.is_sound(blob)


def test_a_file_is_added_as_what_it_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert store.add(tmp_path / "file") == blob_of(CONTENT)
    assert store.add_bytes(b"") == blob_of(b"")


def test_a_view_holds_exactly_its_files_as_hard_links(store: Store, tmp_path: Path) -> None:
    one, two = store.add_bytes(b"one"), store.add_bytes(b"two")
    view = tmp_path / "views" / "debs"
    store.view(view, {"a.deb": one.sha256, "sub/b.deb": two.sha256})
    assert (view / "a.deb").stat().st_ino == store.path(one.sha256).stat().st_ino
    store.view(view, {"b.deb": two.sha256})
    assert [path.name for path in view.iterdir()] == ["b.deb"]
    assert [path.name for path in view.parent.iterdir()] == ["debs"]


def test_a_view_of_what_is_not_there_names_it_and_leaves_the_old(store: Store, tmp_path: Path) -> None:
    view = tmp_path / "view"
    store.view(view, {"a": store.add_bytes(b"one").sha256})
    with pytest.raises(BadInput, match=r"b\.deb"):
        store.view(view, {"b.deb": "0" * 64})
    assert (view / "a").read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "view"]
