"""The box in containers: built images, and ``docker compose`` with the files that people may use too.

The command line adds nothing that the compose files do not say; it passes the same variables
that ``./esb ca init`` writes into ``.env``. Compose itself compares what runs with what is wanted, so a
second ``up`` changes nothing, and an image or certificate that changed recreates its container.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb_builder import build, engine, plan, run, stamps, tunnel

from esb_cli import inputs
from esb_cli.box.layout import Layout
from esb_cli.framework import Session

_PASSED_ON = (
    "ESB_ACCOUNT",
    "ESB_IDLE_S",
    "ESB_INIT_TIMEOUT_S",
    "ESB_LOG_LEVEL",
    "ESB_MAX_WORKERS",
    "COMPOSE_PROJECT_NAME",
)


@dataclass(frozen=True, slots=True)
class Way:
    """What differs between the modes: compose's overlay, the images, and whether there is a tunnel."""

    overlay: str
    images: tuple[str, ...]
    tunnel: bool


WAYS = {
    "containerd": Way("docker-compose.containerd.yml", plan.PLAIN, tunnel=False),
    "firecracker": Way("docker-compose.fc.yml", (*plan.BASES, *plan.FIRECRACKER), tunnel=True),
}


@dataclass(frozen=True, slots=True)
class Containers:
    """The kinds of box that are two containers (see :mod:`esb_cli.box.kinds`)."""

    session: Session
    layout: Layout
    way: Way

    def prepare(self) -> None:
        """Have an engine, the images, and the tunnel's keys where there is one."""
        self._build(engine.ensure(self._place, self.session.printer))
        if self.way.tunnel:
            with self.session.printer.step("check the tunnel's keys"):
                tunnel.init(self._tunnel)

    def start(self) -> None:
        """Let compose bring both containers up."""
        found = engine.ensure(self._place, self.session.printer)
        with self.session.printer.step("start the box"):
            self._compose(found, "up", "--detach", "--no-build", "--pull=never", "--remove-orphans")

    def gave_up(self) -> bool:
        """Whether a container has ended, or ends again and again."""
        found = engine.ensure(self._place, self.session.printer)
        return any(one["State"] in ("exited", "dead", "restarting") for one in self._listed(found))

    def last_words(self) -> str:
        """The last lines of both containers."""
        found = engine.ensure(self._place, self.session.printer)
        return self._compose(found, "logs", "--no-color", "--tail=6").stdout.strip()

    def stop(self, *, volumes: bool) -> bool:
        """Remove containers and network, and with ``volumes`` what they kept. Starts no engine for it."""
        status = engine.status(self._place)
        if status.state == "none":
            return False
        found = engine.ensure(self._place, self.session.printer)
        there = bool(self._listed(found))
        self._compose(found, "down", "--remove-orphans", *(["--volumes"] if volumes else []))
        return there

    def look(self) -> dict[str, Any]:
        """The containers with their processes, and every image with its id."""
        found = engine.ensure(self._place, self.session.printer)
        return {"programs": dict(self._programs(found)), "images": self._images()}

    def _images(self) -> dict[str, str]:
        known = {name: stamps.read(self.layout.home, name) for name in self.way.images}
        return {name: stamp.id for name, stamp in known.items() if stamp}

    @property
    def _place(self) -> engine.Place:
        return engine.Place.from_environ(self.session.environ)

    @property
    def _tunnel(self) -> Path:
        return tunnel.place(self.session.environ)

    def _workshop(self, found: engine.Engine) -> build.Workshop:
        return build.Workshop.from_environ(
            self.session.repository, found, self.session.environ, self.session.printer
        )

    def _build(self, found: engine.Engine) -> None:
        inputs.fill(self.session, self.way.images)
        build.build(self._workshop(found), self.way.images)

    def _programs(self, found: engine.Engine) -> Iterator[tuple[str, dict[str, Any]]]:
        for one in self._listed(found):
            shown = found.docker("inspect", "--format={{.State.Pid}} {{.Image}}", one["ID"]).stdout.split()
            facts = {"state": one["State"], "container": one["ID"], "pid": int(shown[0]), "image": shown[1]}
            yield one["Service"].removeprefix("runtime-"), facts

    def _listed(self, found: engine.Engine) -> list[dict[str, Any]]:
        lines = self._compose(found, "ps", "--all", "--no-trunc", "--format=json").stdout.splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def _compose(self, found: engine.Engine, *arguments: str) -> run.Completed:
        ports = {"http": self.layout.http_port, "metrics": self.layout.metrics_port}
        wanted = [f"docker-compose.{name}.yml" for name, port in ports.items() if port is not None]
        names = ("docker-compose.yml", self.way.overlay, *wanted)
        files = [f"--file={self.session.repository / name}" for name in names]
        return run.run(("docker", "compose", *files, *arguments), environ=self._environ(found))

    def _environ(self, found: engine.Engine) -> dict[str, str]:
        passed = {name: self.session.environ[name] for name in _PASSED_ON if name in self.session.environ}
        return {
            **found.environ,
            **passed,
            "COMPOSE_DISABLE_ENV_FILE": "1",
            "ESB_CERT_DIR": str(self.layout.certificates),
            "ESB_CERTIFICATES": certificates_mark(self.layout.certificates),
            "ESB_CREDENTIALS_DIR": str(self.layout.credentials),
            "ESB_HTTP_PORT": str(self.layout.http_port or ""),
            "ESB_IMAGE_DIR": str(self.layout.images),
            "ESB_LISTEN": self.layout.listen,
            "ESB_METRICS_PORT": str(self.layout.metrics_port or ""),
            "ESB_NO_AUTHENTICATION": "" if self.layout.authenticated else "1",
            "ESB_OPEN": "1" if self.layout.open else "",
            "ESB_UID": str(self.layout.uid),
            "ESB_GID": str(self.layout.gid),
            "ESB_PORT": str(self.layout.port),
            "ESB_REGION": self.layout.region,
            "ESB_TUNNEL_DIR": str(self._tunnel),
        }


def certificates_mark(folder: Path) -> str:
    """Changes with any certificate, so that compose starts the gateway anew with it."""
    known = hashlib.sha256()
    for path in sorted(folder.glob("*.crt")):
        known.update(path.read_bytes())
    return known.hexdigest()[:16]
