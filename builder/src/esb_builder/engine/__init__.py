"""The container engine: the one that is there, or Debian 13's in a folder of our own.

:func:`ensure` uses a reachable Docker engine whose features suffice. Where none runs, on
Debian 12 or newer as root, it brings Debian 13's into a private prefix and runs it; that
engine is reused until :func:`stop`. It never runs beside another engine, because two in one
network namespace destroy each other's rules, and never falls back to working without one:
that is the person's choice, and every error names it.

Cost: nothing but one ``docker version`` once an engine runs; the first time about 10 s for
95 MB of packages and 1.5 s for the start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from esb_common.errors import Broken, NotPossibleHere

from esb_builder.engine import daemon, features, packages, processes, reach, tools
from esb_builder.engine.client import Engine
from esb_builder.engine.place import Place
from esb_builder.voice import Voice

__all__ = ["Engine", "Place", "Status", "ensure", "status", "stop"]

HOST_TOOLS = ("iptables-save", "ip", "unshare")
_WAYS_ON = "install Docker 25 or newer and point DOCKER_HOST at it, or run without one: ./esb up --embedded"


@dataclass(frozen=True, slots=True)
class Status:
    """What there is: ``state`` is *ours*, *foreign* or *none*; ``packages`` are those of our prefix."""

    state: str
    address: str | None
    version: str | None
    pid: int | None
    root: str
    packages: dict[str, str]


def ensure(place: Place, voice: Voice) -> Engine:
    """An engine that can build and run ESB's images. NotPossibleHere names every way on."""
    engine = _running(place) or _bring(place, voice)
    features.check(engine, place.home / "cache" / "engines")
    return engine


def status(place: Place) -> Status:
    """Look, without starting anything."""
    who = daemon.running(place)
    engine = _running(place)
    version = engine.docker("version", "--format", "{{.Server.Version}}").stdout.strip() if engine else None
    return Status(
        state="none" if engine is None else "ours" if engine.ours else "foreign",
        address=engine.address if engine else None,
        version=version,
        pid=who.pid if who else None,
        root=str(place.root),
        packages=packages.versions(place.prefix),
    )


def stop(place: Place, voice: Voice, *, purge: bool = False) -> bool:
    """Stop our engine (never a foreign one) and take its traces away; whether there was anything.

    Images, volumes and the build cache stay unless ``purge``.
    """
    return daemon.stop(place, voice, purge=purge)


def _running(place: Place) -> Engine | None:
    """The engine that a person named; else ours; else whatever the person's client reaches."""
    if not reach.names_another(place) and daemon.answers(place):
        return daemon.engine_of(place)
    return reach.reachable(place)


def _bring(place: Place, voice: Voice) -> Engine:
    reason = not_here(Path("/etc/os-release").read_text(), os.geteuid())
    if reason is not None:
        raise NotPossibleHere(
            f"no Docker engine answers, and ESB brings its own only as root on Debian 12 or newer: {reason}",
            _WAYS_ON,
        )
    _refuse_beside_another(place)
    try:
        tools.require(HOST_TOOLS, place.environ, voice)
        return daemon.start(place, voice)
    except Broken as error:
        raise NotPossibleHere(
            f"the container engine cannot be brought up\n  {error.fact}", _WAYS_ON
        ) from None


def _refuse_beside_another(place: Place) -> None:
    """One that listens where no client looks, or that another ESB_ENGINE_ROOT brought."""
    ours = processes.running_from(place.prefix)
    others = [who for who in processes.sharing_network("dockerd") if who not in ours]
    if others:
        raise NotPossibleHere(
            f"another Docker engine runs here (process {others[0].pid}), "
            "and two in one network destroy each other's rules",
            "point DOCKER_HOST at it, or stop it, or run without one: ./esb up --embedded",
        )


def not_here(os_release: str, uid: int) -> str | None:
    """Why our engine cannot be brought here, or None where it can."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    system, version = (fields.get(name, "").strip('"') for name in ("ID", "VERSION_ID"))
    if system != "debian" or (version.isdigit() and int(version) < 12):
        return f"this is {fields.get('PRETTY_NAME', system).strip(chr(34))}"
    return None if uid == 0 else "this is not root"
