"""What differs between two locks, and which of it may move.

Nothing moves by itself: with a lock at hand, a new resolution only fills gaps, and an
:class:`Update` says what else may move. A name in it is a package or artefact, a step (``os-base``), a
wheel set (``gateway``) or one of its wheels, or a whole group: ``debian``, ``wheels``,
``firecracker``, ``images``, ``python``. A wheel set moves as one, because it is what one
requirements file means. What a step asks for is the checkout's word and no pin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

from esb_common.errors import Misuse

from esb_builder.lock.model import Archive, Artefact, Deb, Image, Lock, Pin, Source, Step, WheelSet

Group = Literal["archives", "debian", "firecracker", "images", "python", "wheels"]
Entry = Archive | Artefact | Deb | Image | Pin | tuple[str, ...]
"""What one line of a lock says; a tuple is what a step asks for, or a requirements file with its hash."""

Where = tuple[Group, str, str]
"""Group, set within it, and name within that; the name is empty for what a set says of itself."""


@dataclass(frozen=True, slots=True)
class Move:
    """One line that differs: ``old`` or ``new`` is None where it stands in one lock only."""

    where: Where
    old: Entry | None
    new: Entry | None

    def __str__(self) -> str:
        place = " ".join(word for word in self.where if word)
        if self.old is None or self.new is None:
            left = f"new, {said(self.new)}" if self.new is not None else "no longer needed"
            return f"{place}: {left}"
        before, after = said(self.old), said(self.new)
        return f"{place}: {before} → {after}" if before != after else f"{place}: {before}, other bytes"


def said(entry: Entry) -> str:
    """An entry in a few words: its version where it has one."""
    match entry:
        case Deb() | Pin():
            return entry.version
        case Artefact():
            return entry.pin.version
        case Archive():
            return entry.date
        case Image():
            return f"{entry.reference}@{entry.digest[:19]}"
        case tuple():
            return " ".join(entry)
    assert_never(entry)


def entries(lock: Lock) -> dict[Where, Entry]:
    """The lock line by line."""
    return dict(_entries(lock))


def _entries(lock: Lock) -> Iterator[tuple[Where, Entry]]:
    for name, archive in lock.archives.items():
        yield ("archives", "", name), archive
    for place, step in lock.steps.items():
        yield ("debian", place, ""), step.asked
        for name, deb in step.packages.items():
            yield ("debian", place, name), deb
    for place, wheels in lock.wheels.items():
        yield ("wheels", place, ""), (wheels.requirements, wheels.requirements_sha256)
        for name, pin in wheels.wheels.items():
            yield ("wheels", place, name), pin
    for name, artefact in lock.artefacts.items():
        yield ("firecracker", "", name), artefact
    for name, image in lock.images.items():
        yield ("images", "", name), image
    if lock.python:
        yield ("python", "", "python"), lock.python


def assembled(like: Lock, lines: Mapping[Where, Entry]) -> Lock:
    """The lock that :func:`entries` takes apart; source and architecture are those of ``like``."""
    steps, wheels = _sets(lines, "debian"), _sets(lines, "wheels")
    pythons = _of_kind(_under(lines, "python", ""), Pin)
    return Lock(
        source=like.source,
        architecture=like.architecture,
        archives=_of_kind(_under(lines, "archives", ""), Archive),
        steps={
            place: Step(head, _of_kind(_under(lines, "debian", place), Deb)) for place, head in steps.items()
        },
        wheels={
            place: WheelSet(head[0], head[1], _of_kind(_under(lines, "wheels", place), Pin))
            for place, head in wheels.items()
        },
        artefacts=_of_kind(_under(lines, "firecracker", ""), Artefact),
        images=_of_kind(_under(lines, "images", ""), Image),
        python=pythons.get("python"),
    )


def _sets(lines: Mapping[Where, Entry], group: Group) -> dict[str, tuple[str, ...]]:
    return {
        place: entry
        for (one, place, name), entry in lines.items()
        if one == group and not name and isinstance(entry, tuple)
    }


def _under(lines: Mapping[Where, Entry], group: Group, place: str) -> dict[str, Entry]:
    return {name: entry for (one, at, name), entry in lines.items() if (one, at) == (group, place) and name}


def _of_kind[T: Entry](rows: Mapping[str, Entry], kind: type[T]) -> dict[str, T]:
    return {name: entry for name, entry in rows.items() if isinstance(entry, kind)}


def differences(old: Lock, new: Lock) -> list[Move]:
    """Every input that differs, sorted. That an archive was signed anew is no difference."""
    before, after = entries(old), entries(new)
    changed = (
        where for where in sorted(before.keys() | after.keys()) if before.get(where) != after.get(where)
    )
    return [Move(where, before.get(where), after.get(where)) for where in changed if where[0] != "archives"]


@dataclass(frozen=True, slots=True)
class Update:
    """What may move besides gaps: nothing, what ``names`` cover, or ``everything``."""

    names: frozenset[str] = frozenset()
    everything: bool = False

    def covers(self, where: Where) -> bool:
        """Whether the entry may move."""
        return self.everything or bool(self.names & {word for word in where if word})

    def moved_sets(self, *locks: Lock) -> set[str]:
        """The wheel sets that may move: those named, and those with a wheel that is."""
        return {
            where[1]
            for lock in locks
            for where in entries(lock)
            if where[0] == "wheels" and self.covers(where)
        }

    def refuse_unknown(self, *locks: Lock) -> None:
        """Misuse for a name that covers nothing in any of ``locks``."""
        known = {word for lock in locks for where in entries(lock) for word in where if word}
        if unknown := sorted(self.names - known):
            raise Misuse(
                f"the lock knows nothing named {unknown[0]}",
                "name a package, a step, a wheel set, or: debian, wheels, firecracker, images, python",
            )


def refuse_other_world(old: Lock, source: Source, architecture: str) -> None:
    """Misuse where a lock is of another source or architecture: then everything would move."""
    if (old.source, old.architecture) != (source, architecture):
        raise Misuse(
            f"the lock is for {old.source} on {old.architecture}, not for {source} on {architecture}",
            f"to write it anew: ./esb lock --source {source} --update",
        )


def merged(old: Lock, new: Lock, update: Update) -> Lock:
    """``old`` with its gaps filled from ``new`` and what ``update`` covers moved.

    A package that ``new`` needs no more is dropped only where it is covered.
    """
    before, after, sets = entries(old), entries(new), update.moved_sets(old, new)

    def stays(where: Where) -> bool:
        if where[0] == "wheels":
            return where[1] in old.wheels and where[1] not in sets
        renewed = where in after and (where[0] == "archives" or not where[2])
        return where in before and not renewed and not update.covers(where)

    lines = {where: entry for where, entry in before.items() if stays(where)}
    lines |= {where: entry for where, entry in after.items() if not stays(where)}
    return assembled(new, lines)
