"""Functions and their code: from the gateway's store to a folder that a worker can be shown.

The store (``ESB_DATA_DIR/store``) belongs to the gateway and is only read; every blob is
checked against its digest while it is read, so what runs is what was named. Code is unpacked
once per digest to ``ESB_NODE_DIR/code/<hex>``: into a folder beside it, then renamed, so a
half-unpacked folder is never seen. What an earlier node unpacked is not trusted (the machine may
have lost power before it was on disk): a node begins with an empty folder. Workers hold a lease
while they live; a folder goes when nobody holds it and its blob is gone. Cost: one read of the
zip per digest and life of the node; afterwards a look-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from esb_common import ids
from esb_common.function import FunctionBlob, blob_path, decode_function

from esb_node.core.ports import StartRefused
from esb_node.hands.archive import BadArchive, unpack

_CHUNK = 1 << 20
_LARGEST_FUNCTION = 1 << 20


class CodeShelf:
    """Unpacked code by digest. One per node; all methods from one event loop."""

    def __init__(self, store: Path, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._leases: Counter[ids.Digest] = Counter()
        self._turns: dict[ids.Digest, asyncio.Lock] = {}

    def open(self) -> None:
        """An empty folder. Only for a node that has just begun."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(mode=0o755, parents=True)

    async def function(self, name: ids.Digest) -> FunctionBlob:
        """The function whose blob is ``name``; StartRefused where there is none or it is no function."""
        return await asyncio.to_thread(self._read_function, name)

    @contextlib.asynccontextmanager
    async def lease(self, code: ids.Digest) -> AsyncIterator[Path]:
        """The folder of ``code``, unpacked, for as long as the lease is held."""
        self._leases[code] += 1
        try:
            # The lock lets two starts of the same code unpack it once.
            async with self._turns.setdefault(code, asyncio.Lock()):
                await asyncio.to_thread(self._unpack, code)
            yield self._unpacked(code)
        finally:
            self._leases[code] -= 1
            if not self._leases[code]:
                del self._leases[code], self._turns[code]

    async def sweep(self) -> None:
        """Remove the code that no worker uses and whose blob is gone from the store."""
        for path in list(self._folder.iterdir()):
            code = ids.Digest(f"sha256:{path.name}")
            if path.name.startswith(".") or code in self._leases or blob_path(self._store, code).exists():
                continue
            # First out of sight: a start from now on unpacks anew (and is told that the blob is gone).
            removed = path.rename(path.with_name(f".unpacking-removed-{path.name}"))
            await asyncio.to_thread(shutil.rmtree, removed)

    def _read_function(self, name: ids.Digest) -> FunctionBlob:
        with self._open_blob(name, "UnknownFunction") as file:
            content = file.read(_LARGEST_FUNCTION + 1)
        if ids.digest_of(content) != name:
            raise StartRefused("BadFunction", f"the blob {name} does not match its digest")
        try:
            return decode_function(content)
        except ValueError as error:
            raise StartRefused("BadFunction", f"the blob {name} does not decode: {error}") from None

    def _open_blob(self, name: ids.Digest, absent: str) -> IO[bytes]:
        try:
            descriptor = os.open(blob_path(self._store, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StartRefused(absent, f"the store has no blob {name}") from None
        except OSError as error:
            raise StartRefused("BadFunction", f"the blob {name} cannot be read: {error.strerror}") from None
        return open(descriptor, "rb")

    def _unpacked(self, code: ids.Digest) -> Path:
        return self._folder / code.removeprefix("sha256:")

    def _unpack(self, code: ids.Digest) -> None:
        if self._unpacked(code).exists():
            return
        with (
            self._open_blob(code, "BadFunction") as blob,
            tempfile.TemporaryFile(dir=self._folder) as copy,
            _new_folder(self._folder) as folder,
        ):
            # From a private copy: the gateway owns the blob and could change it after it was checked.
            _copy_checked(blob, copy, code)
            try:
                unpack(copy, folder)
            except BadArchive as error:
                raise StartRefused("BadFunction", f"the code {code} is refused: {error}") from None
            folder.chmod(0o755)
            folder.rename(self._unpacked(code))


@contextlib.contextmanager
def _new_folder(beside: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=beside))
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)


def _copy_checked(blob: IO[bytes], copy: IO[bytes], code: ids.Digest) -> None:
    seen = hashlib.sha256()
    while chunk := blob.read(_CHUNK):
        seen.update(chunk)
        copy.write(chunk)
    if f"sha256:{seen.hexdigest()}" != code:
        raise StartRefused("BadFunction", f"the code {code} does not match its digest")
    copy.seek(0)
