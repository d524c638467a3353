"""Host tools: the few programs that must be the machine's own, installed by apt or a bundle, and named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from esb_common.errors import NotPossibleHere

from esb_builder import offline, run
from esb_builder.voice import Voice

PACKAGE_OF: Mapping[str, str] = {
    "iptables-save": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mmdebstrap": "mmdebstrap",
    "strip": "binutils",
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing(programs: tuple[str, ...], path: str = SYSTEM_PATH) -> list[str]:
    """The packages (of :data:`PACKAGE_OF`) whose program is not on ``path``."""
    return [PACKAGE_OF[program] for program in programs if shutil.which(program, path=path) is None]


def require(programs: tuple[str, ...], environ: Mapping[str, str], voice: Voice) -> None:
    """Install what is missing and name it. NotPossibleHere without root or apt."""
    wanted = missing(programs)
    if not wanted:
        return
    line = f"apt-get install {' '.join(wanted)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotPossibleHere(f"this machine lacks {', '.join(wanted)}", f"as root: {line}")
    clean = quiet(environ)
    with voice.step(f"install host tools: {' '.join(wanted)}"):
        if brought := offline.packages("host", environ):
            _install(brought, clean)
        else:
            _fetch(wanted, clean)
    voice.note(f"installed on this machine: {', '.join(wanted)}")


def quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """What Debian's tools may know of ``environ``; they ask nothing."""
    return run.clean(environ, PATH=SYSTEM_PATH, DEBIAN_FRONTEND="noninteractive")


def _fetch(wanted: list[str], environ: dict[str, str]) -> None:
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        run.run(("apt-get", "-q", "update"), environ=environ)
    run.run(("apt-get", "-q", "-y", "install", "--no-install-recommends", *wanted), environ=environ)


def _install(brought: Sequence[Path], environ: dict[str, str]) -> None:
    """Those packages of a bundle that are not installed; none that is there changes its version."""
    shown = run.run(("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"), environ=environ).stdout
    there = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    lacking = [deb for deb in brought if deb.name.partition("_")[0] not in there]
    install = ("apt-get", "-q", "-y", "install", "--no-install-recommends")
    run.run((*install, *lacking), environ=environ)  # unlike dpkg, it minds what must be configured first
