"""A machine whose CPython 3.12 is not the build that was locked, and that no mirror helps.

The locked pack is nobody's publication, so a stranger's machine cannot fetch it. There, ``esb up`` and
``esb test`` take the machine's own CPython, say so, and note it in ``${ESB_HOME}/own-python.json``; from
then on this home builds with it. Everything else stays as locked, and image ids differ from those of other
machines by their Python alone. ``esb fetch`` stays strict, and a store that gets the locked pack ends the
exception.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from esb_builder.lock import interpreter
from esb_builder.lock.model import Lock, Pin
from esb_builder.sources.machine import Machine
from esb_builder.store import Store
from esb_builder.voice import Voice

NAME = "own-python.json"


def applied(lock: Lock, home: Path, store: Store) -> Lock:
    """``lock``, with this home's own CPython where it was taken and the locked one is not there."""
    if lock.python is None or store.has(lock.python.blob):
        return lock
    own = _read(home)
    return replace(lock, python=own) if own and store.has(own.blob) else lock


def adopted(lock: Lock, home: Path, machine: Machine, store: Store, voice: Voice) -> Lock:
    """``lock`` with a CPython that this machine can have: the locked one, or its own, noted and said."""
    lock = applied(lock, home, store)
    if lock.python is None or store.has(lock.python.blob) or machine.blob(lock.python.sha256):
        return lock
    own = interpreter.pack(machine, store, voice)
    if own.blob == lock.python.blob:
        return lock
    voice.note(
        f"this machine's CPython {own.version} is not the locked build of {lock.python.version}: "
        "images get it instead, and their ids differ from those of other machines"
    )
    aside = home / f".{NAME}.{os.getpid()}"
    aside.write_text(json.dumps(asdict(own), indent=1))
    aside.replace(home / NAME)
    return replace(lock, python=own)


def _read(home: Path) -> Pin | None:
    try:
        return Pin(**json.loads((home / NAME).read_text()))
    except FileNotFoundError:
        return None
