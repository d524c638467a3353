"""What a bundle holds beside the lock: wheels that run ESB itself, the engine's and the host tools' packages.

They are resolved when a bundle is made, by the same rules as a lock: hash-pinned wheels of the
requirement files, packages by apt on Debian's signed index. Needs the network, unlike all else here.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from esb_builder import fetch
from esb_builder.engine import packages, tools
from esb_builder.fetch.needs import Finder
from esb_builder.lock import debian, wheels
from esb_builder.lock.model import Lock, WheelSet
from esb_builder.lock.recipes import BASE, Recipes
from esb_builder.lock.resolve import Desk
from esb_builder.store import Blob

HOST = "host"
REQUIREMENTS = ("cli/installer.lock", "cli/requirements.lock")
EXAMPLES = "examples/*/requirements.lock"


def beside(desk: Desk, lock: Lock) -> Lock:
    """The wheel sets and the step *host*, everything of it in the store."""
    step = Recipes({HOST: tuple(sorted({*tools.PACKAGE_OF.values()}))}, {HOST: BASE}, {}, {}, {})
    solved = debian.solve(lock.architecture, step, debian.Ground(), desk.machine, desk.store, desk.voice)
    with desk.voice.step("ask the package index for ESB's own wheels"):
        sets = {path: _wheels(desk, path) for path in _requirements(desk.root)}
    steps = {HOST: solved.steps[HOST]}
    found = Lock(lock.source, lock.architecture, solved.archives, steps, sets)
    fetch.fetch(Finder(found, desk.root, desk.machine, desk.store), desk.voice)
    return found


def engine(desk: Desk) -> dict[str, Blob]:
    """The container engine's packages by file name, in the store."""
    with (
        tempfile.TemporaryDirectory(prefix="esb-engine-") as scratch,
        desk.voice.step("fetch Debian's container engine"),
    ):
        debs = packages.download(Path(scratch, "apt"), tools.quiet(desk.machine.environ))
        return {deb.name: desk.store.add(deb) for deb in debs}


def _requirements(root: Path) -> Iterator[str]:
    yield from REQUIREMENTS
    yield from (str(path.relative_to(root)) for path in sorted(root.glob(EXAMPLES)))


def _wheels(desk: Desk, path: str) -> WheelSet:
    file, machine = desk.root / path, desk.machine
    offers = wheels.ask(file, desk.architecture, machine.uv, machine.uv_environ)
    found = wheels.chosen(offers, file.read_text(), path)
    return WheelSet(path, hashlib.sha256(file.read_bytes()).hexdigest(), found)
