"""Functions change wholly or not at all, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from esb_common.clock import SystemClock
from esb_common.ids import Digest, FunctionName, digest_of
from esb_gateway.core.errors import Conflict, NotFound, PreconditionFailed
from esb_gateway.core.function import Deployed, Function
from esb_gateway.core.names import Place
from esb_gateway.core.requests import CodeUpdate, ConfigurationUpdate, Creation
from esb_gateway.hands.library import Library
from esb_gateway.hands.memory import MemoryState, MemoryStore
from esb_gateway.testing import package

CODE = package()
NEW_CODE = package({"app.py": "new\n"})
NAME = FunctionName("f")


class FullStore(MemoryStore):
    """A store whose disk is full after so many puts."""

    puts_left = 100

    async def put(self, content: bytes) -> Digest:
        if not self.puts_left:
            raise OSError(28, "No space left on device")
        self.puts_left -= 1
        return await super().put(content)


class FailingState(MemoryState):
    """A state that can be told to fail."""

    fails = False

    async def save(self, function: Function) -> Deployed:
        if self.fails:
            raise OSError(28, "No space left on device")
        return await super().save(function)


class Shelf:
    """A library over memory, and what it retired."""

    def __init__(self) -> None:
        self.state = FailingState()
        self.store = FullStore()
        self.retired: list[Digest] = []
        place = Place("us-east-1", "000000000000")
        self.forgotten: list[str] = []
        self.library = Library(
            self.state, self.store, place, SystemClock(), self.retired.append, self._forget
        )

    async def _forget(self, name: FunctionName) -> None:
        self.forgotten.append(name)

    async def create(self) -> Function:
        members = {
            "role": "r",
            "runtime": "python3.12",
            "handler": "app.handler",
            "description": "",
            "memory_mib": 128,
            "timeout_s": 3,
            "environment": {},
            "architecture": "x86_64",
        }
        return await self.library.create(Creation("f", CODE, members))

    async def names(self) -> Sequence[Digest]:
        return sorted(await self.store.names())


def test_a_created_function_has_its_code_and_blob_in_the_store() -> None:
    async def body() -> None:
        shelf = Shelf()
        function = await shelf.create()
        assert await shelf.names() == sorted([digest_of(CODE), function.blob.digest])
        with pytest.raises(Conflict):
            await shelf.create()

    asyncio.run(body())


@pytest.mark.parametrize("puts", [0, 1])
def test_a_full_disk_leaves_nothing_of_a_new_function(puts: int) -> None:
    async def body() -> None:
        shelf = Shelf()
        shelf.store.puts_left = puts
        with pytest.raises(OSError, match="No space"):
            await shelf.create()
        assert await shelf.names() == []
        assert shelf.library.find(NAME) is None

    asyncio.run(body())


def test_a_failed_update_leaves_the_old_version_whole() -> None:
    async def body() -> None:
        shelf = Shelf()
        function = await shelf.create()
        shelf.state.fails = True
        with pytest.raises(OSError, match="No space"):
            await shelf.library.update_code(NAME, CodeUpdate(NEW_CODE, False, None))
        assert shelf.library.get(NAME).function == function
        assert await shelf.names() == sorted([digest_of(CODE), function.blob.digest])
        assert shelf.retired == []

    asyncio.run(body())


def test_an_update_retires_the_old_version_and_its_sweep_removes_it() -> None:
    async def body() -> None:
        shelf = Shelf()
        old = await shelf.create()
        new = await shelf.library.update_code(NAME, CodeUpdate(NEW_CODE, False, old.revision))
        assert shelf.retired == [old.blob.digest]
        assert len(await shelf.names()) == 4
        await shelf.library.sweep(old.blob.digest)
        assert await shelf.names() == sorted([digest_of(NEW_CODE), new.blob.digest])

    asyncio.run(body())


def test_code_that_another_version_still_needs_is_kept() -> None:
    async def body() -> None:
        shelf = Shelf()
        first = await shelf.create()
        await shelf.library.update_configuration(NAME, ConfigurationUpdate({"timeout_s": 4}, None))
        second = await shelf.library.update_configuration(NAME, ConfigurationUpdate({"timeout_s": 5}, None))
        await shelf.library.delete(NAME)
        await shelf.library.sweep(first.blob.digest)
        assert digest_of(CODE) in await shelf.names()
        for blob in shelf.retired[1:]:
            await shelf.library.sweep(blob)
        assert second.blob.digest in shelf.retired
        assert await shelf.names() == []

    asyncio.run(body())


def test_a_version_that_came_back_is_not_swept() -> None:
    async def body() -> None:
        shelf = Shelf()
        first = await shelf.create()
        await shelf.library.update_code(NAME, CodeUpdate(NEW_CODE, False, None))
        back = await shelf.library.update_code(NAME, CodeUpdate(CODE, False, None))
        assert back.blob.digest == first.blob.digest
        for blob in shelf.retired:
            await shelf.library.sweep(blob)
        assert await shelf.names() == sorted([digest_of(CODE), first.blob.digest])

    asyncio.run(body())


def test_a_change_that_no_worker_would_notice_keeps_the_version() -> None:
    async def body() -> None:
        shelf = Shelf()
        old = await shelf.create()
        new = await shelf.library.update_configuration(NAME, ConfigurationUpdate({"description": "d"}, None))
        assert new.revision != old.revision
        assert shelf.retired == []

    asyncio.run(body())


def test_a_stale_revision_changes_nothing() -> None:
    async def body() -> None:
        shelf = Shelf()
        function = await shelf.create()
        with pytest.raises(PreconditionFailed):
            await shelf.library.update_code(NAME, CodeUpdate(NEW_CODE, False, "other"))
        assert shelf.library.get(NAME).function == function

    asyncio.run(body())


def test_only_one_of_two_creations_wins() -> None:
    async def body() -> None:
        shelf = Shelf()
        results = await asyncio.gather(shelf.create(), shelf.create(), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "Function"]

    asyncio.run(body())


def test_start_up_sweeps_what_nobody_names() -> None:
    async def body() -> None:
        shelf = Shelf()
        function = await shelf.create()
        await shelf.store.put(b"left over")
        assert await shelf.library.sweep_all() == 1
        assert await shelf.names() == sorted([digest_of(CODE), function.blob.digest])

    asyncio.run(body())


def test_deleting_twice_is_not_found() -> None:
    async def body() -> None:
        shelf = Shelf()
        await shelf.create()
        await shelf.library.delete(NAME)
        assert shelf.forgotten == [NAME]
        with pytest.raises(NotFound):
            await shelf.library.delete(NAME)

    asyncio.run(body())
