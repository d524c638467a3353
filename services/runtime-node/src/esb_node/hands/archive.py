"""Unpack a function's zip with nothing outside its folder touched and no more written than allowed.

Judged by what really comes out, never by what the directory of the zip says: bytes are counted
while they are written. Kept from the zip: the execute bits and symbolic links that stay inside.
Added: everything is readable by all (a worker is another user) and writable by its owner only.
Refused, with nothing left to decide later: absolute names, ``..``, names used twice as file and
folder, links that leave, devices, encrypted or unknown compression.
"""

from __future__ import annotations

import os
import posixpath
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

MOST_BYTES = 250 << 20
"""AWS's limit of an unzipped function, layers included.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""
MOST_ENTRIES = 100_000
_CHUNK = 1 << 20
_LONGEST_LINK = 4096


class BadArchive(Exception):
    """The zip is refused; the message says which entry and why."""


@dataclass(slots=True)
class _Allowance:
    left: int

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise BadArchive(f"unzipped it is larger than {MOST_BYTES >> 20} MB")


def unpack(archive: IO[bytes], into: Path, most_bytes: int = MOST_BYTES) -> None:
    """Unpack ``archive`` into the existing empty folder ``into``. BadArchive where it is refused."""
    try:
        with zipfile.ZipFile(archive) as opened:
            _unpack_all(opened, into, _Allowance(most_bytes))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise BadArchive(f"not a readable zip: {error}") from None


def _unpack_all(opened: zipfile.ZipFile, into: Path, allowance: _Allowance) -> None:
    entries = opened.infolist()
    if len(entries) > MOST_ENTRIES:
        raise BadArchive(f"{len(entries)} entries; at most {MOST_ENTRIES} are allowed")
    tree, links = _Tree(into), []
    for entry in entries:
        target = into / _inside(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.is_dir():
            tree.make_folder(target, entry)
        elif kind == stat.S_IFLNK:
            links.append((target, entry))
        elif kind in (0, stat.S_IFREG):
            _write(opened, entry, target, tree, allowance)
        else:
            raise BadArchive(f"{entry.filename} is neither a file, a folder nor a link")
    # Links come last: no file can be written through one.
    for target, entry in links:
        _link(opened, entry, target, tree)
    # Once more: a link may have led elsewhere when those after it were not yet there.
    for target, entry in links:
        tree.require_inside(target, entry)


class _Tree:
    """The folders that this archive has made below ``into``, which began empty.

    An entry is only ever created in a folder of ours: a name that exists and is none of them is a file or
    a link, and nothing is made below it. So no path of an entry leads through a link.
    """

    def __init__(self, into: Path) -> None:
        self._into = into
        self._real = into.resolve()
        self._folders = {into}

    def make_folder(self, folder: Path, entry: zipfile.ZipInfo) -> None:
        """``folder`` and what is missing above it, open to all whatever the umask."""
        if folder in self._folders:
            return
        self.make_folder(folder.parent, entry)
        try:
            folder.mkdir()
        except FileExistsError:
            kind = "link" if folder.is_symlink() else "file"
            raise BadArchive(f"{entry.filename}: one name is a {kind} and a folder at once") from None
        folder.chmod(0o755)
        self._folders.add(folder)

    def require_inside(self, link: Path, entry: zipfile.ZipInfo) -> None:
        """A chain of links, each innocent by its text, may still leave: look where it ends."""
        try:
            inside = link.resolve().is_relative_to(self._real)
        except (OSError, RuntimeError):  # a loop
            inside = False
        if not inside:
            link.unlink()
            raise BadArchive(f"{entry.filename} is a link that leaves the archive")

    def require_text_inside(self, link: Path, points_to: str, entry: zipfile.ZipInfo) -> None:
        """What the text alone says, before anything is made of it."""
        parents = link.relative_to(self._into).parent.parts
        landing = posixpath.normpath(posixpath.join(*parents, points_to))
        if posixpath.isabs(points_to) or landing.split("/")[0] == ".." or not points_to or "\0" in points_to:
            raise BadArchive(f"{entry.filename} is a link that leaves the archive")


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise BadArchive(f"{name!r} is not a name inside the archive")
    return path


def _write(
    opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, tree: _Tree, allowance: _Allowance
) -> None:
    tree.make_folder(target.parent, entry)
    try:
        with opened.open(entry) as source, target.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                allowance.take(len(chunk))
                sink.write(chunk)
            executable = 0o111 if entry.external_attr >> 16 & 0o111 else 0
            os.fchmod(sink.fileno(), 0o644 | executable)
    except IsADirectoryError:
        raise BadArchive(f"{entry.filename}: one name is a file and a folder at once") from None


def _link(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, tree: _Tree) -> None:
    with opened.open(entry) as source:
        points_to = os.fsdecode(source.read(_LONGEST_LINK))
    tree.require_text_inside(target, points_to, entry)
    tree.make_folder(target.parent, entry)
    try:
        target.symlink_to(points_to)
    except FileExistsError:
        raise BadArchive(f"{entry.filename} appears twice") from None
    tree.require_inside(target, entry)
