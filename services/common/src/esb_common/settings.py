"""Settings of every program, frozen, from an ``environ`` argument.

All names start with ``ESB_`` and all are listed in :data:`KNOWN`; an unknown one is an error,
since a misspelt setting that is silently ignored costs somebody a day. A program reads its
own part in its ``__main__``, once, and passes values on.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping
from pathlib import Path

from esb_common.errors import Misuse

KNOWN: Mapping[str, str] = {
    "ESB_ACCOUNT": "account id in ARNs (12 digits; default 000000000000)",
    "ESB_ARTEFACTS": "folder with Firecracker's files, or stand-ins, for images (default: the store)",
    "ESB_BUILD_CA": "certificates trusted while images are built (default: this machine's own store)",
    "ESB_CERT_DIR": "rootCA.crt, gateway.crt, gateway.key (default ~/.esb/certs)",
    "ESB_CONTAINERD_DIR": "the node's own containerd: its root and state (containerd mode)",
    "ESB_CREDENTIALS_DIR": "credentials.json: who may call the box (default ~/.esb/credentials)",
    "ESB_DATA_DIR": "the box's state: functions and their code",
    "ESB_ENGINE_ROOT": "folder of the private Docker engine (default /var/lib/esb-engine)",
    "ESB_GID": "group that the gateway runs as",
    "ESB_HOME": "what ESB keeps of its own (default ~/.esb)",
    "ESB_HTTP_PORT": "port of a second listener: plain HTTP, on 127.0.0.1 only (default: none)",
    "ESB_IDLE_S": "seconds after which an idle worker is stopped (default 300)",
    "ESB_IMAGE_DIR": "OCI archives of the function images, for the node (default ~/.esb/images)",
    "ESB_INIT_TIMEOUT_S": "seconds a worker may take to its first /next (default 10)",
    "ESB_LISTEN": "address the gateway listens on (default 127.0.0.1)",
    "ESB_LOG_LEVEL": "debug, info, warning or error (default info)",
    "ESB_MAX_WORKERS": "most workers at once (default: half the memory / a worker's size)",
    "ESB_METRICS_PORT": "port of Prometheus' page: plain HTTP, on 127.0.0.1 only (default: none)",
    "ESB_MIRRORS": "mirrors of esb lock and fetch: NAME=ADDRESS … (store, registry, firecracker-…)",
    "ESB_MODE": "containerd, docker, firecracker or embedded (default containerd)",
    "ESB_NODE_DIR": "the node's own state: unpacked code, worker folders",
    "ESB_NO_AUTHENTICATION": "1: requests need no credentials (on 127.0.0.1 only, unless ESB_OPEN)",
    "ESB_NO_ISOLATION": "1: workers are plain processes (embedded mode only)",
    "ESB_OPEN": "1: without authentication the gateway may listen beyond 127.0.0.1 all the same",
    "ESB_PORT": "HTTPS port on the host (default 8443)",
    "ESB_PUBLISHED": "in the gateway's container: the host's address that its port is published on",
    "ESB_PYTHON_PREFIX": "CPython 3.12 prefix shown to workers as /var/lang (embedded mode)",
    "ESB_REGION": "region in ARNs and for workers (default us-east-1)",
    "ESB_ROOT_CA_SHA256": "SHA-256 of the file rootCA.crt, for image builds",
    "ESB_RUN_DIR": "sockets that gateway and node share",
    "ESB_RUNTIME_DIR": "the Python runtime client, shown to workers as /var/runtime (embedded mode)",
    "ESB_TUNNEL_DIR": "keys and addresses of the tunnel of the Firecracker mode (default ~/.esb/tunnel)",
    "ESB_UID": "user that the gateway runs as",
}


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """Misuse for the first ``ESB_*`` name that no program knows, with the nearest that one does."""
    for name in sorted(environ):
        if name.startswith("ESB_") and name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(KNOWN)}"
            raise Misuse(f"unknown setting {name}", hint)


def text(environ: Mapping[str, str], name: str, default: str) -> str:
    """A setting, or ``default`` where it is unset or empty."""
    assert name in KNOWN, name
    return environ.get(name) or default


def number(environ: Mapping[str, str], name: str, default: int, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number between ``least`` and ``most``."""
    raw = text(environ, name, str(default))
    try:
        value = int(raw)
    except ValueError:
        raise Misuse(f"{name} is not a whole number: {raw!r}") from None
    if not least <= value <= most:
        raise Misuse(f"{name} is {value}, outside {least} to {most}")
    return value


def choice(environ: Mapping[str, str], name: str, default: str, among: tuple[str, ...]) -> str:
    """One of ``among``."""
    value = text(environ, name, default)
    if value not in among:
        raise Misuse(f"{name} is {value!r}", f"one of: {', '.join(among)}")
    return value


def flag(environ: Mapping[str, str], name: str) -> bool:
    """``1`` is yes; unset, empty and ``0`` are no."""
    return choice(environ, name, "0", ("0", "1")) == "1"


def address(environ: Mapping[str, str], name: str, default: str) -> str:
    """An IP address to listen on."""
    value = text(environ, name, default)
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise Misuse(f"{name} is not an IP address: {value!r}", "for example 127.0.0.1") from None
    return value


def refuse_open(environ: Mapping[str, str], reach: str) -> None:
    """Misuse where a box without authentication would be reached from other machines, unasked."""
    if not flag(environ, "ESB_NO_AUTHENTICATION") or flag(environ, "ESB_OPEN"):
        return
    if not ipaddress.ip_address(reach).is_loopback:
        raise Misuse(
            f"the box would listen on {reach}, and requests would not be authenticated",
            "listen on 127.0.0.1, or unset ESB_NO_AUTHENTICATION, or say that it is meant: ./esb up --open",
        )


def folder(environ: Mapping[str, str], name: str, default: Path | str) -> Path:
    """A folder as an absolute path, ``~`` expanded; it need not exist."""
    try:
        return Path(text(environ, name, str(default))).expanduser().absolute()
    except RuntimeError:
        raise Misuse(f"{name} is not set, and this user has no home folder") from None


ROOT_STARTS_AS = 10001
"""The gateway's user and group where root starts the box: free on a fresh Debian."""


def gateway_user(environ: Mapping[str, str], uid: int, gid: int) -> tuple[int, int]:
    """The gateway's user and group: ESB_UID and ESB_GID, else who starts it, and 10001 in place of root."""
    own = (uid, gid) if uid != 0 else (ROOT_STARTS_AS, ROOT_STARTS_AS)
    return number(environ, "ESB_UID", own[0]), number(environ, "ESB_GID", own[1])
