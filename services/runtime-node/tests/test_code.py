"""The code shelf on a real disk: digests, leases, sweeping."""

from __future__ import annotations

import asyncio
import io
import os
import zipfile
from pathlib import Path

import pytest
from esb_common import ids
from esb_common.function import FunctionBlob, blob_path
from esb_common.log import Log
from esb_node.core.ports import StartRefused
from esb_node.hands import code as code_module
from esb_node.hands.code import CodeShelf


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return content.getvalue()


class House:
    def __init__(self, root: Path) -> None:
        self.store = root / "store"
        self.folder = root / "code"
        self.shelf = CodeShelf(self.store, self.folder, Log("test"))
        self.shelf.open()

    def put(self, content: bytes, name: ids.Digest | None = None) -> ids.Digest:
        name = name or ids.digest_of(content)
        path = blob_path(self.store, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def function(code: ids.Digest) -> FunctionBlob:
    return FunctionBlob(ids.FunctionName("f"), "1", "arn", "r", "python3.12", "a.b", code, 128, 3)


def test_a_function_is_read_by_its_digest(house: House) -> None:
    wanted = function(ids.digest_of(b"code"))
    assert asyncio.run(house.shelf.function(house.put(wanted.encode()))) == wanted


def test_an_absent_a_wrong_and_an_undecodable_function_are_refused(house: House) -> None:
    absent = ids.digest_of(b"absent")
    wrong = house.put(b"other content", ids.digest_of(b"content"))
    for name, error in (
        (absent, "UnknownFunction"),
        (wrong, "BadFunction"),
        (house.put(b"{}"), "BadFunction"),
    ):
        with pytest.raises(StartRefused) as refused:
            asyncio.run(house.shelf.function(name))
        assert refused.value.error == error


def test_code_is_unpacked_once_for_starts_at_the_same_time(house: House) -> None:
    code = house.put(zipped(app="x = 1"))

    async def use() -> os.stat_result:
        async with house.shelf.lease(code) as folder:
            assert (folder / "app.py").read_text() == "x = 1"
            return (folder / "app.py").stat()

    async def both() -> list[os.stat_result]:
        return list(await asyncio.gather(use(), use(), use()))

    found = asyncio.run(both())
    assert len({one.st_ino for one in found}) == 1
    assert oct(found[0].st_mode & 0o777) == "0o644"
    assert [path.name for path in house.folder.iterdir()] == [code.removeprefix("sha256:")]


def test_code_that_does_not_match_or_is_no_zip_is_refused_and_nothing_is_left(house: House) -> None:
    async def use(code: ids.Digest) -> None:
        async with house.shelf.lease(code):
            pytest.fail("it was unpacked")

    for code in (
        house.put(zipped(app=""), ids.digest_of(b"x")),
        house.put(b"no zip"),
        ids.digest_of(b"absent"),
    ):
        with pytest.raises(StartRefused, match="BadFunction"):
            asyncio.run(use(code))
    assert list(house.folder.iterdir()) == []


def test_a_sweep_takes_only_what_nobody_uses_and_whose_blob_is_gone(house: House) -> None:
    used, unused, kept = (house.put(zipped(app=text)) for text in ("1", "2", "3"))

    async def play() -> None:
        async with house.shelf.lease(used):
            for code in (unused, kept):
                async with house.shelf.lease(code):
                    pass
            for code in (used, unused):
                blob_path(house.store, code).unlink()
            await house.shelf.sweep()
            left = {path.name for path in house.folder.iterdir()}
            assert left == {one.removeprefix("sha256:") for one in (used, kept)}
        await house.shelf.sweep()

    asyncio.run(play())
    assert [path.name for path in house.folder.iterdir()] == [kept.removeprefix("sha256:")]


def refusal(house: House, code: ids.Digest) -> StartRefused:
    """Why ``code`` is refused as a function and as code; bounded, since a blob could make its reader wait."""

    async def use() -> None:
        async with house.shelf.lease(code):
            pytest.fail("it was unpacked")

    async def both() -> StartRefused:
        with pytest.raises(StartRefused) as of_function:
            await asyncio.wait_for(house.shelf.function(code), 5)
        with pytest.raises(StartRefused) as of_code:
            await asyncio.wait_for(use(), 5)
        assert of_function.value.message == of_code.value.message
        return of_code.value

    return asyncio.run(both())


def test_a_blob_that_is_a_pipe_or_a_folder_is_refused_at_once(house: House) -> None:
    pipe, folder = ids.digest_of(b"pipe"), ids.digest_of(b"folder")
    blob_path(house.store, folder).mkdir(parents=True)
    os.mkfifo(blob_path(house.store, pipe))
    # With a writer that says nothing, even a reader that does not wait for one could be made to wait.
    writer = os.open(blob_path(house.store, pipe), os.O_RDWR)
    try:
        for blob in (pipe, folder):
            assert "is not a file" in refusal(house, blob).message
    finally:
        os.close(writer)


def test_no_link_in_the_store_is_followed(house: House, tmp_path: Path) -> None:
    wanted = house.put(zipped(app="x = 1"))
    (house.store / "sha256").rename(tmp_path / "elsewhere")
    (house.store / "sha256").symlink_to(tmp_path / "elsewhere")
    assert "cannot be read" in refusal(house, wanted).message


def test_no_more_of_a_blob_is_read_than_code_may_have(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_module, "_LARGEST_ZIP", 4 << 20)
    endless = house.put(b"", ids.digest_of(b"endless"))
    os.truncate(blob_path(house.store, endless), 1 << 40)

    async def use() -> None:
        async with house.shelf.lease(endless):
            pytest.fail("it was unpacked")

    with pytest.raises(StartRefused, match="larger than"):
        asyncio.run(asyncio.wait_for(use(), 60))
    assert list(house.folder.iterdir()) == []


def test_code_that_cannot_be_removed_stops_no_sweep(house: House) -> None:
    stuck, swept = house.folder / ("0" * 64), house.folder / ("1" * 64)
    for path in (stuck, swept, house.folder / f".unpacking-removed-{stuck.name}" / "in-the-way"):
        path.mkdir(parents=True)
    asyncio.run(house.shelf.sweep())
    assert stuck.exists()
    assert not swept.exists()
    (house.folder).rename(house.folder.with_name("gone"))
    asyncio.run(house.shelf.sweep())


def test_a_new_node_trusts_nothing_that_was_unpacked_before(house: House) -> None:
    (house.folder / "half").mkdir()
    house.shelf.open()
    assert list(house.folder.iterdir()) == []
