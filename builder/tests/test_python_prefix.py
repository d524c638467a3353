"""Packing CPython: only its own files, and nothing of the machine it came from."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import families
import pytest
from esb_builder import python_prefix
from esb_builder.archive import Window
from esb_builder.cache import Layouts
from esb_builder.python_prefix import Prefix
from esb_builder.verify import elf
from esb_builder.voice import Recorded
from esb_common.errors import NotPossibleHere

PLACE = b"/home/somebody/versions/3.12.1"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A ``strip`` that does nothing, since our ELF files have no sections."""
    strip = tmp_path / "bin/strip"
    strip.parent.mkdir()
    strip.write_text("#!/bin/sh\n")
    strip.chmod(0o755)
    return {"PATH": str(strip.parent)}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A miniature prefix with everything that must stay out."""
    place = tmp_path / "prefix"
    library = place / "lib/python3.12"
    for path in (
        "os.py",
        "test/test_os.py",
        "site-packages/evil.pth",
        "tkinter/__init__.py",
        "__pycache__/os.cpython-312.pyc",
        "config-3.12-x86_64-linux-gnu/libpython3.12.a",
        "json/tests/test_json.py",
        "json/__init__.py",
    ):
        (library / path).parent.mkdir(parents=True, exist_ok=True)
        (library / path).write_text("")
    (library / "_sysconfigdata.py").write_text(f"prefix = '{place}'\n")
    (place / "bin").mkdir()
    (place / "bin/python3.12").write_bytes(families.elf("libpython3.12.so.1.0"))
    (place / "bin/pip").write_text(f"#!{place}/bin/python3.12\n")
    (place / "include").mkdir()
    (place / "lib/libpython3.12.so.1.0").write_bytes(families.elf())
    (place / "lib/libpython3.12.so").symlink_to("libpython3.12.so.1.0")
    return place


def test_only_cpythons_own_files_are_taken(prefix: Path, environ: dict[str, str], tmp_path: Path) -> None:
    python_prefix.gather(prefix, tmp_path / "root", environ)
    taken = {
        str(path.relative_to(tmp_path / "root"))
        for path in (tmp_path / "root").rglob("*")
        if not path.is_dir()
    }
    assert taken == {
        "bin/python3.12",
        "lib/libpython3.12.so",
        "lib/libpython3.12.so.1.0",
        "lib/python3.12/_sysconfigdata.py",
        "lib/python3.12/json/__init__.py",
        "lib/python3.12/os.py",
    }


def test_the_place_is_rewritten_in_text(prefix: Path, environ: dict[str, str], tmp_path: Path) -> None:
    python_prefix.gather(prefix, tmp_path / "root", environ)
    assert (tmp_path / "root/lib/python3.12/_sysconfigdata.py").read_text() == "prefix = '/usr/local'\n"


def sectioned(runpath: bytes, data: bytes) -> bytes:
    """An ELF file as a compiler leaves it: sections .dynamic, .dynstr, .rodata and their names."""
    names = b"\0.dynamic\0.dynstr\0.rodata\0.shstrtab\0"
    strings = b"\0" + runpath + b"\0"
    at_strings = 64
    at_data = at_strings + len(strings)
    at_names = at_data + len(data)
    at_tags = (at_names + len(names) + 7) & ~7
    tags = struct.pack("<QQQQQQ", 29, 1, 5, at_strings, 0, 0)
    at_headers = at_tags + len(tags)

    def header(name: bytes, kind: int, at: int, size: int, link: int = 0, each: int = 0) -> bytes:
        return struct.pack("<IIQQQQIIQQ", names.index(name), kind, 2, at, at, size, link, 0, 8, each)

    table = bytes(64) + header(b".dynamic", 6, at_tags, len(tags), 2, 16)
    table += header(b".dynstr", 3, at_strings, len(strings)) + header(b".rodata", 1, at_data, len(data))
    table += header(b".shstrtab", 3, at_names, len(names))
    start = b"\x7fELF\x02\x01\x01" + bytes(9)
    start += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, at_headers, 0, 64, 56, 0, 64, 5, 4)
    return (start + strings + data + names).ljust(at_tags, b"\0") + tags + table


def test_a_run_path_becomes_relative_and_other_mentions_are_blotted_out(tmp_path: Path) -> None:
    path = tmp_path / "python"
    data = b"\0" + PLACE + b"\0tail\0"
    path.write_bytes(sectioned(PLACE + b"/lib", data))
    size = path.stat().st_size
    python_prefix.take_place_out_of_program(path, PLACE)
    content = path.read_bytes()
    assert len(content) == size
    assert b"\0$ORIGIN/../lib\0" in content
    assert PLACE not in content
    assert b"somebody" not in content


def test_a_tail_that_another_text_may_share_stays(tmp_path: Path) -> None:
    """Compilers store ``3.12.1`` once, as the end of ``…/3.12.1``; CPython tells its version from there."""
    path = tmp_path / "libpython"
    path.write_bytes(sectioned(b"/elsewhere", b"\0" + PLACE + b"\0"))
    python_prefix.take_place_out_of_program(path, PLACE)
    content = path.read_bytes()
    assert b"/3.12.1\0" in content
    assert b"\0/usr/local" in content
    assert b"\0/elsewhere\0" in content


def test_this_machines_own_python_loses_its_place_and_keeps_its_needs(tmp_path: Path) -> None:
    program = Path(sys.base_prefix, "bin/python3.12")
    path = tmp_path / "python3.12"
    path.write_bytes(program.read_bytes())
    before = needs(path)
    python_prefix.take_place_out_of_program(path, os.fsencode(sys.base_prefix))
    after = needs(path)
    assert os.fsencode(sys.base_prefix) not in path.read_bytes()
    assert after.needed == before.needed
    assert all(not one.startswith(sys.base_prefix) for one in (*after.runpath, *after.rpath))


def needs(path: Path) -> elf.Elf:
    with path.open("rb") as content:
        found = elf.read(Window(content, 0, path.stat().st_size))
    assert found is not None
    return found


def test_a_prefix_is_packed_once_and_the_same_prefix_gives_the_same_layout(
    prefix: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    described, voice = Prefix(prefix, "3.12.1 (main)"), Recorded()
    one = python_prefix.python(Layouts(tmp_path / "a"), described, environ, voice)
    again = python_prefix.python(Layouts(tmp_path / "a"), described, environ, voice)
    other = python_prefix.python(Layouts(tmp_path / "b"), described, environ, voice)
    assert one == again
    assert one.digest == other.digest
    assert voice.said == ["pack CPython 3.12"] * 2


def test_another_version_is_another_key(prefix: Path) -> None:
    assert python_prefix.key(Prefix(prefix, "3.12.1")) != python_prefix.key(Prefix(prefix, "3.12.2"))


def test_where_no_prefix_fits_both_ways_on_are_named(tmp_path: Path, environ: dict[str, str]) -> None:
    uv = tmp_path / "bin/uv"
    uv.write_text("#!/bin/sh\nexit 1\n")
    uv.chmod(0o755)
    with pytest.raises(NotPossibleHere, match="uv python install"):
        python_prefix.find(environ, tmp_path / "nothing", (3, 12))
