"""The functions' life: state and store changed together, one change at a time.

Order of a change: code and blob into the store, then the state's one transaction, then the old
version is retired. Killed at any point, the state names only blobs that are wholly there; what
nothing names is swept when its pool closes, and all of it on start-up.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

from esb_common.clock import Clock
from esb_common.ids import Digest, FunctionName, digest_of

from esb_gateway.core import archive
from esb_gateway.core.errors import Conflict, NotFound, PreconditionFailed
from esb_gateway.core.function import Deployed, Function
from esb_gateway.core.names import Place, new_name
from esb_gateway.core.ports import State, Store
from esb_gateway.core.requests import CodeUpdate, ConfigurationUpdate, Creation


class Library:
    """All functions.

    ``retire`` is told which blob no new invocation will name, ``forget`` which function is gone.
    """

    def __init__(
        self,
        state: State,
        store: Store,
        place: Place,
        clock: Clock,
        retire: Callable[[Digest], None],
        forget: Callable[[FunctionName], Awaitable[None]],
    ) -> None:
        self._state = state
        self._store = store
        self._place = place
        self._clock = clock
        self._retire = retire
        self._forget = forget
        self._lock = asyncio.Lock()
        self._retired: dict[Digest, Digest] = {}
        self.find = state.find
        self.count = state.count
        self.page = state.page

    def get(self, name: FunctionName) -> Deployed:
        """The function called ``name``; NotFound where there is none."""
        found = self._state.find(name)
        if found is None:
            raise NotFound(f"Function not found: {self._place.arn(name)}")
        return found

    async def create(self, creation: Creation) -> Function:
        """A new function. Conflict where its name is taken."""
        name = new_name(creation.name, self._place)
        self._refuse_taken(name)
        await asyncio.to_thread(archive.check, creation.zip_file)
        async with self._lock:
            self._refuse_taken(name)
            function = Function(
                name=name,
                arn=self._place.arn(name),
                region=self._place.region,
                code=digest_of(creation.zip_file),
                code_bytes=len(creation.zip_file),
                revision=str(uuid.uuid4()),
                modified=self._now(),
                **creation.members,
            )
            await self._save(function, creation.zip_file)
        return function

    async def update_code(self, name: FunctionName, update: CodeUpdate) -> Function:
        """New code; with ``dry_run`` only what would come of it."""
        self._expected(name, update.revision)
        await asyncio.to_thread(archive.check, update.zip_file)
        async with self._lock:
            old = self._expected(name, update.revision)
            changes = {"code": digest_of(update.zip_file), "code_bytes": len(update.zip_file)}
            function = old.function.changed(changes, str(uuid.uuid4()), self._now())
            if not update.dry_run:
                await self._save(function, update.zip_file, old)
        return function

    async def update_configuration(self, name: FunctionName, update: ConfigurationUpdate) -> Function:
        """New settings."""
        async with self._lock:
            old = self._expected(name, update.revision)
            function = old.function.changed(update.changes, str(uuid.uuid4()), self._now())
            await self._save(function, None, old)
        return function

    async def delete(self, name: FunctionName) -> None:
        """Forget the function; calls that were accepted still run."""
        async with self._lock:
            old = self.get(name)
            await self._state.remove(name)
            self._give_up(old)
            await self._forget(name)

    async def sweep(self, blob: Digest) -> None:
        """Remove a retired blob, and its code where nobody else has it."""
        async with self._lock:
            code = self._retired.get(blob)
            if code is None or self._state.refers_to(blob):
                self._retired.pop(blob, None)
                return
            await self._store.remove(blob)
            del self._retired[blob]
            if not self._state.refers_to(code) and code not in self._retired.values():
                await self._store.remove(code)

    async def sweep_all(self) -> int:
        """On start-up: remove all that no function names; how many contents that were."""
        async with self._lock:
            left_over = [name for name in await self._store.names() if not self._state.refers_to(name)]
            for name in left_over:
                await self._store.remove(name)
        return len(left_over)

    async def code_part(self, code: Digest, offset: int, length: int) -> bytes:
        """A part of a package."""
        return await self._store.read(code, offset, length)

    async def code_size(self, code: Digest) -> int | None:
        """Bytes of a package; None where there is none."""
        return await self._store.size(code)

    # --- inside --------------------------------------------------------------------------

    async def _save(self, function: Function, code: bytes | None, old: Deployed | None = None) -> None:
        put: list[Digest] = []
        try:
            if code is not None:
                put.append(await self._store.put(code))
            put.append(await self._store.put(function.blob.encode()))
            new = await self._state.save(function)
        except BaseException:
            for name in put:
                if not self._state.refers_to(name) and name not in self._retired.values():
                    await self._store.remove(name)
            raise
        if old is not None and old.blob != new.blob:
            self._give_up(old)

    def _give_up(self, old: Deployed) -> None:
        self._retired[old.blob] = old.function.code
        self._retire(old.blob)

    def _refuse_taken(self, name: FunctionName) -> None:
        if self._state.find(name) is not None:
            raise Conflict(f"Function already exist: {name}")

    def _expected(self, name: FunctionName, revision: str | None) -> Deployed:
        found = self.get(name)
        if revision is not None and revision != found.function.revision:
            raise PreconditionFailed()
        return found

    def _now(self) -> str:
        wall = self._clock.wall()
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall % 1 * 1000):03d}+0000"
