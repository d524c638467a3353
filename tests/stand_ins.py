"""Stand-ins for Firecracker's files, in the form that its project publishes; the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from esb_builder import artefacts

ROOT = Path(__file__).parents[1]
PROGRAM = b"#!/bin/sh\necho 'a stand-in starts no microVM' >&2\nexit 1\n"
KERNEL = b"a stand-in for a guest kernel\n"


def write(folder: Path, *, listed: bool = True) -> Path:
    """Fill ``folder`` with a stand-in for each pinned file, and their list unless not ``listed``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in artefacts.pinned(ROOT):
        (folder / name).write_bytes(release(name) if name.endswith(".tgz") else KERNEL)
    if listed:
        (folder / artefacts.STAND_INS).write_text(sums(folder))
    return folder


def sums(folder: Path) -> str:
    """What ``sha256sum`` says of the files in ``folder``."""
    paths = sorted(path for path in folder.iterdir() if path.name != artefacts.STAND_INS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)


def release(name: str) -> bytes:
    """A release archive of that name, laid out as Firecracker's."""
    version, machine = name.removesuffix(".tgz").split("-")[1:]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for program in ("firecracker", "jailer"):
            entry = tarfile.TarInfo(f"release-{version}-{machine}/{program}-{version}-{machine}")
            entry.size, entry.mode = len(PROGRAM), 0o755
            archive.addfile(entry, io.BytesIO(PROGRAM))
    return gzip.compress(packed.getvalue(), mtime=0)
