"""Which uploads are deployment packages."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable

import pytest
from esb_gateway.core import archive
from esb_gateway.core.errors import InvalidParameterValue
from esb_gateway.testing import package


def zipped(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as made:
        for name, data in members:
            made.writestr(name, data)
    return content.getvalue()


def unix(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


def twice(name: str, other: str) -> bytes:
    """Two members whose names the zipfile module would not both write without a warning."""
    return zipped((name, b"1"), (other, b"2")).replace(other.encode(), name.encode())


def broken_crc() -> bytes:
    return package({"app.py": "handler = 1"}).replace(b"handler = 1", b"handler = 2")


def understated_size() -> bytes:
    content = zipped(("app.py", b"x" * 100_000), method=zipfile.ZIP_DEFLATED)
    return content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10))


def encrypted() -> bytes:
    content = bytearray(package())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


REFUSED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"PK no zip",
    "an empty zip": lambda: zipped(),
    "a cut zip": lambda: package()[:-10],
    "a broken checksum": broken_crc,
    "a size that lies": understated_size,
    "an encrypted file": encrypted,
    "traversal": lambda: zipped(("../evil.py", b"")),
    "inner traversal": lambda: zipped(("a/../../evil.py", b"")),
    "an absolute path": lambda: zipped(("/etc/passwd", b"")),
    "a dot": lambda: zipped(("./app.py", b"")),
    "an empty part": lambda: zipped(("a//app.py", b"")),
    "backslashes": lambda: zipped(("aXXevil.py", b"")).replace(b"aXXevil.py", b"..\\evil.py"),
    "a NUL in a name": lambda: zipped(("aXpp.py", b"")).replace(b"aXpp.py", b"a\0pp.py"),
    "a line feed in a name": lambda: zipped(("a\npp.py", b"")),
    "a symbolic link": lambda: zipped((unix("link", stat.S_IFLNK), b"/etc/passwd")),
    "a device": lambda: zipped((unix("null", stat.S_IFCHR), b"")),
    "a pipe": lambda: zipped((unix("pipe", stat.S_IFIFO), b"")),
    "a name twice": lambda: twice("app.py", "bpp.py"),
    "a file that is a folder": lambda: zipped(("a", b""), ("a/app.py", b"")),
    "an unusual packing": lambda: zipped(("app.py", b"x"), method=zipfile.ZIP_BZIP2),
    "a long name": lambda: zipped(("x" * 300, b"")),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_package_is_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidParameterValue):
        archive.check(make())


@pytest.mark.parametrize(
    "content",
    [
        package(),
        package({"a/b/app.py": "", "a/c.py": "", "été.py": ""}),
        zipped(("a/", b""), ("a/app.py", b"x"), method=zipfile.ZIP_DEFLATED),
        zipped((unix("run.sh", stat.S_IFREG), b"#!/bin/sh")),
    ],
)
def test_what_is_a_package_is_accepted(content: bytes) -> None:
    archive.check(content)


def test_a_bomb_is_refused_by_its_declared_size() -> None:
    bomb = zipped(*[(f"{n}", bytes(2**20)) for n in range(251)], method=zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidParameterValue, match="Unzipped size"):
        archive.check(bomb)


def test_a_package_beyond_fifty_megabytes_is_refused() -> None:
    with pytest.raises(InvalidParameterValue, match="Zipped size"):
        archive.check(bytes(archive.MAX_ZIPPED + 1))
