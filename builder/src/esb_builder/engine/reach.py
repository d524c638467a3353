"""Is there a Docker engine already? Named by DOCKER_HOST, by a context, or at the usual socket."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from esb_common.errors import NotPossibleHere

from esb_builder import run
from esb_builder.engine.client import Engine
from esb_builder.engine.place import Place

USUAL_SOCKET = Path("/var/run/docker.sock")
_CLIENT = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "SSH_AUTH_SOCK",
)
_ANSWER_S = 20.0


def names_another(place: Place) -> bool:
    """Whether the environment names an engine that is not ours."""
    host = place.environ.get("DOCKER_HOST")
    return bool(host or place.environ.get("DOCKER_CONTEXT")) and host != f"unix://{place.socket}"


def reachable(place: Place) -> Engine | None:
    """The engine that the person's own client reaches, or None where there is none.

    NotPossibleHere where one was named (DOCKER_HOST, DOCKER_CONTEXT, a chosen context) and does
    not answer: what a person named is never replaced silently.
    """
    if place.environ.get("DOCKER_HOST") == f"unix://{place.socket}":
        return None
    if shutil.which("docker", path=place.environ.get("PATH")) is None:
        _refuse_unreachable(place.environ)
        return None
    environ = run.clean(place.environ, **{k: place.environ[k] for k in _CLIENT if k in place.environ})
    engine = Engine(environ, ours=False, prefix=None)
    asked = run.run(
        ("docker", "version", "--format", "{{.Server.Version}}"),
        environ=environ,
        check=False,
        timeout_s=_ANSWER_S,
    )
    if asked.code == 0:
        return engine
    named = _named(engine)
    if named is not None:
        raise NotPossibleHere(
            f"{named} names a Docker engine that does not answer: {asked.stderr.strip()}",
            "start it, or unset that so that ESB brings its own engine, or run: ./esb up --embedded",
        )
    if USUAL_SOCKET.exists() and not os.access(USUAL_SOCKET, os.W_OK):
        raise NotPossibleHere(
            f"the Docker engine at {USUAL_SOCKET} does not let this user in",
            "join its group (usually docker) and log in again, or run: ./esb up --embedded",
        )
    return None


def _named(engine: Engine) -> str | None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if engine.environ.get(name):
            return f"{name}={engine.environ[name]}"
    context = engine.docker("context", "show", check=False).stdout.strip()
    return None if context in ("", "default") else f"the client's context {context!r}"


def _refuse_unreachable(environ: Mapping[str, str]) -> None:
    """Without a client nothing can be built, and a second engine beside a running one is no way."""
    named = environ.get("DOCKER_HOST") or (str(USUAL_SOCKET) if _listens(USUAL_SOCKET) else None)
    if named:
        raise NotPossibleHere(
            f"there is a Docker engine at {named} but no docker client on PATH",
            "install Docker's client with buildx and compose, or run: ./esb up --embedded",
        )


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
