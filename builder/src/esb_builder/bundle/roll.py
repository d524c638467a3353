"""The file: a tar of regular files in the plainest form (POSIX ustar), read without trusting it.

Every member is one 512-byte header and its content. Names are those of :data:`HEAD`, in that order, and
then blobs by their hash, sorted; anything else is refused, so there is no path to escape by. Reading seeks
over contents and costs a few kilobytes.
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from esb_common.errors import BadInput

from esb_builder.store import Blob

CONTENTS, SIGNER, WHEELS = "bundle.dsse.json", "signer.pem", "wheels"
HEAD = (CONTENTS, SIGNER, WHEELS)
"""The signed list; the signer's public key; the wheels' names for the launcher, a line each."""

_BLOB = re.compile(r"blobs/sha256/(?P<sha256>[0-9a-f]{64})")
_MOST_HEAD = 64 << 20
_BLOCK = 512
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member's content lies in the file, in bytes."""

    offset: int
    size: int


def write(out: IO[bytes], head: Mapping[str, bytes], blobs: Iterable[tuple[Blob, Path]]) -> None:
    """Write a roll: the same files give the same bytes. BadInput where a file has not its blob's size."""
    for name in HEAD:
        _header(out, name, len(head[name]))
        out.write(head[name] + _padding(len(head[name])))
    for blob, path in sorted(blobs):
        _header(out, f"blobs/sha256/{blob.sha256}", blob.size)
        with path.open("rb") as content:
            written = sum(out.write(chunk) for chunk in iter(lambda: content.read(_CHUNK), b""))
        if written != blob.size:
            raise BadInput(
                f"{path} has {written} bytes instead of {blob.size}", "bring it again: ./esb fetch"
            )
        out.write(_padding(blob.size))
    out.write(bytes(2 * _BLOCK))


def _header(out: IO[bytes], name: str, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    out.write(member.tobuf(tarfile.USTAR_FORMAT))


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


class Roll:
    """An opened file. BadInput from every method where it is not what :func:`write` writes."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._end = file.seek(0, 2)
        self._members = dict(self._read_members())

    def head(self, name: str) -> bytes:
        """The content of one of :data:`HEAD`."""
        place = self._members[name]
        self._file.seek(place.offset)
        return self._file.read(place.size)

    @property
    def blobs(self) -> dict[str, int]:
        """The size of each blob by SHA-256, as the file says."""
        return {
            match["sha256"]: place.size
            for name, place in self._members.items()
            if (match := _BLOB.fullmatch(name))
        }

    def chunks(self, sha256: str) -> Iterator[bytes]:
        """A blob's bytes, whatever they are."""
        place = self._members[f"blobs/sha256/{sha256}"]
        self._file.seek(place.offset)
        left = place.size
        while left and (chunk := self._file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk

    def _read_members(self) -> Iterator[tuple[str, Place]]:
        seen: list[str] = []
        offset = 0
        while (block := self._block(offset)) is not None:
            name, size = self._named(block)
            self._refuse_order(name, seen)
            if offset + _BLOCK + size > self._end or (name in HEAD and size > _MOST_HEAD):
                raise BadInput(f"{self._name} is cut off or damaged at {name}", "copy it again")
            seen.append(name)
            yield name, Place(offset + _BLOCK, size)
            offset += _BLOCK + size + -size % _BLOCK
        if len(seen) < len(HEAD):
            raise self._foreign("it has no list of what it holds")

    def _block(self, offset: int) -> bytes | None:
        """A header; None at the end, which is two blocks of zeros."""
        self._file.seek(offset)
        block = self._file.read(2 * _BLOCK)
        if len(block) < 2 * _BLOCK:
            raise BadInput(f"{self._name} is cut off after {self._end} bytes", "copy it again")
        return block[:_BLOCK] if any(block) else None

    def _named(self, block: bytes) -> tuple[str, int]:
        """A member's name and size, out of exactly the header that we would write for it."""
        try:
            name = block[:100].rstrip(b"\0").decode("ascii")
            size = int(block[124:135], 8)
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = size, 0o644, 0
            ours = member.tobuf(tarfile.USTAR_FORMAT) == block
        except ValueError:
            raise self._foreign("a header is not one of ours") from None
        if not ours:
            raise self._foreign("a header is not one of ours")
        return name, size

    def _refuse_order(self, name: str, seen: list[str]) -> None:
        wanted = HEAD[len(seen)] if len(seen) < len(HEAD) else None
        if wanted is not None and name != wanted:
            raise self._foreign(f"it begins with {name!r} where {wanted} belongs")
        if wanted is None and (not _BLOB.fullmatch(name) or (len(seen) > len(HEAD) and name <= seen[-1])):
            raise self._foreign(f"it holds {name!r} where no such file belongs")

    def _foreign(self, why: str) -> BadInput:
        return BadInput(f"{self._name} is not a bundle of ESB: {why}", "make one with: ./esb bundle create")
