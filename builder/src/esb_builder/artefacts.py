"""Firecracker's files for the node's image: the pinned ones, or stand-ins that say so.

``services/runtime-node/artefacts.sha256`` pins what Firecracker's project publishes, by name and SHA-256. A
build takes these from the store, where ``esb fetch`` puts them, or from a folder that somebody
carried here. Such a folder may hold other files under the same names instead, but only with a list
of its own beside them, ``stand-ins.sha256``: a damaged download is never taken for a stand-in, and
what is built from stand-ins is labelled and starts no microVM.

Both lists are in the format of ``sha256sum``. What a folder gives is copied into the store (52 MB).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from esb_common.errors import BadInput, NotPossibleHere

from esb_builder.store import Blob, Store

CONTEXT = "artefacts"
"""The stage of the node's Dockerfile that the files replace."""

ARGUMENT = "ESB_ARTEFACTS_KIND"
PINS = Path("services/runtime-node/artefacts.sha256")
STAND_INS = "stand-ins.sha256"
VIEW = Path(".esb/build/artefacts")
"""Where a checkout shows the files to builds, ``docker compose build`` among them."""

Kind = Literal["pinned", "stand-ins"]

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class Artefacts:
    """Files that the store holds: SHA-256 by name."""

    kind: Kind
    files: Mapping[str, str]

    @property
    def key(self) -> str:
        """Changes with any of them."""
        return hashlib.sha256(json.dumps([self.kind, dict(self.files)], sort_keys=True).encode()).hexdigest()

    def show(self, store: Store, root: Path) -> Path:
        """Lay exactly these files out below the checkout ``root``; the folder."""
        store.view(root / VIEW, self.files)
        return root / VIEW


def stored(root: Path, store: Store) -> Artefacts:
    """The pinned files for this machine, from the store. NotPossibleHere where it lacks one."""
    wanted = pinned(root)
    if lacking := [name for name, sha256 in wanted.items() if not store.path(sha256).exists()]:
        raise NotPossibleHere(
            f"the store does not have {', '.join(lacking)}, which runtime-node:firecracker is made of",
            "bring them: ./esb fetch; or name a folder that holds them: ./esb build --artefacts DIR, "
            "or ESB_ARTEFACTS=DIR for any command",
        )
    return Artefacts("pinned", wanted)


def given(folder: Path, root: Path, store: Store) -> Artefacts:
    """The files of ``folder``, put into the store. BadInput for one that no list of theirs names."""
    wanted = pinned(root)
    own = folder / STAND_INS
    if not own.exists():
        return Artefacts("pinned", _taken(folder, wanted, PINS.name, store))
    listed = sums(_text(own), str(own))
    if unlisted := wanted.keys() - listed.keys():
        raise BadInput(f"{own} does not list {', '.join(sorted(unlisted))}", "stand-ins have the same names")
    files = _taken(folder, {name: listed[name] for name in wanted}, STAND_INS, store)
    return Artefacts("stand-ins", {**files, STAND_INS: store.add(own).sha256})


def pinned(root: Path, machine: str = os.uname().machine) -> dict[str, str]:
    """What the checkout below ``root`` pins for ``machine``. NotPossibleHere where that is nothing."""
    listed = sums(_text(root / PINS), str(PINS))
    wanted = {name: one for name, one in listed.items() if name.removesuffix(".tgz").endswith(f"-{machine}")}
    if not wanted:
        raise NotPossibleHere(f"Firecracker is not pinned for {machine} ({PINS})")
    return wanted


def sums(text: str, name: str) -> dict[str, str]:
    """SHA-256 by file name, of a list in the format of ``sha256sum``. BadInput for a line that is not one."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (match := _LINE.fullmatch(line)):
            raise BadInput(f"{name}:{number} is not a line of sha256sum", "make it with: sha256sum NAME…")
        found[match["name"]] = match["sha256"]
    return found


def _taken(folder: Path, wanted: Mapping[str, str], listed: str, store: Store) -> dict[str, str]:
    for name, sha256 in wanted.items():
        _take(folder / name, sha256, listed, store)
    return dict(wanted)


def _take(path: Path, sha256: str, listed: str, store: Store) -> None:
    try:
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", f"{listed} names it") from None
    if found != sha256:
        raise BadInput(
            f"{path} is not the file that {listed} names: its SHA-256 is {found}, not {sha256}",
            f"bring the right one; stand-ins are listed in {STAND_INS} beside them",
        )
    with path.open("rb") as content:
        store.put(iter(lambda: content.read(1 << 20), b""), Blob(sha256, path.stat().st_size))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None
