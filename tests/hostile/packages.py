"""Bad packages: what a zip can hold that no function should."""

from __future__ import annotations

import base64
import io
import stat
import struct
import zipfile
from collections.abc import Callable

from hostile.caller import FUNCTIONS, Caller, Reply
from hostile.kind import Kind
from hostile.requests import GOOD

MIB = 1 << 20


def uploaded(build: Callable[[], bytes]) -> Callable[[Caller], Reply]:
    """CreateFunction with the package that ``build`` gives."""

    def send(caller: Caller) -> Reply:
        code = {"ZipFile": base64.b64encode(build()).decode()}
        return caller.json("POST", FUNCTIONS, GOOD | {"Code": code})

    return send


def archive(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return out.getvalue()


def holding(name: str) -> Callable[[Caller], Reply]:
    return uploaded(lambda: archive((name, b"x")))


def special(kind: int) -> Callable[[Caller], Reply]:
    """A member of a kind that unpacking would make a link or device of."""
    entry = zipfile.ZipInfo("app.py")
    entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
    return uploaded(lambda: archive((entry, b"/etc/passwd")))


def bomb() -> bytes:
    """300 MB of zeros in 300 KB."""
    return archive(*((f"{number}.bin", bytes(50 * MIB)) for number in range(6)))


def lying() -> bytes:
    """A member that says it is one byte long."""
    content = bytearray(archive(("big.bin", bytes(MIB))))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 1)
    content[22:26] = struct.pack("<I", 1)
    return bytes(content)


def overlapping() -> bytes:
    """A thousand directory entries that all mean the same megabyte."""
    one = archive(("a.bin", bytes(MIB)))
    at = one.rindex(b"PK\x01\x02")
    end = one.rindex(b"PK\x05\x06")
    body, entry = one[:at], one[at:end]
    entries = b"".join(entry[:46] + b"%05d" % number for number in range(1000))
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1000, 1000, len(entries), len(body), 0)
    return body + entries + tail


def encrypted() -> bytes:
    content = bytearray(archive(("app.py", b"x = 1\n")))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    return bytes(content)


def damaged() -> bytes:
    content = bytearray(archive(("app.py", b"x" * 100), method=zipfile.ZIP_STORED))
    content[60] ^= 0xFF
    return bytes(content)


def twice() -> bytes:
    one, two = zipfile.ZipInfo("app.py"), zipfile.ZipInfo("app.pz")
    return archive((one, b"a"), (two, b"b")).replace(b"app.pz", b"app.py")


KINDS = (
    Kind(
        "a package that is not base64",
        "400 InvalidRequestContentException",
        lambda caller: caller.json("POST", FUNCTIONS, GOOD | {"Code": {"ZipFile": "*"}}),
    ),
    Kind("a package of nothing", "400 InvalidParameterValueException", uploaded(lambda: b"")),
    Kind("a package that is no zip", "400 InvalidParameterValueException", uploaded(lambda: b"hello" * 100)),
    Kind("a zip without members", "400 InvalidParameterValueException", uploaded(archive)),
    Kind(
        "half a zip",
        "400 InvalidParameterValueException",
        uploaded(lambda: archive(("app.py", b"x" * 1000))[:-30]),
    ),
    Kind("a zip whose bytes were damaged", "400 InvalidParameterValueException", uploaded(damaged)),
    Kind("an encrypted zip", "400 InvalidParameterValueException", uploaded(encrypted)),
    Kind(
        "a zip packed with bzip2",
        "400 InvalidParameterValueException",
        uploaded(lambda: archive(("app.py", b"x"), method=zipfile.ZIP_BZIP2)),
    ),
    Kind(
        "a zip packed with LZMA",
        "400 InvalidParameterValueException",
        uploaded(lambda: archive(("app.py", b"x"), method=zipfile.ZIP_LZMA)),
    ),
    Kind("300 MB of zeros in 300 KB", "400 InvalidParameterValueException", uploaded(bomb)),
    Kind("a member that lies about its size", "400 InvalidParameterValueException", uploaded(lying)),
    Kind(
        "1,000 members that are the same megabyte",
        "400 InvalidParameterValueException",
        uploaded(overlapping),
    ),
    Kind(
        "a zip of 51 MB",
        "413 RequestEntityTooLargeException",
        uploaded(lambda: archive(("big.bin", bytes(51 * MIB)), method=zipfile.ZIP_STORED)),
    ),
    Kind(
        "100,001 members",
        "400 InvalidParameterValueException",
        uploaded(lambda: archive(*((f"{n}", b"") for n in range(100_001)))),
    ),
    Kind("a path that climbs", "400 InvalidParameterValueException", holding("../../etc/passwd")),
    Kind("a path that climbs in the middle", "400 InvalidParameterValueException", holding("a/../../b")),
    Kind("an absolute path", "400 InvalidParameterValueException", holding("/etc/passwd")),
    Kind("a path with backslashes", "400 InvalidParameterValueException", holding("..\\..\\etc\\passwd")),
    Kind("a path with a line break", "400 InvalidParameterValueException", holding("app\n.py")),
    Kind(
        "a path with a NUL",
        "400 InvalidParameterValueException",
        uploaded(lambda: archive(("appXpy", b"x")).replace(b"appXpy", b"app\0py")),
    ),
    Kind("a name of 300 letters", "400 InvalidParameterValueException", holding("a" * 300)),
    Kind("2,000 folders in one another", "400 InvalidParameterValueException", holding("a/" * 2500 + "b")),
    Kind("a symbolic link", "400 InvalidParameterValueException", special(stat.S_IFLNK)),
    Kind("a device", "400 InvalidParameterValueException", special(stat.S_IFCHR)),
    Kind("a named pipe", "400 InvalidParameterValueException", special(stat.S_IFIFO)),
    Kind("a name twice", "400 InvalidParameterValueException", uploaded(twice)),
    Kind(
        "a name that is a file and a folder",
        "400 InvalidParameterValueException",
        uploaded(lambda: archive(("a", b"x"), ("a/b", b"x"))),
    ),
)
