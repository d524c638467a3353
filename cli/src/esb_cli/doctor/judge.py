"""Each check is a small judgement over gathered facts: good, a warning, or bad with its mend."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "warning", "bad"]

NEEDED_GB = 5
CONTROLLERS = frozenset({"memory", "pids", "cpu"})
NAMESPACES = frozenset({"ipc", "mnt", "net", "pid", "user", "uts"})
SLOW_CLOCK = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""No machine that runs this was set up earlier, so an earlier clock is wrong."""

EMBEDDED = "run without containers: ./esb up --embedded"


@dataclass(frozen=True, slots=True)
class Check:
    """A verdict; ``mend`` says what to do and is empty only where all is good."""

    name: str
    verdict: Verdict
    fact: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen. A complaint is None where there is nothing to complain about."""

    python: tuple[int, int, int]
    index: str | None
    mirror: str | None
    has_apt: bool
    free_gb: dict[str, float]
    cgroup_version: int
    controllers: frozenset[str]
    namespaces: frozenset[str]
    user_namespaces: bool
    is_root: bool
    port: int
    port_owner: Literal["nobody", "box", "other"]
    now: dt.datetime
    engine: str
    engine_complaint: str | None
    certificates_begin: dt.datetime | None
    certificates_end: dt.datetime | None
    certificates_complaint: str | None


def all_checks(facts: Facts) -> list[Check]:
    """Every check, in the order in which a first run would meet them."""
    return [
        python(facts),
        index(facts),
        mirror(facts),
        disk(facts),
        clock(facts),
        cgroups(facts),
        namespaces(facts),
        port(facts),
        engine(facts),
        certificates(facts),
    ]


def python(facts: Facts) -> Check:
    """The interpreter that runs this, and that workers see in embedded mode."""
    shown = "CPython " + ".".join(map(str, facts.python))
    if facts.python[:2] != (3, 12):
        return Check("python", "bad", f"{shown}, not 3.12", "remove .esb/cli and run ./esb again")
    return Check("python", "good", shown)


def index(facts: Facts) -> Check:
    """Needed by the first run and by image builds, never by a running box."""
    if facts.index is None:
        return Check("package index", "good", "answers, its certificate is trusted")
    mend = (
        "behind a proxy set HTTPS_PROXY; where it re-signs TLS put its CA into /usr/local/share/"
        "ca-certificates and run update-ca-certificates; for an index of your own set UV_DEFAULT_INDEX"
    )
    return Check("package index", "warning", facts.index, mend)


def mirror(facts: Facts) -> Check:
    """Needed where ESB brings its own engine or builds the base image from Debian's packages."""
    if not facts.has_apt:
        return Check(
            "Debian mirror", "warning", "no apt here", "use an installed Docker, and --source registry"
        )
    if facts.mirror is None:
        return Check("Debian mirror", "good", "answers")
    return Check("Debian mirror", "warning", facts.mirror, "set Acquire::http::Proxy in /etc/apt/apt.conf.d")


def disk(facts: Facts) -> Check:
    """Images, packages and caches take about 3 GB."""
    short = {place: free for place, free in facts.free_gb.items() if free < NEEDED_GB}
    shown = ", ".join(f"{place} {free:.0f} GB free" for place, free in facts.free_gb.items())
    if short:
        mend = f"free {NEEDED_GB} GB, or move it: ESB_HOME, ESB_ENGINE_ROOT"
        return Check("disk", "bad", shown, mend)
    return Check("disk", "good", shown)


def clock(facts: Facts) -> Check:
    """A wrong clock makes every certificate look expired or too new."""
    begin = facts.certificates_begin
    shown = f"{facts.now:%Y-%m-%d %H:%M} UTC"
    if facts.now < SLOW_CLOCK or (begin is not None and facts.now < begin):
        return Check(
            "clock", "bad", f"it is {shown} here, which is in the past", "set the clock (timedatectl)"
        )
    return Check("clock", "good", shown)


def cgroups(facts: Facts) -> Check:
    """Workers are limited in memory, processes and CPU."""
    missing = CONTROLLERS - facts.controllers
    if missing:
        fact = f"version {facts.cgroup_version} without {', '.join(sorted(missing))}"
        return Check("cgroups", "bad", fact, "enable these controllers at boot (cgroup_enable=memory)")
    return Check("cgroups", "good", f"version {facts.cgroup_version}, {', '.join(sorted(CONTROLLERS))}")


def namespaces(facts: Facts) -> Check:
    """Workers live in namespaces of their own; without root they need user namespaces."""
    missing = NAMESPACES - facts.namespaces
    if missing - {"user"}:
        return Check(
            "namespaces", "bad", f"the kernel lacks {', '.join(sorted(missing))}", "use another kernel"
        )
    if not facts.is_root and not facts.user_namespaces:
        mend = (
            "run as root, or allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)"
        )
        return Check("namespaces", "warning", "no user namespaces for this user", mend)
    return Check("namespaces", "good", "as root" if facts.is_root else "user namespaces")


def port(facts: Facts) -> Check:
    """The gateway's HTTPS port on this machine."""
    match facts.port_owner:
        case "nobody":
            return Check("port", "good", f"{facts.port} is free")
        case "box":
            return Check("port", "good", f"{facts.port} is this box")
        case "other":
            mend = "stop that program, or set ESB_PORT to another port"
            return Check("port", "bad", f"{facts.port} is taken by another program", mend)


def engine(facts: Facts) -> Check:
    """A container engine, which embedded mode does not need."""
    if facts.engine_complaint is not None:
        return Check("engine", "warning", facts.engine_complaint, EMBEDDED)
    return Check("engine", "good", facts.engine)


def certificates(facts: Facts) -> Check:
    """The root CA and the gateway's certificate; ``up`` makes them where they are missing."""
    if facts.certificates_complaint is not None:
        return Check("certificates", "bad", facts.certificates_complaint, "run: ./esb ca init")
    if facts.certificates_end is None:
        return Check("certificates", "good", "none yet; ./esb up makes them")
    left = (facts.certificates_end - facts.now).days
    if left < 90:
        mend = "rotate the root CA and rebuild the images (docs/operating.md)"
        return Check("certificates", "warning", f"they end in {left} days", mend)
    return Check("certificates", "good", f"valid until {facts.certificates_end:%Y-%m-%d}")
