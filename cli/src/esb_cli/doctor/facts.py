"""Gathers what :mod:`esb_cli.doctor.judge` judges. Starts and changes nothing; takes a few seconds."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from esb_builder import ca, run
from esb_builder import engine as engines
from esb_builder.ca import files
from esb_builder.ca import judge as certificates
from esb_builder.engine import packages
from esb_common import settings
from esb_common.errors import EsbError

from esb_cli.doctor.judge import Facts
from esb_cli.environments import Environments

_PATIENCE_S = 20.0
_APT_HELPER = Path("/usr/lib/apt/apt-helper")
_CGROUPS = Path("/sys/fs/cgroup")


def gather(environ: Mapping[str, str], environments: Environments) -> Facts:
    """Look at this machine."""
    folders = ca.Folders.from_environ(environ)
    port = settings.number(environ, "ESB_PORT", 8443, least=1, most=65535)
    engine, engine_complaint = _engine(engines.Place.from_environ(environ))
    begin, end, complaint = _certificates(folders)
    return Facts(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        index=_index(environments),
        has_apt=_APT_HELPER.exists(),
        mirror=_mirror(environ) if _APT_HELPER.exists() else None,
        free_gb=_free(engines.Place.from_environ(environ)),
        cgroup_version=2 if (_CGROUPS / "cgroup.controllers").exists() else 1,
        controllers=controllers(_CGROUPS),
        namespaces=frozenset(entry.name for entry in Path("/proc/self/ns").iterdir()),
        user_namespaces=_user_namespaces(environ),
        is_root=os.geteuid() == 0,
        port=port,
        port_owner=_port_owner(port, folders),
        now=dt.datetime.now(dt.UTC),
        engine=engine,
        engine_complaint=engine_complaint,
        certificates_begin=begin,
        certificates_end=end,
        certificates_complaint=complaint,
    )


def controllers(root: Path) -> frozenset[str]:
    """Cgroup controllers, of version 2 or of every mounted hierarchy of version 1."""
    unified = root / "cgroup.controllers"
    if unified.exists():
        return frozenset(unified.read_text().split())
    hierarchies = (entry.name for entry in root.iterdir() if (entry / "tasks").exists())
    return frozenset(name for hierarchy in hierarchies for name in hierarchy.split(","))


def _index(environments: Environments) -> str | None:
    """Ask the package index for one package, past every cache, with uv's own settings and trust."""
    arguments = ("pip", "compile", "--quiet", "--refresh", "--no-header", "-")
    try:
        run.run(
            (environments.uv, *arguments),
            environ=environments.uv_environ(),
            stdin=b"click\n",
            timeout_s=_PATIENCE_S,
        )
    except EsbError as error:
        return error.fact.splitlines()[-1].strip()
    return None


def _mirror(environ: Mapping[str, str]) -> str | None:
    """Fetch the mirror's signed index with apt's own transport and proxy settings."""
    clean = run.clean(environ)
    try:
        mirror, codename = packages.mirror(clean)
        with tempfile.TemporaryDirectory(prefix="esb-doctor-") as folder:
            target = (f"{mirror}/dists/{codename}/InRelease", f"{folder}/InRelease")
            run.run((_APT_HELPER, "download-file", *target), environ=clean, timeout_s=_PATIENCE_S)
    except EsbError as error:
        return error.fact.splitlines()[-1].strip()
    return None


def _free(place: engines.Place) -> dict[str, float]:
    """Gigabytes free where ESB writes, one entry per file system."""
    seen: dict[int, tuple[str, float]] = {}
    for path in (place.home, place.root):
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        seen.setdefault(existing.stat().st_dev, (str(path), shutil.disk_usage(existing).free / 1e9))
    return dict(seen.values())


def _user_namespaces(environ: Mapping[str, str]) -> bool:
    command = ("unshare", "--user", "--map-root-user", "true")
    return run.run(command, environ=run.clean(environ), check=False).code == 0


def _port_owner(port: int, folders: ca.Folders) -> Literal["nobody", "box", "other"]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return "box" if _is_box(port, folders) else "other"
    return "nobody"


def _is_box(port: int, folders: ca.Folders) -> bool:
    """Whether what listens shows a certificate that our clients would accept."""
    try:
        trust = ca.check(folders)
        context = ssl.create_default_context(cafile=str(trust.client_trust_file))
        with socket.create_connection(("127.0.0.1", port), timeout=3) as plain:
            context.wrap_socket(plain, server_hostname="localhost").close()
    except (EsbError, OSError):
        return False
    return True


def _engine(place: engines.Place) -> tuple[str, str | None]:
    try:
        seen = engines.status(place)
    except EsbError as error:
        return "", error.fact
    if seen.state != "none":
        return f"{seen.version} ({'our own' if seen.state == 'ours' else 'yours'}) at {seen.address}", None
    reason = engines.not_here(Path("/etc/os-release").read_text(), os.geteuid())
    return "none yet; ./esb up brings Debian's", f"none, and {reason}" if reason else None


def _certificates(folders: ca.Folders) -> tuple[dt.datetime | None, dt.datetime | None, str | None]:
    """Begin and end of what holds, or the complaint; nothing at all before the first ``up``."""
    if not folders.root.exists():
        return None, None, None
    try:
        begin = certificates.chain(files.read(folders.root) or b"", str(folders.root))[0].not_valid_before_utc
        trust = ca.check(folders)
    except EsbError as error:
        return None, None, error.fact
    return begin, min(trust.not_after, trust.certificate_not_after), None
