"""What the dynamic loader must find for one ELF file, read from the file alone."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from elftools.common.exceptions import ELFError
from elftools.construct.core import ConstructError
from elftools.elf.dynamic import DynamicSegment, DynamicTag
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from esb_builder.archive import Window

MAGIC = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Elf:
    """One dynamic program or library: its kind of machine, needs, and where it says to look for them.

    ``rpath`` also serves the libraries that it loads; ``runpath`` serves only itself and, where it is
    there, makes the loader ignore ``rpath``.
    """

    machine: tuple[int, str]
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]

    def own_folders(self, path: str) -> list[str]:
        """The folders that this file names for itself, as seen from ``path``."""
        return [expand(one, path) for one in self.runpath or self.rpath]

    def lent_folders(self, path: str) -> list[str]:
        """The folders that this file names for what it loads, too."""
        return [] if self.runpath else [expand(one, path) for one in self.rpath]


def expand(folder: str, path: str) -> str:
    """A run path's entry as a folder inside the image (no leading slash), for the file at ``path``."""
    origin = "/" + posixpath.dirname(path)
    for name, value in (("ORIGIN", origin), ("LIB", "lib/x86_64-linux-gnu"), ("PLATFORM", "x86_64")):
        folder = folder.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return posixpath.normpath(folder).lstrip("/")


def read(content: Window) -> Elf | None:
    """The dynamic part of an ELF file; None where there is none (static, an object file, not ELF).

    ValueError where the file is damaged.
    """
    if content.read(4) != MAGIC:
        return None
    content.seek(0)
    try:
        elf = ELFFile(cast("IO[bytes]", content))
        segments = list(elf.iter_segments())
        dynamic = next((one for one in segments if isinstance(one, DynamicSegment)), None)
        if dynamic is None:
            return None
        interpreter = next((one.get_interp_name() for one in segments if isinstance(one, InterpSegment)), "")
        return _of_dynamic((elf.elfclass, elf["e_machine"]), interpreter, dynamic)
    except (ELFError, ConstructError, UnicodeDecodeError, AttributeError, KeyError) as error:
        raise ValueError(f"damaged ELF file: {error}") from None


def _of_dynamic(machine: tuple[int, str], interpreter: str, dynamic: DynamicSegment) -> Elf:
    tags = list(dynamic.iter_tags())
    return Elf(
        machine=machine,
        interpreter=interpreter,
        needed=tuple(_texts(tags, "needed")),
        rpath=tuple(part for text in _texts(tags, "rpath") for part in text.split(":") if part),
        runpath=tuple(part for text in _texts(tags, "runpath") for part in text.split(":") if part),
    )


def _texts(tags: Iterable[DynamicTag], kind: str) -> Iterator[str]:
    """The texts of all tags of a kind; ``elftools`` gives a tag an attribute of its kind's name."""
    return (str(vars(tag)[kind]) for tag in tags if tag.entry.d_tag == f"DT_{kind.upper()}")
