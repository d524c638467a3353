"""Where a box lives on this machine and which box that is, from the environment.

Read once by the commands that need it; nothing is created here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from esb_common import settings
from esb_common.errors import Misuse

REPOSITORY = Path(__file__).resolve().parents[4]

Mode = Literal["containerd", "docker", "firecracker", "embedded"]
_MODES = ("containerd", "docker", "firecracker", "embedded")


@dataclass(frozen=True, slots=True)
class Layout:
    """The settings of one box. ``uid`` and ``gid`` are the gateway's."""

    home: Path
    certificates: Path
    credentials: Path
    images: Path
    port: int
    listen: str
    http_port: int | None
    metrics_port: int | None
    mode: Mode
    uid: int
    gid: int
    region: str
    isolated: bool
    authenticated: bool
    open: bool
    """Whether other machines may call without authentication."""

    @property
    def box(self) -> Path:
        """State of an embedded box: data, run, node, log."""
        return self.home / "box"

    @property
    def note(self) -> Path:
        """Says in which mode the box was started."""
        return self.home / "box.json"

    def started_mode(self) -> Mode | None:
        """The mode in which ``up`` last started the box; None where it is down."""
        try:
            return cast(Mode, json.loads(self.note.read_text())["mode"])
        except FileNotFoundError:
            return None

    def remember(self, mode: Mode) -> None:
        """Note the mode for later commands; replaced in one step."""
        self.home.mkdir(parents=True, exist_ok=True)
        aside = self.note.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps({"mode": mode}))
        aside.replace(self.note)

    def forget(self) -> None:
        """The box is down."""
        self.note.unlink(missing_ok=True)


def layout(
    environ: Mapping[str, str], *, embedded: bool = False, no_isolation: bool = False, open_: bool = False
) -> Layout:
    """The box that ``environ`` and the command line mean."""
    environ = {**environ, "ESB_OPEN": "1"} if open_ else environ
    listen = settings.address(environ, "ESB_LISTEN", "127.0.0.1")
    settings.refuse_open(environ, listen)
    home = settings.folder(environ, "ESB_HOME", "~/.esb")
    mode = cast(Mode, settings.choice(environ, "ESB_MODE", "containerd", _MODES))
    isolated = not (no_isolation or settings.flag(environ, "ESB_NO_ISOLATION"))
    mode = "embedded" if embedded else mode
    if not isolated and mode != "embedded":
        raise Misuse("--no-isolation is for the embedded mode", "./esb up --embedded --no-isolation")
    uid, gid = settings.gateway_user(environ, os.getuid(), os.getgid())
    return Layout(
        home=home,
        certificates=settings.folder(environ, "ESB_CERT_DIR", home / "certs"),
        credentials=settings.folder(environ, "ESB_CREDENTIALS_DIR", home / "credentials"),
        images=settings.folder(environ, "ESB_IMAGE_DIR", home / "images"),
        port=settings.number(environ, "ESB_PORT", 8443, least=1, most=65535),
        listen=listen,
        http_port=_optional_port(environ, "ESB_HTTP_PORT"),
        metrics_port=_optional_port(environ, "ESB_METRICS_PORT"),
        mode=mode,
        uid=uid,
        gid=gid,
        region=settings.text(environ, "ESB_REGION", "us-east-1"),
        isolated=isolated,
        authenticated=not settings.flag(environ, "ESB_NO_AUTHENTICATION"),
        open=settings.flag(environ, "ESB_OPEN"),
    )


def _optional_port(environ: Mapping[str, str], name: str) -> int | None:
    return settings.number(environ, name, 0, least=1, most=65535) if environ.get(name) else None
