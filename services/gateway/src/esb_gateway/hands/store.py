"""Content-addressed files: ``store/sha256/<hex>``, the layout of OCI's blobs folder.

A file appears by rename once all of it is on disk, so a cut upload leaves nothing under a
digest. Left-over temporary files of a killed process are removed on opening. Files are 0600;
the node reads them as root. All disk work happens in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from esb_common.function import blob_path
from esb_common.ids import Digest, digest_of

TEMPORARY = ".tmp-"


class FileStore:
    """The store below ``root``; :meth:`open` first."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "sha256"

    async def open(self) -> None:
        """Make the folder, and remove what a killed process left half-written."""
        await asyncio.to_thread(self._open)

    async def put(self, content: bytes) -> Digest:
        return await asyncio.to_thread(self._put, content)

    async def remove(self, name: Digest) -> None:
        await asyncio.to_thread(lambda: blob_path(self._root, name).unlink(missing_ok=True))

    async def names(self) -> Sequence[Digest]:
        return await asyncio.to_thread(self._names)

    async def size(self, name: Digest) -> int | None:
        try:
            return (await asyncio.to_thread(os.stat, blob_path(self._root, name))).st_size
        except FileNotFoundError:
            return None

    async def read(self, name: Digest, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(self._read, name, offset, length)

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left_over in self._folder.glob(f"{TEMPORARY}*"):
            left_over.unlink()

    def _put(self, content: bytes) -> Digest:
        name = digest_of(content)
        path = blob_path(self._root, name)
        if path.exists():
            return name
        temporary = self._folder / f"{TEMPORARY}{secrets.token_hex(8)}"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise
        _sync_folder(self._folder)
        return name

    def _names(self) -> list[Digest]:
        return [Digest(f"sha256:{path.name}") for path in self._folder.iterdir() if path.name[0] != "."]

    def _read(self, name: Digest, offset: int, length: int) -> bytes:
        with open(blob_path(self._root, name), "rb") as file:
            return os.pread(file.fileno(), length, offset)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
