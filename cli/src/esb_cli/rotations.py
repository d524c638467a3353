"""Bringing a root CA into force here: files, images, the running box; and finishing what broke off.

``up`` and ``build`` ask :func:`settled` first, so nobody ever works with half of a change.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from esb_builder import build as builder
from esb_builder import engine, plan, rotation, stamps
from esb_builder.ca import Folders
from esb_builder.rotation import Generation, Ledger
from esb_builder.stamps import Stamp
from esb_common.errors import Unhealthy

from esb_cli import certificates
from esb_cli.box.kinds import kind
from esb_cli.box.layout import Layout, layout
from esb_cli.commands.functions import gateway
from esb_cli.framework import Session

READY_S = 60.0
_FLAGS = ("ESB_NO_ISOLATION", "ESB_OPEN")
"""What ``up`` may have been told by an option, and a restart must say again."""


def settled(session: Session) -> None:
    """Finish a change of the root CA that was broken off for good; one look where none was."""
    ledger = Ledger(Folders.from_environ(session.environ))
    if ledger.unfinished:
        with ledger.held():
            session.printer.note("a change of the root CA was broken off; finishing it")
            ledger.settle(lambda generation: enforce(session, generation))


def enforce(session: Session, generation: Generation) -> None:
    """Have a generation in force: its files, its images under their tags, the box running on them."""
    folders = Folders.from_environ(session.environ)
    with session.printer.step(f"put the root CA {generation.fingerprint[:16]} into force"):
        rotation.install(generation, folders)
        certificates.ready(session)
    if family := generation.family:
        builder.adopt(shop(session), family)
    restart(session)


def shop(session: Session) -> builder.Workshop:
    """The workshop of the images, on an engine that runs."""
    found = engine.ensure(engine.Place.from_environ(session.environ), session.printer)
    return builder.Workshop.from_environ(session.repository, found, session.environ, session.printer)


def family(session: Session) -> dict[str, Stamp]:
    """The images that were built here and are still on the shelf, by name."""
    home = layout(session.environ).home
    known = {name: stamps.read(home, name) for name in plan.FAMILY}
    shelf = builder.Workshop.shelf_of(home)
    return {name: stamp for name, stamp in known.items() if stamp and shelf.has(stamp.id)}


def restart(session: Session) -> None:
    """Let a running box take up what changed: it answers what it accepted, then starts anew."""
    place = layout(session.environ)
    mode = place.started_mode()
    if mode is None:
        return
    told = {**session.environ, "ESB_MODE": mode, **(_flags(place) if mode == "embedded" else {})}
    again = replace(session, environ=told)
    box = kind(mode, again, layout(told))
    box.start()
    door, give_up = gateway(again), time.monotonic() + READY_S
    with session.printer.step("wait until the box is ready"):
        while door.unhealthy() is not None:
            if box.gave_up() or time.monotonic() > give_up:
                raise Unhealthy("the box did not become ready with the other root CA", box.last_words())
            time.sleep(0.02)


def _flags(place: Layout) -> Mapping[str, str]:
    """Those of :data:`_FLAGS` that the running embedded box was started with."""
    listing = Path(place.box, "programs.json")
    programs = json.loads(listing.read_text()) if listing.exists() else []
    known = {name: value for one in programs for name, value in one["environment"].items()}
    return {name: known[name] for name in _FLAGS if name in known}
