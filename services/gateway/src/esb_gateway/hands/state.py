"""The state on disk: one SQLite file, all of it also in memory while the gateway runs.

Reading is a dictionary's, so the warm path never waits for a disk; a change is one transaction,
on disk (WAL, ``synchronous=FULL``) before it is seen in memory. One process owns the file: a second one
is refused. Migrations are numbered by ``user_version`` and run in one transaction each.
Cost: start-up reads every record, about 20 µs each.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from esb_common.errors import BadInput, Broken
from esb_common.ids import FunctionName

from esb_gateway.core.function import Deployed, Function, decode, deployed, encode
from esb_gateway.hands.memory import Index

MIGRATIONS: tuple[str, ...] = (
    "CREATE TABLE functions (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID",
)


class SqliteState:
    """Made by :func:`open_state`."""

    def __init__(self, connection: sqlite3.Connection, index: Index) -> None:
        self._connection = connection
        self._index = index
        self._lock = asyncio.Lock()
        self.find = index.find
        self.page = index.page
        self.count = index.count
        self.refers_to = index.refers_to

    async def save(self, function: Function) -> Deployed:
        new = deployed(function)
        record = encode(function)
        statement = (
            "INSERT INTO functions VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET record = excluded.record"
        )
        await self._change(statement, (function.name, record), lambda: self._index.put(new))
        return new

    async def remove(self, name: FunctionName) -> None:
        statement = "DELETE FROM functions WHERE name = ?"
        await self._change(statement, (name,), lambda: self._index.remove(name))

    async def close(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._connection.close)

    async def _change(self, statement: str, values: tuple[str, ...], seen: Callable[[], None]) -> None:
        """Disk first, then memory; a cancelled caller does not part the two."""
        await asyncio.shield(self._both(statement, values, seen))

    async def _both(self, statement: str, values: tuple[str, ...], seen: Callable[[], None]) -> None:
        async with self._lock:
            await asyncio.to_thread(self._connection.execute, statement, values)
            seen()


async def open_state(path: Path) -> SqliteState:
    """The state in the file at ``path``, made or migrated where needed.

    BadInput where it is no state, or of a newer ESB; Broken where another process has it.
    """
    return await asyncio.to_thread(_open, path)


def _open(path: Path) -> SqliteState:
    connection = sqlite3.connect(path, check_same_thread=False, autocommit=True, timeout=2.0)
    try:
        return SqliteState(connection, _load(connection, path))
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise Broken(
                f"the state {path} cannot be opened: {error}", "is another gateway using it?"
            ) from None
        if isinstance(error, sqlite3.DatabaseError):
            hint = "restore it from a backup, or move it away"
            raise BadInput(f"{path} is not ESB's state: {error}", hint) from None
        raise


def _load(connection: sqlite3.Connection, path: Path) -> Index:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    _migrate(connection, path)
    records = connection.execute("SELECT record FROM functions ORDER BY name")
    return Index(decode(record) for (record,) in records)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise BadInput(
            f"{path} is of a newer ESB (state {version}, known: {len(MIGRATIONS)})", "upgrade this one"
        )
    for number, statement in enumerate(MIGRATIONS[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
