"""Writes tars whose every bit is ours: the same items give the same bytes on every machine and Python.

The format is POSIX ustar. A PAX record appears only where a value has no place in a ustar header: a name
that is not ASCII or is longer than 100 bytes, an owner above 2,097,151, a file's
capabilities. Owners are numbers, times whole seconds, and two blocks of zeros end the tar, with no
padding behind them. Content streams through in pieces of 1 MiB.

Format: pax(1) in POSIX.1-2024, "ustar Interchange Format" and "pax Header Block".
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal, Protocol

from esb_builder.archive import CAPABILITY, Node

Kind = Literal["file", "directory", "symlink", "hardlink"]
Content = Node | Path | bytes

_TYPES: dict[Kind, bytes] = {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5"}
_BLOCK = 512
_CHUNK = 1 << 20
_NAME = 100
_MOST_OWNER = 0o7777777
_END = bytes(2 * _BLOCK)


class Readable(Protocol):
    """What content is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class Item:
    """One member of a tar. ``path`` has no leading slash, ``target`` is a link's, ``mtime`` in seconds.

    ``content`` is a file's: bytes, a file of this machine, or a node of the archive that is read.
    """

    path: str
    kind: Kind = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: str = ""
    content: Content = field(default=b"", repr=False)
    capability: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of content; 0 for what is no file."""
        if self.kind != "file":
            return 0
        match self.content:
            case bytes():
                return len(self.content)
            case Path():
                return self.content.stat().st_size
            case Node():
                return self.content.size


Opener = Callable[[Node], Readable]


@contextmanager
def opened(content: Content, of_node: Opener) -> Iterator[Readable]:
    """Something to read ``content`` from."""
    match content:
        case bytes():
            yield io.BytesIO(content)
        case Path():
            with content.open("rb") as file:
                yield file
        case Node():
            yield of_node(content)


class Tape:
    """A tar being written. ``size`` and ``sha256`` are those of what was written so far."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def add(self, item: Item, of_node: Opener) -> None:
        """Write one member. ValueError where its content is shorter or longer than its size says."""
        self._write(header(item))
        if item.kind != "file":
            return
        size = left = item.size
        with opened(item.content, of_node) as content:
            while chunk := content.read(min(_CHUNK, left) or 1):
                left -= len(chunk)
                self._write(chunk)
        if left:
            raise ValueError(f"the content of {item.path} differs from its size by {-left} bytes")
        self._write(_padding(size))

    def end(self) -> None:
        """Write what ends a tar."""
        self._write(_END)

    def _write(self, content: bytes) -> None:
        self._hash.update(content)
        self.size += len(content)
        self._out.write(content)


def no_nodes(node: Node) -> Readable:
    """The opener for items none of which lies in an archive."""
    raise AssertionError(f"{node} lies in an archive that was not given")


def write(out: IO[bytes], items: Iterable[Item], of_node: Opener = no_nodes) -> Tape:
    """Write ``items`` sorted by the bytes of their paths, hard links as links to the first of them."""
    tape = Tape(out)
    for item in linked(items):
        tape.add(item, of_node)
    tape.end()
    return tape


def linked(items: Iterable[Item]) -> Iterator[Item]:
    """The items in their order, a file that has the same place as an earlier one as a link to that."""
    first: dict[tuple[str, int], Item] = {}
    for item in sorted(items, key=lambda one: one.path.encode()):
        if item.kind != "file" or not isinstance(item.content, Node):
            yield item
            continue
        before = first.setdefault((item.content.layer, item.content.offset), item)
        if before is not item and replace(before, path=item.path) == item:
            yield replace(item, kind="hardlink", target=before.path, content=b"", capability=b"")
        else:
            yield item


def header(item: Item) -> bytes:
    """All header blocks of one member."""
    path = item.path.encode() + (b"/" if item.kind == "directory" else b"")
    target = item.target.encode()
    records = {
        "path": b"" if _fits(path) else path,
        "linkpath": b"" if _fits(target) else target,
        "uid": b"" if item.uid <= _MOST_OWNER else b"%d" % item.uid,
        "gid": b"" if item.gid <= _MOST_OWNER else b"%d" % item.gid,
        CAPABILITY: item.capability,
    }
    pax = b"".join(_record(name, value) for name, value in sorted(records.items()) if value)
    extended = _block(b"pax", b"x", 0o644, 0, 0, len(pax), 0, b"") + pax + _padding(len(pax)) if pax else b""
    uid, gid = (one if one <= _MOST_OWNER else 0 for one in (item.uid, item.gid))
    kind = _TYPES[item.kind]
    return extended + _block(_ascii(path), kind, item.mode, uid, gid, item.size, item.mtime, _ascii(target))


def _fits(name: bytes) -> bool:
    return len(name) <= _NAME and name.isascii()


def _ascii(name: bytes) -> bytes:
    """A name as a ustar header can hold it; its PAX record says the rest."""
    return bytes(byte if byte < 0x80 else ord("_") for byte in name[:_NAME])


def _record(name: str, value: bytes) -> bytes:
    """One PAX record, which begins with its own length in decimal digits."""
    rest = b" %s=%s\n" % (name.encode(), value)
    length = len(rest)
    while len(rest) + len(str(length)) != length:
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)


def _block(
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, target: bytes
) -> bytes:
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(_NAME, b"\0"), mode, uid, gid, size, mtime)
    assert len(before) == 148, "a number has no place in a ustar header"
    after = kind + target.ljust(_NAME, b"\0") + b"ustar\x0000" + bytes(64) + b"0000000\x000000000\0"
    total = sum(before) + sum(after) + 8 * ord(" ")
    return (before + b"%06o\0 " % total + after).ljust(_BLOCK, b"\0")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
