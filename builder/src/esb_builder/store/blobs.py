"""Blobs and their parts on disk."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from esb_common.errors import BadInput, Broken, NotPossibleHere

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Corrupt(BadInput):
    """Bytes that are not the ones that were asked for."""


class NoRoom(NotPossibleHere):
    """The store's file system is full. ``needed`` and ``free`` are bytes."""

    def __init__(self, folder: Path, needed: int, free: int) -> None:
        super().__init__(
            f"no room in {folder}: {needed} bytes are needed, {free} are free",
            "make room, or set ESB_HOME to a place that has it; what was fetched so far is kept",
        )
        self.needed = needed
        self.free = free


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """A file by its content: 64 hex digits of its SHA-256, and its size in bytes."""

    sha256: str
    size: int


class Part:
    """A blob on its way, held under a lock. ``offset`` bytes are there already, written by whoever."""

    def __init__(self, stream: IO[bytes], blob: Blob) -> None:
        self._stream = stream
        self._blob = blob
        self._hash = hashlib.sha256()
        self.offset = 0
        self._take_over()

    def write(self, chunk: bytes) -> None:
        """Append. Corrupt as soon as there are more bytes than the blob has; NoRoom on a full disk."""
        if self.offset + len(chunk) > self._blob.size:
            raise Corrupt(f"more than the {self._blob.size} bytes of {self._blob.sha256} came")
        rest = memoryview(chunk)
        while rest:
            written = self._write_some(rest)
            self._hash.update(rest[:written])
            self.offset += written
            rest = rest[written:]

    def _write_some(self, chunk: memoryview) -> int:
        try:
            return self._stream.write(chunk)
        except OSError as error:
            folder = Path(self._stream.name).parent
            if error.errno not in _FULL:
                raise Broken(f"cannot write to {folder}: {error.strerror}") from None
            raise NoRoom(folder, self._blob.size - self.offset, _free(folder)) from None

    def restart(self) -> None:
        """Drop what is there."""
        self._stream.seek(0)
        self._stream.truncate()
        self._hash = hashlib.sha256()
        self.offset = 0

    @property
    def size(self) -> int:
        """How many bytes it will have."""
        return self._blob.size

    @property
    def complete(self) -> bool:
        """Whether as many bytes are there as the blob has."""
        return self.offset == self._blob.size

    def check(self) -> None:
        """Corrupt unless all of it is there and has the right hash."""
        found = self._hash.hexdigest()
        if (self.offset, found) != (self._blob.size, self._blob.sha256):
            wanted = f"{self._blob.size} with {self._blob.sha256}"
            raise Corrupt(f"{self.offset} bytes with sha256 {found} instead of {wanted}")

    def seal(self) -> None:
        """Check, and flush to disk."""
        self.check()
        os.fchmod(self._stream.fileno(), 0o444)
        os.fsync(self._stream.fileno())

    def _take_over(self) -> None:
        if os.fstat(self._stream.fileno()).st_size > self._blob.size:
            self.restart()
            return
        self._stream.seek(0)
        while chunk := self._stream.read(_CHUNK):
            self._hash.update(chunk)
            self.offset += len(chunk)


class Store:
    """The store in ``folder`` (made when first written to)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "sha256"

    def path(self, sha256: str) -> Path:
        """Where a blob lies, or would."""
        return self._blobs / sha256

    def has(self, blob: Blob) -> bool:
        """Whether it is there. A file of another size in its place is no blob (someone truncated it)."""
        with suppress(FileNotFoundError):
            return self.path(blob.sha256).stat().st_size == blob.size
        return False

    def is_sound(self, blob: Blob) -> bool:
        """Whether its bytes are still the right ones; reads all of it."""
        return self.has(blob) and _digest(self.path(blob.sha256)) == blob.sha256

    def vet(self, sha256: str) -> bool:
        """Whether a blob that is there is still right; a damaged one is removed, to be fetched again."""
        sound = _digest(self.path(sha256)) == sha256
        if not sound:
            self.path(sha256).unlink()
        return sound

    @contextmanager
    def receiving(self, blob: Blob) -> Iterator[Part | None]:
        """Hold the right to write a blob; None when it is there, maybe since another process made it.

        Leaving the block without an error seals the part and puts it in place; with an error it stays as it
        is, to be continued, unless it is Corrupt. NoRoom, before anything is written, where it cannot fit.
        """
        self._make()
        while not self.has(blob):
            with self._part_path(blob).open("ab+", buffering=0) as stream:
                if not _locked(stream, self._part_path(blob)):
                    continue
                if self.has(blob):
                    break
                part = Part(stream, blob)
                self._check_room(blob.size - part.offset)
                try:
                    yield part
                    part.seal()
                except Corrupt:
                    self._part_path(blob).unlink()
                    raise
                self._place(self._part_path(blob), blob)
                return
        yield None

    def put(self, chunks: Iterable[bytes], blob: Blob) -> Path:
        """Write a blob whose content is at hand. Corrupt where it is another's."""
        with self.receiving(blob) as part:
            if part is not None:
                part.restart()
                for chunk in chunks:
                    part.write(chunk)
        return self.path(blob.sha256)

    def add(self, source: Path) -> Blob:
        """Take a copy of a file, whatever it holds, and say what it is."""
        blob = Blob(_digest(source), source.stat().st_size)
        with source.open("rb") as content:
            self.put(iter(lambda: content.read(_CHUNK), b""), blob)
        return blob

    def add_bytes(self, content: bytes) -> Blob:
        """As :meth:`add`, for bytes in memory."""
        blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
        self.put((content,), blob)
        return blob

    def view(self, folder: Path, names: Mapping[str, str]) -> None:
        """Make ``folder`` hold exactly the blobs of ``names`` (file name → SHA-256), as hard links.

        Across file systems they are copies. The folder is made aside and renamed, and what it was
        before is gone. BadInput names the first blob that the store lacks.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            aside.chmod(0o755)
            for name, sha256 in names.items():
                self._link(sha256, aside / name)
            _exchange(aside, folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def _link(self, sha256: str, place: Path) -> None:
        if not self.path(sha256).exists():
            raise BadInput(f"{place.name} ({sha256}) is not in the store", "run: ./esb fetch")
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.path(sha256), place)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            shutil.copyfile(self.path(sha256), place)
            place.chmod(0o444)

    def _make(self) -> None:
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
        except PermissionError:
            raise NotPossibleHere(
                f"cannot write to {self._blobs}", "set ESB_HOME to a folder of your own"
            ) from None

    def _part_path(self, blob: Blob) -> Path:
        return self._blobs / f"{blob.sha256}.part"

    def _check_room(self, needed: int) -> None:
        if needed > (free := _free(self._blobs)):
            raise NoRoom(self._blobs, needed, free)

    def _place(self, part: Path, blob: Blob) -> None:
        part.rename(self.path(blob.sha256))
        descriptor = os.open(self._blobs, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _locked(stream: IO[bytes], path: Path) -> bool:
    """Wait for the lock; whether what is locked still lies at ``path`` (another may have put it in place)."""
    fcntl.flock(stream, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


def _exchange(aside: Path, folder: Path) -> None:
    if not folder.exists():
        aside.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(old / "was")
    aside.rename(folder)
    shutil.rmtree(old)


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
