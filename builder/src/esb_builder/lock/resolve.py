"""Puts a lock together: only what must be asked is asked, and what stays is handed to the solvers.

With a lock at hand that lacks nothing, resolving asks nobody. A gap or an :class:`Update` asks for its
group alone; Debian is solved as a whole, with the versions that must not move held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from esb_builder import oci
from esb_builder.lock import debian, firecracker, images, interpreter, moves, text, wheels
from esb_builder.lock.model import Deb, Image, Lock, Source, WheelSet
from esb_builder.lock.moves import Move, Update
from esb_builder.lock.recipes import BASE, Recipes
from esb_builder.sources import http
from esb_builder.sources.machine import Machine
from esb_builder.store import Store
from esb_builder.voice import Voice

BASE_STAGE = "debian"
"""The stage of the os-base's Dockerfile that the base comes from."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where resolving happens: the checkout, what it asks for, this machine, the store."""

    root: Path
    recipes: Recipes
    machine: Machine
    store: Store
    voice: Voice
    architecture: str = field(default_factory=oci.architecture)

    def read(self) -> Lock | None:
        """The checkout's lock; None where it has none."""
        return read(self.root)

    def write(self, lock: Lock) -> bool:
        """Put the lock in place; whether that changed anything."""
        path, content = self.root / text.FILE, text.render(lock)
        if path.exists() and path.read_text() == content:
            return False
        aside = path.with_name(f".{text.FILE}.new")
        aside.write_text(content)
        aside.replace(path)
        return True


def read(root: Path) -> Lock | None:
    """The lock of the checkout below ``root``; None where it has none."""
    path = root / text.FILE
    return text.parse(path.read_text()) if path.exists() else None


def gaps(lock: Lock, recipes: Recipes) -> bool:
    """Whether the lock lacks something that can be filled in without moving a pin."""
    wanted = firecracker.ARTEFACTS.get(lock.architecture, {})
    found = [
        *_lacking(lock, recipes),
        *_asked_otherwise(lock, recipes),
        *(wanted.keys() - lock.artefacts.keys()),
    ]
    return bool(found)


def stale(lock: Lock, recipes: Recipes) -> list[str]:
    """What the checkout asks for that the lock does not answer, in words; needs no network."""
    wanted = firecracker.ARTEFACTS.get(lock.architecture, {})
    return stale_inputs(lock, recipes) + [f"{one}: not locked" for one in wanted if one not in lock.artefacts]


def stale_inputs(lock: Lock, recipes: Recipes) -> list[str]:
    """The same without the files of single projects, which images take by lists of their own."""
    found = [f"{name}: not locked" for name in _lacking(lock, recipes)]
    otherwise = _asked_otherwise(lock, recipes)
    found += [f"{step}: its Dockerfile asks for other packages than the lock" for step in otherwise]
    for name, (path, sha256) in recipes.requirements.items():
        one = lock.wheels.get(name)
        if one and (one.requirements, one.requirements_sha256) != (path, sha256):
            found.append(f"{name}: {path} has changed since it was locked")
    for stage, pinned in recipes.images.items():
        image = lock.images.get(stage)
        if image and (image.reference, image.digest) != pinned:
            found.append(f"{stage}: its Dockerfile pins another image than the lock")
    return found


def _lacking(lock: Lock, recipes: Recipes) -> Iterator[str]:
    bootstrapped = lock.source == "debian"
    if not lock.archives:
        yield "archives"
    yield from (step for step in recipes.asked if step not in lock.steps)
    yield from (name for name in recipes.requirements if name not in lock.wheels)
    if bootstrapped and BASE not in lock.steps:
        yield BASE
    if bootstrapped and lock.python is None:
        yield "python"
    if not bootstrapped:
        yield from (stage for stage in recipes.images if stage not in lock.images)


def _asked_otherwise(lock: Lock, recipes: Recipes) -> Iterator[str]:
    for name, asked in recipes.asked.items():
        if name in lock.steps and lock.steps[name].asked != asked:
            yield name


def complete(desk: Desk, source: Source, old: Lock | None, update: Update) -> Lock:
    """The lock after ``esb lock``: gaps filled, and moved what ``update`` covers."""
    if old is None or update.everything:
        return anew(desk, source)
    moves.refuse_other_world(old, source, desk.architecture)
    update.refuse_unknown(old)
    return moves.merged(old, _answered(desk, old, update), update)


def anew(desk: Desk, source: Source) -> Lock:
    """Everything as the world has it now."""
    return _answered(desk, Lock(source, desk.architecture), Update(everything=True))


def checked(desk: Desk, lock: Lock) -> list[Move]:
    """What would move if everything could."""
    return moves.differences(lock, anew(desk, lock.source))


def _answered(desk: Desk, old: Lock, update: Update) -> Lock:
    """``old`` with every group that has a gap, or that ``update`` touches, asked for again."""
    lock = replace(old, artefacts=firecracker.ARTEFACTS.get(old.architecture, {}))
    if old.source == "registry":
        lock = replace(lock, images=_images(desk, old, update))
    elif old.python is None or update.covers(("python", "", "python")):
        lock = replace(lock, python=interpreter.pack(desk.machine, desk.store, desk.voice))
    if _moves_debian(old, desk.recipes, update):
        solved = debian.solve(
            desk.architecture, desk.recipes, _ground(desk, lock, update), desk.machine, desk.store, desk.voice
        )
        lock = replace(lock, archives=solved.archives, steps=solved.steps)
    return replace(
        lock, wheels={name: _wheels(desk, old, update, name) for name in desk.recipes.requirements}
    )


def _moves_debian(old: Lock, recipes: Recipes, update: Update) -> bool:
    """Whether a step is missing or asks for something else, or a package may move."""
    baseless = old.source == "debian" and BASE not in old.steps
    asked = {name: step.asked for name, step in old.steps.items()}
    gap = any(asked.get(name) != words for name, words in recipes.asked.items())
    named = any(update.covers(where) for where in moves.entries(old) if where[0] == "debian")
    return not old.archives or baseless or gap or named or update.everything


def _ground(desk: Desk, lock: Lock, update: Update) -> debian.Ground:
    """What Debian's solution stands on: packages that stay, and the base image's where there is one."""
    stays = {
        where[2]: entry
        for where, entry in moves.entries(lock).items()
        if isinstance(entry, Deb) and not update.covers(where)
    }
    if BASE_STAGE not in lock.images:
        return debian.Ground(stays)
    image, registry = lock.images[BASE_STAGE], images.Registry(desk.machine)
    with desk.voice.step(f"fetch {image.reference}"):
        for blob in image.blobs:
            http.obtain(desk.machine.web, registry.locations(image, blob), blob, desk.store)
    return debian.Ground(stays, images.status_of(image, desk.store))


def _images(desk: Desk, old: Lock, update: Update) -> dict[str, Image]:
    registry = images.Registry(desk.machine)
    return {
        stage: old.images[stage]
        if stage in old.images and not update.covers(("images", "", stage))
        else registry.resolve(reference, digest, desk.architecture)
        for stage, (reference, digest) in desk.recipes.images.items()
    }


def _wheels(desk: Desk, old: Lock, update: Update, name: str) -> WheelSet:
    if name in old.wheels and name not in update.moved_sets(old):
        return old.wheels[name]
    path, sha256 = desk.recipes.requirements[name]
    with desk.voice.step(f"look up the wheels of {path}"):
        offers = wheels.ask(desk.root / path, desk.architecture, desk.machine.uv, desk.machine.uv_environ)
    return WheelSet(path, sha256, wheels.chosen(offers, (desk.root / path).read_text(), path))
