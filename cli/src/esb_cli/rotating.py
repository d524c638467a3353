"""``esb ca rotate`` and ``rollback``: plan, make ready aside, switch, prove, tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from esb_builder import build as builder
from esb_builder import engine, plan, rotation
from esb_builder.ca import Folders, judge
from esb_builder.rotation import Generation, Ledger, generation
from esb_builder.stamps import Stamp

from esb_cli import rotations
from esb_cli.box.layout import layout
from esb_cli.framework import Session


@dataclass(frozen=True, slots=True)
class _Change:
    """``names`` are the images that get the new CA; ``moved`` the layers that it changed."""

    old: str
    new: str
    names: tuple[str, ...]
    moved: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


def rotate(session: Session, given: Path | None, certificate: Path | None, *, only_plan: bool) -> int:
    """Take ``given``, or make a new root CA; the exit code."""
    folders, now = Folders.from_environ(session.environ), datetime.now(UTC)
    old = generation.fingerprint(folders.root)
    names = _names(session)
    if only_plan:
        new = judge.fingerprint(judge.root(given.read_bytes(), str(given), now)) if given else "made anew"
        return _planned(session, _Change(old, new, names))
    ledger = Ledger(folders)
    with ledger.held():
        try:
            made = _made(ledger, folders, given, certificate, now)
            if names:
                made.note(builder.prepare(_beside(session, made), names))
            kept = generation.record(ledger.room(), folders, rotations.family(session))
            return _switched(session, ledger, kept, made, names)
        finally:
            ledger.sweep()


def rollback(session: Session) -> int:
    """Bring the generation before into force; the exit code."""
    folders = Folders.from_environ(session.environ)
    ledger = Ledger(folders)
    with ledger.held():
        try:
            before = ledger.previous
            kept = generation.record(ledger.room(), folders, rotations.family(session))
            return _switched(session, ledger, kept, before, tuple(before.family))
        finally:
            ledger.sweep()


def _names(session: Session) -> tuple[str, ...]:
    """The images to build: those that were built here or that the engine has; none where there are none."""
    place = engine.Place.from_environ(session.environ)
    names = set(rotations.family(session))
    if names or engine.status(place).state != "none":
        names |= set(builder.had(engine.ensure(place, session.printer), tuple(plan.FAMILY)))
    return tuple(name for name in plan.FAMILY if name in names)


def _made(
    ledger: Ledger, folders: Folders, given: Path | None, certificate: Path | None, now: datetime
) -> Generation:
    if given is None:
        return generation.of_our_own(ledger.room(), folders, now)
    signed = certificate.read_bytes() if certificate else None
    return generation.given(ledger.room(), folders, given.read_bytes(), signed, now)


def _beside(session: Session, made: Generation) -> builder.Workshop:
    """A workshop that bakes the CA of ``made``, while all else goes on with the old one."""
    shop = rotations.shop(session)
    return replace(shop, environ={**shop.environ, "ESB_CERT_DIR": str(made.folder / "certs")})


def _switched(
    session: Session, ledger: Ledger, old: Generation, new: Generation, names: Sequence[str]
) -> int:
    before, after = old.family, new.family
    was, is_now = old.fingerprint, new.fingerprint
    ledger.switch(old, new, lambda one: rotations.enforce(session, one))
    shelf = builder.Workshop.shelf_of(layout(session.environ).home)
    moved = rotation.moved(shelf, before, after)
    keep = _proved(session, was) if names else []
    change = _Change(was, is_now, tuple(names), tuple(moved), tuple(keep))
    return _told(session, change, after)


def _proved(session: Session, old: str) -> list[str]:
    """The images that keep the old root CA, after those that nothing names are gone."""
    shop = rotations.shop(session)
    scratch = shop.home / "cache"
    with session.printer.step("look for the old root CA in every image"):
        found = rotation.carriers(shop.engine, old, scratch)
        if any(not one.tag for one in found):
            rotation.drop_untagged(shop.engine, found)
            found = rotation.carriers(shop.engine, old, scratch)
        return [one.name for one in found]


def _planned(session: Session, change: _Change) -> int:
    mode = layout(session.environ).started_mode()
    facts = {"old": change.old, "new": change.new, "images": list(change.names), "box": mode}
    lines = [
        f"root CA       {change.old}",
        f"  becomes     {change.new}",
        f"build         {', '.join(change.names) or 'no image: none was built here'}",
        "issue anew    the gateway's certificate",
        f"restart       {f'the {mode} box' if mode else 'nothing: no box runs'}",
    ]
    session.printer.result(facts, "\n".join(lines))
    return 0


def _told(session: Session, change: _Change, family: dict[str, Stamp]) -> int:
    facts = {
        "old": change.old,
        "new": change.new,
        "images": {name: stamp.id for name, stamp in family.items()},
        "changed_layers": list(change.moved),
        "keep_the_old": list(change.keep),
    }
    lines = [f"root CA       {change.new}, before {change.old}"]
    lines += [f"{name:<30} {stamp.id}" for name, stamp in family.items()]
    lines += [f"changed layer {one}" for one in change.moved]
    lines.append(f"images with the old root CA: {len(change.keep)}")
    lines += [f"  {one}: not of this family's tags, or in use; rebuild or remove it" for one in change.keep]
    lines.append("back: ./esb ca rollback")
    session.printer.result(facts, "\n".join(lines))
    return 1 if change.keep else 0
