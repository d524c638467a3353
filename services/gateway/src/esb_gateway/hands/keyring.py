"""The credentials' file, read at the start and again whenever it was replaced.

Looked at once a second (one ``stat``), so that a key that was added or removed is known within that
time and no call waits for a disk. A file that became unreadable or wrong changes nothing and is logged;
only at the start is it an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from esb_common import credentials
from esb_common.credentials import Credentials
from esb_common.errors import BadInput
from esb_common.log import Log

LOOK_S = 1.0
Replaced = Callable[[Credentials], None]


class Keyring:
    """``credentials.json`` in ``folder``; ``first`` is what it held at the start."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._path = folder / credentials.FILE
        self._log = log
        self._seen = self._stamp()
        self.first = read(self._path)

    async def run(self, replaced: Replaced) -> None:
        """Tell every replacement, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look(replaced)

    def look(self, replaced: Replaced) -> None:
        """Tell a replacement since the last look."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            replaced(read(self._path))
        except BadInput as error:
            self._log.error("credentials not replaced", fact=error.fact)
        else:
            self._log.info("credentials replaced")

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def read(path: Path) -> Credentials:
    """The file's credentials; BadInput says why there are none."""
    try:
        return credentials.decode(path.read_bytes())
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}",
            "./esb up makes it; it must be readable by the gateway's user (ESB_UID)",
        ) from None
    except ValueError as error:
        hint = "restore it from a backup, or move it away and run: ./esb up"
        raise BadInput(f"{path} holds no credentials: {error}", hint) from None
