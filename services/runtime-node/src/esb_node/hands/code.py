"""Functions and their code: from the gateway's store to a folder that a worker can be shown.

The store (``ESB_DATA_DIR/store``) belongs to the gateway and is only read: no link in it is followed,
nothing but a file is read, and of that no more than a function may have. Every blob is checked against
its digest while it is read, so what runs is what was named. Code is unpacked
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
import stat
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from esb_common import ids
from esb_common.function import FunctionBlob, blob_path, decode_function
from esb_common.log import Log

from esb_node.core.ports import StartRefused
from esb_node.hands.archive import MOST_BYTES, BadArchive, unpack

_CHUNK = 1 << 20
_LARGEST_FUNCTION = 1 << 20
_LARGEST_ZIP = MOST_BYTES


class CodeShelf:
    """Unpacked code by digest. One per node; all methods from one event loop."""

    def __init__(self, store: Path, folder: Path, log: Log) -> None:
        self._store = store
        self._folder = folder
        self._log = log
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
        """Remove the code that no worker uses and whose blob is gone from the store. What stays is logged."""
        try:
            found = list(self._folder.iterdir())
        except OSError as error:
            self._log.error("unused code cannot be looked for", reason=str(error))
            return
        for path in found:
            try:
                if (unused := self._put_out_of_sight(path)) is not None:
                    await asyncio.to_thread(shutil.rmtree, unused)
            except OSError as error:
                self._log.error("unused code cannot be removed", code=path.name, reason=str(error))

    def _put_out_of_sight(self, path: Path) -> Path | None:
        """Where ``path`` is now, if it is unused: a start from now on unpacks anew or is refused."""
        code = ids.Digest(f"sha256:{path.name}")
        if path.name.startswith(".") or code in self._leases or blob_path(self._store, code).exists():
            return None
        return path.rename(path.with_name(f".unpacking-removed-{path.name}"))

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
            descriptor = _open_below(self._store, blob_path(self._store, name).relative_to(self._store))
        except FileNotFoundError:
            raise StartRefused(absent, f"the store has no blob {name}") from None
        except OSError as error:
            raise StartRefused("BadFunction", f"the blob {name} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StartRefused("BadFunction", f"the blob {name} is not a file")
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


def _open_below(folder: Path, path: Path) -> int:
    """A descriptor to read ``path`` below ``folder`` from. No link is followed, no writer waited for."""
    *parents, name = path.parts
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for parent in parents:
            inner = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def _copy_checked(blob: IO[bytes], copy: IO[bytes], code: ids.Digest) -> None:
    seen, left = hashlib.sha256(), _LARGEST_ZIP
    while chunk := blob.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise StartRefused("BadFunction", f"the code {code} is larger than {_LARGEST_ZIP >> 20} MB")
        seen.update(chunk)
        copy.write(chunk)
    if f"sha256:{seen.hexdigest()}" != code:
        raise StartRefused("BadFunction", f"the code {code} does not match its digest")
    copy.seek(0)
