"""One contract for every state and every store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from esb_common.errors import BadInput, Broken
from esb_common.ids import Digest, FunctionName, digest_of
from esb_gateway.core.function import Function
from esb_gateway.core.ports import State, Store
from esb_gateway.hands.memory import MemoryState, MemoryStore
from esb_gateway.hands.state import MIGRATIONS, open_state
from esb_gateway.hands.store import FileStore


def function(name: str = "f", code: bytes = b"code", **members: Any) -> Function:
    given: dict[str, Any] = {
        "name": FunctionName(name),
        "arn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
        "region": "us-east-1",
        "role": "arn:aws:iam::000000000000:role/any",
        "runtime": "python3.12",
        "handler": "app.handler",
        "description": "",
        "memory_mib": 128,
        "timeout_s": 3,
        "architecture": "x86_64",
        "code": digest_of(code),
        "code_bytes": len(code),
        "revision": "1",
        "modified": "2024-01-01T00:00:00.000+0000",
        "environment": {"A": "é"},
    }
    return Function(**given | members)


OpenState = Callable[[], Awaitable[State]]


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> OpenState:
    async def memory() -> State:
        return MemoryState()

    async def sqlite() -> State:
        return await open_state(tmp_path / "state.sqlite")

    return memory if request.param == "memory" else sqlite


def test_what_is_saved_is_found(opened: OpenState) -> None:
    async def body() -> None:
        state = await opened()
        saved = await state.save(function())
        assert state.find(FunctionName("f")) == saved
        assert saved.function == function()
        assert saved.blob == function().blob.digest
        assert state.count() == 1
        await state.close()

    asyncio.run(body())


def test_saving_again_replaces(opened: OpenState) -> None:
    async def body() -> None:
        state = await opened()
        old = await state.save(function())
        new = await state.save(function(memory_mib=256))
        assert state.find(FunctionName("f")) == new
        assert state.count() == 1
        assert not state.refers_to(old.blob)
        assert state.refers_to(new.blob)
        assert state.refers_to(digest_of(b"code"))
        await state.close()

    asyncio.run(body())


def test_what_is_removed_is_gone(opened: OpenState) -> None:
    async def body() -> None:
        state = await opened()
        await state.save(function("a"))
        await state.save(function("b"))
        await state.remove(FunctionName("a"))
        await state.remove(FunctionName("a"))
        assert state.find(FunctionName("a")) is None
        assert state.refers_to(digest_of(b"code"))
        await state.remove(FunctionName("b"))
        assert not state.refers_to(digest_of(b"code"))
        assert list(state.page("", 10)) == []
        await state.close()

    asyncio.run(body())


def test_pages_follow_the_order_of_names(opened: OpenState) -> None:
    async def body() -> None:
        state = await opened()
        for name in ("b", "a", "d", "c"):
            await state.save(function(name))
        assert [f.name for f in state.page("", 2)] == ["a", "b"]
        assert [f.name for f in state.page("b", 2)] == ["c", "d"]
        assert [f.name for f in state.page("bb", 1)] == ["c"]
        assert list(state.page("d", 2)) == []
        await state.close()

    asyncio.run(body())


# --- SQLite -------------------------------------------------------------------------------


def test_a_state_survives_reopening(tmp_path: Path) -> None:
    async def body() -> None:
        state = await open_state(tmp_path / "s")
        saved = await state.save(function())
        await state.save(function("gone"))
        await state.remove(FunctionName("gone"))
        await state.close()
        again = await open_state(tmp_path / "s")
        assert again.find(FunctionName("f")) == saved
        assert again.count() == 1
        await again.close()

    asyncio.run(body())


def test_a_saved_function_is_on_disk_before_it_is_seen(tmp_path: Path) -> None:
    async def body() -> None:
        state = await open_state(tmp_path / "s")
        saving = asyncio.ensure_future(state.save(function()))
        await asyncio.sleep(0)
        assert state.find(FunctionName("f")) is None
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        await state.save(function("other"))
        assert state.find(FunctionName("f")) is not None
        await state.close()
        again = await open_state(tmp_path / "s")
        assert again.count() == 2
        await again.close()

    asyncio.run(body())


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        state = await open_state(tmp_path / "s")
        with pytest.raises(Broken, match="another gateway"):
            await open_state(tmp_path / "s")
        await state.close()

    asyncio.run(body())


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"no database" * 100)
    with pytest.raises(BadInput, match="not ESB's state"):
        asyncio.run(open_state(tmp_path / "s"))


def test_a_newer_state_is_refused_untouched(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(BadInput, match="newer"):
        asyncio.run(open_state(tmp_path / "s"))
    with sqlite3.connect(tmp_path / "s") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


# --- the stores ---------------------------------------------------------------------------


OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["memory", "files"])
def opened_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    async def memory() -> Store:
        return MemoryStore()

    async def files() -> Store:
        store = FileStore(tmp_path / "store")
        await store.open()
        return store

    return memory if request.param == "memory" else files


def test_a_store_keeps_contents_by_digest(opened_store: OpenStore) -> None:
    async def body() -> None:
        store = await opened_store()
        name = await store.put(b"content")
        assert name == digest_of(b"content") == await store.put(b"content")
        assert await store.names() == [name]
        assert await store.size(name) == 7
        assert await store.read(name, 3, 2) == b"te"
        await store.remove(name)
        await store.remove(name)
        assert await store.names() == []
        assert await store.size(name) is None
        with pytest.raises(FileNotFoundError):
            await store.read(name, 0, 1)

    asyncio.run(body())


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    async def body() -> Digest:
        store = FileStore(tmp_path)
        await store.open()
        return await store.put(b"content")

    name = asyncio.run(body())
    path = tmp_path / "sha256" / name.removeprefix("sha256:")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"content"


def test_what_a_killed_process_left_is_removed_on_opening(tmp_path: Path) -> None:
    async def body() -> None:
        store = FileStore(tmp_path)
        await store.open()
        (tmp_path / "sha256" / ".tmp-1234").write_bytes(b"half")
        assert await store.names() == []
        await FileStore(tmp_path).open()
        assert list((tmp_path / "sha256").iterdir()) == []

    asyncio.run(body())


def test_replacing_keeps_equality() -> None:
    assert replace(function(), revision="2") != function()
