"""CPython 3.12 for the images, packed from a prefix that this machine already has.

Debian 12 has no Python 3.12, so with ``--source debian`` the interpreter comes from the prefix of the Python
that runs us (or the one uv finds). Only what is CPython's own is taken: no installed packages,
no tests, no Tk, no headers. Debug symbols are stripped, and every trace of the prefix's
place is rewritten to /usr/local: in text files, and in the run path of programs, which becomes
relative. Packed 30 MB; 3 s once per interpreter.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import StringTableSection, SymbolTableSection
from esb_common.errors import NotPossibleHere

from esb_builder import oci, run
from esb_builder.cache import Layouts, Source
from esb_builder.voice import Voice

RECIPE = 2
"""Rises with each change of what is taken or rewritten."""

VERSION = "3.12"
PLACE = "usr/local"
RELATIVE = b"$ORIGIN/../lib"
LIBRARY = f"lib/python{VERSION}"
_LEFT_OUT = frozenset(
    (
        "site-packages",
        "test",
        "tests",
        "idle_test",
        "idlelib",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "__pycache__",
    )
)
_HEADER = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Prefix:
    """A CPython installation: its folder and full version."""

    folder: Path
    version: str


def find(environ: Mapping[str, str], base_prefix: Path, version: tuple[int, int]) -> Prefix:
    """The prefix to pack: that of the running Python where it is 3.12, else the one that uv finds.

    A Debian-managed ``/usr`` is not a prefix to pack. NotPossibleHere where there is none.
    """
    if version == (3, 12) and _packable(base_prefix):
        return _described(base_prefix, environ)
    found = run.run(("uv", "python", "find", VERSION), environ=run.clean(environ), check=False)
    program = Path(found.stdout.strip() or os.devnull).resolve()
    if found.code == 0 and _packable(program.parent.parent):
        return _described(program.parent.parent, environ)
    raise NotPossibleHere(
        f"no CPython {VERSION} prefix to pack into the images",
        f"install one (uv python install {VERSION}), or build from public images (--source registry)",
    )


def _packable(prefix: Path) -> bool:
    return (
        prefix != Path("/usr")
        and (prefix / LIBRARY / "os.py").exists()
        and (prefix / "bin/python3.12").exists()
    )


def _described(prefix: Path, environ: Mapping[str, str]) -> Prefix:
    program = prefix / "bin/python3.12"
    shown = run.run((program, "-I", "-c", "import sys; print(sys.version)"), environ=run.clean(environ))
    return Prefix(prefix, shown.stdout.strip())


def python(layouts: Layouts, prefix: Prefix, environ: Mapping[str, str], voice: Voice) -> Source:
    """The packed prefix as a layout holding ``/usr/local``, from the cache where it is there."""

    def make(folder: Path) -> None:
        with (
            tempfile.TemporaryDirectory(dir=layouts.folder) as scratch,
            voice.step(f"pack CPython {VERSION}"),
        ):
            layer = Path(scratch, "layer.tar")
            pack(prefix, layer, environ)
            oci.write_image(folder, [layer])

    return layouts.get("python", key(prefix), make)


def pack(prefix: Prefix, layer: Path, environ: Mapping[str, str]) -> None:
    """Write the prefix as a tar of ``/usr/local``; the same prefix gives the same bytes."""
    with tempfile.TemporaryDirectory(dir=layer.parent) as scratch:
        root = Path(scratch, "root")
        gather(prefix.folder, root, environ)
        with layer.open("wb") as out:
            oci.write_layer(out, [*_parents(), *oci.entries_below(root, PLACE)])


def key(prefix: Prefix) -> str:
    """What decides the packed prefix, as one hash: this recipe, its version text and its place."""
    program = (prefix.folder / "bin/python3.12").stat()
    decided = [RECIPE, oci.INSTANT, prefix.version, str(prefix.folder), program.st_size, program.st_mtime_ns]
    return hashlib.sha256(json.dumps(decided).encode()).hexdigest()


def gather(prefix: Path, root: Path, environ: Mapping[str, str]) -> None:
    """Copy what is CPython's own into ``root`` and take this machine out of it."""
    (root / "bin").mkdir(parents=True)
    shutil.copy2(prefix / "bin/python3.12", root / "bin/python3.12")
    shutil.copytree(prefix / LIBRARY, root / LIBRARY, symlinks=True, ignore=_ignored)
    for library in sorted((prefix / "lib").glob("libpython3*.so*")):
        shutil.copy2(library, root / "lib" / library.name, follow_symlinks=False)
    elves = [path for path in _files(root) if _is_elf(path)]
    if elves:
        run.run(("strip", "--strip-unneeded", *elves), environ=run.clean(environ))
    for path in _files(root):
        _take_place_out(path, os.fsencode(prefix))


def _ignored(_parent: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _LEFT_OUT or name.startswith(f"config-{VERSION}-")}


def _files(root: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(root):
        yield from (path for path in (Path(parent, name) for name in sorted(names)) if not path.is_symlink())


def _is_elf(path: Path) -> bool:
    with path.open("rb") as content:
        return content.read(len(_HEADER)) == _HEADER


def _take_place_out(path: Path, place: bytes) -> None:
    content = path.read_bytes()
    if place not in content:
        return
    if content.startswith(_HEADER):
        take_place_out_of_program(path, place)
    else:
        path.write_bytes(content.replace(place, b"/" + PLACE.encode()))


def take_place_out_of_program(path: Path, place: bytes) -> None:
    """Make run paths below ``place`` relative to the program and blot out its other mentions, in place.

    Nothing moves: a new text is not longer than the old. Compilers let one text serve as the tail of
    another (``3.12.1`` of ``/somewhere/3.12.1``), so a tail stays: a run path is replaced only where
    no symbol is its tail, and elsewhere all but the last part of ``place`` is overwritten. CPython
    looks at its compiled-in prefix only after its real place, so what is there does not matter.
    """
    with path.open("r+b") as stream:
        for offset, old in _run_paths(stream, place):
            stream.seek(offset)
            stream.write(RELATIVE.ljust(len(old), b"\0"))
        stream.seek(0)
        content = stream.read()
        parent, _, last = place.rpartition(b"/")
        blotted = f"/{PLACE}".encode().ljust(len(parent), b"/") + b"/" + last
        stream.seek(0)
        stream.write(content.replace(place, blotted))


def _run_paths(stream: IO[bytes], place: bytes) -> list[tuple[int, bytes]]:
    """File offset and text of each run path below ``place`` that is the tail of no symbol's name."""
    elf = ELFFile(stream)
    symbols = [part for part in elf.iter_sections() if isinstance(part, SymbolTableSection)]
    names = {symbol.name.encode() for part in symbols for symbol in part.iter_symbols() if symbol.name}
    found = []
    for section in (part for part in elf.iter_sections() if isinstance(part, DynamicSection)):
        strings = elf.get_section(section["sh_link"])
        assert isinstance(strings, StringTableSection)
        for tag in section.iter_tags():
            if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                text = strings.get_string(tag.entry.d_val).encode()
                if text.startswith(place) and not any(text.endswith(name) for name in names):
                    found.append((strings["sh_offset"] + tag.entry.d_val, text))
    return found


def _parents() -> list[oci.Entry]:
    return [oci.Entry(path, "directory", 0o755) for path in ("usr", PLACE)]
