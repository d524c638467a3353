"""What files say of themselves: their hash, and what a compiler left in a program."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from elftools.common.exceptions import ELFError
from elftools.construct.core import ConstructError
from elftools.elf.elffile import ELFFile

from esb_builder.archive import Window

MAGIC = b"\x7fELF"
_AUDIT = ".dep-v0"
_MOST_AUDIT = 16 << 20
_CHUNK = 1 << 20
_DAMAGED = (
    ELFError,
    ConstructError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    RecursionError,
    zlib.error,
)
_CPYTHON = re.compile(rb"(3\.\d{1,2}\.\d{1,2}(?:(?:a|b|rc)\d{1,2})?\+?)\0")


@dataclass(frozen=True, slots=True)
class Crate:
    """A Rust crate that a program is made of, and the numbers of those that it needs."""

    name: str
    version: str
    needs: tuple[int, ...]
    root: bool
    built_in: bool


def sha256(content: Window) -> str:
    """A file's SHA-256."""
    known = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        known.update(chunk)
    return known.hexdigest()


def crates(content: Window) -> tuple[Crate, ...]:
    """The crates of a Rust program that lists them in itself; none for any other file.

    https://github.com/rust-secure-code/cargo-auditable (``PARSING.md``)
    """
    if content.read(4) != MAGIC:
        return ()
    content.seek(0)
    try:
        section = ELFFile(cast("IO[bytes]", content)).get_section_by_name(_AUDIT)
        packed = _raw(content, section["sh_offset"], section["sh_size"]) if section else b""
        listed = json.loads(zlib.decompressobj().decompress(packed, _MOST_AUDIT)) if packed else {}
        found = tuple(_crate(one) for one in listed.get("packages", []))
    except _DAMAGED:
        return ()  # a damaged program is no matter of a bill: verify says it
    numbers = {number for one in found for number in one.needs}
    return found if numbers <= set(range(len(found))) else ()


def cpython(content: Window) -> str:
    """The full version of the CPython whose interpreter this file holds; empty where there is not one."""
    found = {match for chunk in _overlapping(content, 32) for match in _CPYTHON.findall(chunk)}
    return found.pop().decode() if len(found) == 1 else ""


def _raw(content: Window, offset: int, size: int) -> bytes:
    content.seek(offset)
    return content.read(min(size, _MOST_AUDIT))


def _crate(one: Mapping[str, Any]) -> Crate:
    needs = tuple(int(number) for number in one.get("dependencies", ()))
    built_in = one.get("kind", "runtime") != "build"
    return Crate(str(one["name"]), str(one["version"]), needs, bool(one.get("root")), built_in)


def _overlapping(content: Window, most: int) -> Iterator[bytes]:
    """A file in pieces; whatever is shorter than ``most`` bytes lies whole in one of them."""
    kept = b""
    while chunk := content.read(_CHUNK):
        yield kept + chunk
        kept = chunk[-most:]
