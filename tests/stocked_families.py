"""The family in miniature (``families``) with things in it that a bill of materials must name."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

from esb_builder.oci import Entry
from esb_builder.plan import FAMILY
from families import Family, Layer, entries, family, write

SITE = "app/.venv/lib/python3.12/site-packages"
RUNTIME = "var/runtime"
DEBIAN = {
    "libc6": "2.36-9+deb12u14",
    "libgcc-s1": "12.2.0-14+deb12u1",
    "gcc-12-base": "12.2.0-14+deb12u1",
    "mawk": "1.3.4-1",
    "libssl3": "1:3.0.17-1~deb12u3",
}
"""Installed packages of every image, by version."""

CRATES = [
    {"name": "uv", "version": "0.13.9", "dependencies": [1, 2], "root": True},
    {"name": "serde", "version": "1.0.9+x", "dependencies": []},
    {"name": "cc", "version": "1.2.0", "kind": "build"},
]

_STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u14
Depends: libgcc-s1
Description: the C library
 with more lines
 .
 Package: not-one

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-12
Version: 12.2.0-14+deb12u1
Depends: gcc-12-base (= 12.2.0-14+deb12u1), libc6 (>= 2.35)

Package: gcc-12-base
Status: install ok installed
Architecture: amd64
Source: gcc-12
Version: 12.2.0-14+deb12u1

Package: mawk
Status: install ok installed
Architecture: amd64
Version: 1.3.4-1
Provides: awk
Pre-Depends: absent (>= 1) | libc6 (>= 2.34)

Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 1:3.0.17-1~deb12u3
Depends: awk, libc6

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
_COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
License: GPL-2+

Files: *
License: Artistic or GPL-1+
 text

Files: lib/*
License: Expat

License: Expat
 Permission is granted
"""


def stocked() -> Family:
    """A fresh family."""
    drafts = family()
    for name, draft in drafts.items():
        draft.layers[1] = {**draft.layers[1], **_debian()}
        if name != "esb-os-base":
            draft.layers[3] = {**draft.layers[3], **_python()}
        if name.startswith(("esb-gateway", "esb-runtime-node")):
            for entry in (*distribution(SITE, "HttpTools", "0.9.0", "MIT"), _uv()):
                draft.put(entry)
    for entry in (
        *distribution(RUNTIME, "boto3", "1.44.5", "Apache-2.0", "botocore<2", 'crt ; extra == "crt"'),
        *distribution(RUNTIME, "botocore", "1.44.5", "Apache License 2.0"),
        Entry("var/runtime/bootstrap.py", content=b"pass\n"),
    ):
        drafts["esb-lambda-python"].put(entry)
    for name, draft in drafts.items():
        for path in [path for layer in draft.layers for path in layer if path.endswith("pyproject.toml")]:
            service = name.partition(":")[0]
            draft.alter(path, content=f'[project]\nname = "{service}"\nversion = "0.1.0"\n'.encode())
    return drafts


def archives(place: Path, drafts: Family) -> list[Path]:
    """Each image of ``drafts`` as an archive of its own."""
    return [write(place, name, drafts[name]) for name in FAMILY if name in drafts]


def distribution(folder: str, name: str, version: str, licence: str, *needs: str) -> tuple[Entry, ...]:
    """What an installed Python distribution leaves in ``folder``."""
    lines = [f"Name: {name}", f"Version: {version}", f"License: {licence}"]
    lines += [f"Requires-Dist: {need}" for need in needs]
    place = f"{folder}/{name.replace('-', '_')}-{version}.dist-info"
    metadata = "\n".join(lines) + "\n\nName: of the description\n"
    return Entry(f"{place}/METADATA", content=metadata.encode()), Entry(f"{place}/RECORD", content=b"")


def auditable(listed: bytes) -> bytes:
    """A 64-bit ELF file with one section ``.dep-v0``, as cargo-auditable writes it."""
    names = b"\0.dep-v0\0.shstrtab\0"
    content = listed + names
    table = 64 + len(content)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)

    def section(name: int, kind: int, at: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 1, 0)

    sections = bytes(64) + section(1, 1, 64, len(listed)) + section(9, 3, 64 + len(listed), len(names))
    return header + content + sections


def _debian() -> Layer:
    lists = (Entry(f"var/lib/dpkg/info/{name}:amd64.list", content=b"/.\n") for name in DEBIAN)
    return entries(
        *lists,
        Entry("var/lib/dpkg/status", content=_STATUS.encode()),
        Entry("usr/share/doc/libc6/copyright", content=b"This is prose about the LGPL.\n"),
        Entry("usr/share/doc/mawk/copyright", content=_COPYRIGHT.encode()),
        Entry("usr/share/doc/libgcc-s1", "symlink", 0o777, target="mawk"),
    )


def _python() -> Layer:
    return entries(
        Entry("usr/local/lib/libpython3.12.so.1.0", mode=0o755, content=b"\x7fELF...lib/3.12.1\0more"),
        Entry("usr/local/bin/python3.12", mode=0o755, content=b"\x7fELF"),
        Entry("usr/local/lib/python3.12/ensurepip/_bundled/pip-23.2.1-py3-none-any.whl", content=b"PK"),
    )


def _uv() -> Entry:
    listed = zlib.compress(json.dumps({"packages": CRATES}).encode())
    return Entry("usr/local/bin/uv", mode=0o755, content=auditable(listed))
