"""The gateway's settings, frozen, from an ``environ``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_common import settings
from esb_common.errors import Misuse
from esb_common.log import LEVELS

from esb_gateway.core.fleet import Limits
from esb_gateway.core.names import Place

MODES = ("containerd", "docker", "firecracker", "embedded")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the gateway can be told from outside."""

    listen: str
    port: int
    http_listen: str
    http_port: int | None
    """Of the plain HTTP listener; None where there is none."""
    metrics_port: int | None
    """Of Prometheus' page; None where there is none."""
    authenticated: bool
    credentials_dir: Path
    cert_dir: Path
    data_dir: Path
    run_dir: Path
    mode: str
    place: Place
    limits: Limits
    architecture: str
    log_level: str

    @classmethod
    def read(cls, environ: Mapping[str, str], machine_memory_mib: int) -> Settings:
        """From ``environ``; Misuse says what cannot be meant."""
        settings.refuse_unknown(environ)
        home = settings.folder(environ, "ESB_HOME", "~/.esb")
        mode = settings.choice(environ, "ESB_MODE", "containerd", MODES)
        return cls(
            listen=_listen(environ),
            port=settings.number(environ, "ESB_PORT", 8443, 0, 65535),
            http_listen=_http_listen(environ),
            http_port=_optional_port(environ, "ESB_HTTP_PORT"),
            metrics_port=_optional_port(environ, "ESB_METRICS_PORT"),
            authenticated=not settings.flag(environ, "ESB_NO_AUTHENTICATION"),
            credentials_dir=settings.folder(environ, "ESB_CREDENTIALS_DIR", home / "credentials"),
            cert_dir=settings.folder(environ, "ESB_CERT_DIR", home / "certs"),
            data_dir=settings.folder(environ, "ESB_DATA_DIR", home / "box" / "data"),
            run_dir=settings.folder(environ, "ESB_RUN_DIR", home / "box" / "run"),
            mode=mode,
            place=Place(_region(environ), _account(environ)),
            limits=_limits(environ, machine_memory_mib),
            architecture=_architecture(),
            log_level=settings.choice(environ, "ESB_LOG_LEVEL", "info", LEVELS),
        )


def _listen(environ: Mapping[str, str]) -> str:
    """Where to listen. In a container, who can reach that is decided by where its port is published."""
    listen = settings.address(environ, "ESB_LISTEN", "127.0.0.1")
    settings.refuse_open(environ, settings.address(environ, "ESB_PUBLISHED", listen))
    return listen


def _http_listen(environ: Mapping[str, str]) -> str:
    """Plain HTTP is for this machine alone; a container's port is published on 127.0.0.1 only."""
    return settings.text(environ, "ESB_LISTEN", "0.0.0.0") if environ.get("ESB_PUBLISHED") else "127.0.0.1"  # noqa: S104 - inside a container of our own


def _optional_port(environ: Mapping[str, str], name: str) -> int | None:
    return settings.number(environ, name, 0, 0, 65535) if environ.get(name) else None


def _region(environ: Mapping[str, str]) -> str:
    region = settings.text(environ, "ESB_REGION", "us-east-1")
    if not re.fullmatch(r"(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d", region):
        raise Misuse(f"ESB_REGION is not a region's name: {region!r}", "for example us-east-1")
    return region


def _account(environ: Mapping[str, str]) -> str:
    account = settings.text(environ, "ESB_ACCOUNT", "000000000000")
    if not re.fullmatch(r"\d{12}", account):
        raise Misuse(f"ESB_ACCOUNT is not 12 digits: {account!r}")
    return account


def _limits(environ: Mapping[str, str], machine_memory_mib: int) -> Limits:
    most = settings.number(environ, "ESB_MAX_WORKERS", 0, 0, 100_000)
    if environ.get("ESB_MAX_WORKERS") and not most:
        raise Misuse("ESB_MAX_WORKERS is 0", "leave it unset to share half the machine's memory")
    return Limits(
        memory_mib=max(machine_memory_mib // 2, 128),
        workers=most or None,
        idle_s=settings.number(environ, "ESB_IDLE_S", 300, 1),
        init_s=settings.number(environ, "ESB_INIT_TIMEOUT_S", 10, 1),
    )


def _architecture() -> str:
    machine = os.uname().machine
    return {"aarch64": "arm64"}.get(machine, machine)
