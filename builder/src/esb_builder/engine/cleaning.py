"""Writes down the machine before our engine starts, and puts it back after it ended.

The decisions are in :mod:`esb_builder.engine.traces`. The record lies in the engine's folder
and counts for one boot; it survives a killed engine, so a later stop cleans up after it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from esb_common.errors import Broken

from esb_builder import run
from esb_builder.engine import nftables, traces
from esb_builder.engine.place import Place

SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/accept_redirects",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""Settings that dockerd or runc raises. Writing ip_forward resets others, so it comes first."""

FOLDERS = ("/run/docker/plugins", "/run/docker", "/run/containerd/s", "/run/containerd", "/run/runc")
"""Run-time folders that dockerd's parts make whatever their options say, inner ones first."""

_SYS = Path("/proc/sys")
_CGROUPS = Path("/sys/fs/cgroup")


def write_down(place: Place, environ: dict[str, str]) -> None:
    """Record the machine, unless this boot has a record already."""
    if recorded(place) is not None:
        return
    before = traces.Before(
        boot=_boot(),
        filter_rules=run.run(("iptables-save",), environ=environ).stdout,
        sysctls={name: (_SYS / name).read_text().strip() for name in SYSCTLS if (_SYS / name).exists()},
        folders=tuple(folder for folder in FOLDERS if Path(folder).exists()),
    )
    record = _record(place)
    aside = record.with_suffix(".new")
    aside.write_text(json.dumps(asdict(before)))
    aside.rename(record)


def put_back(place: Place, environ: dict[str, str]) -> None:
    """Take our engine's traces away. Its processes must be gone. Safe to repeat."""
    _remove_cgroups(place.cgroup)
    _unmount_below(place.root, environ)
    before = recorded(place)
    if before is None:
        return
    bridges = _bridges(environ)
    _take_back_rules(traces.parse_rules(before.filter_rules), bridges, environ)
    for bridge in bridges:
        run.run(("ip", "link", "delete", bridge), environ=environ)
    _reset(before)
    remove_states(Path("/run/runc"), place.cgroup)
    _remove_folders(before)
    _record(place).unlink()


def forget_last_run(place: Place, environ: dict[str, str]) -> None:
    """After a crash, start as after a boot: no run-time state, no bridge with an old address.

    containerd would otherwise wait ten seconds for each shim that is gone.
    """
    _unmount_below(place.root, environ)
    shutil.rmtree(place.run_time, ignore_errors=True)
    for bridge in _bridges(environ):
        run.run(("ip", "link", "delete", bridge), environ=environ)


def _record(place: Place) -> Path:
    return place.root / "before.json"


def _boot() -> str:
    return (_SYS / "kernel/random/boot_id").read_text().strip()


def recorded(place: Place) -> traces.Before | None:
    """The record of this boot, if there is one."""
    try:
        raw = json.loads(_record(place).read_text())
    except FileNotFoundError:
        return None
    before = traces.Before(**(raw | {"folders": tuple(raw["folders"])}))
    return before if before.boot == _boot() else None


def _bridges(environ: dict[str, str]) -> list[str]:
    shown = run.run(("ip", "-json", "-details", "address"), environ=environ).stdout
    return traces.our_bridges(json.loads(shown or "[]"))


def _rules(environ: dict[str, str]) -> traces.Tables:
    return traces.parse_rules(run.run(("iptables-save",), environ=environ).stdout)


def _take_back_rules(before: traces.Tables, bridges: list[str], environ: dict[str, str]) -> None:
    orders = traces.take_back(before, _rules(environ), bridges)
    if orders:
        run.run(("iptables-restore", "--noflush"), environ=environ, stdin=orders.encode())
    for table in traces.emptied_tables(before, _rules(environ)):
        nftables.drop_table(table)


def _reset(before: traces.Before) -> None:
    for name, value in before.sysctls.items():
        setting = _SYS / name
        if setting.exists() and setting.read_text().strip() != value:
            setting.write_text(value)


def _remove_folders(before: traces.Before) -> None:
    _remove_dead_sockets(Path("/run/containerd/s"))
    for folder in FOLDERS:
        if folder not in before.folders:
            with suppress(OSError):  # gone, or another program put something there
                Path(folder).rmdir()


def remove_states(folder: Path, cgroup: str) -> None:
    """What runc noted of build steps that a killed engine was running: those in ``cgroup``."""
    for state in folder.glob("*/state.json"):
        with suppress(FileNotFoundError):  # another engine's step ended meanwhile
            if f"/{cgroup}/" in state.read_text():
                shutil.rmtree(state.parent)


def _remove_dead_sockets(folder: Path) -> None:
    """Shims that were killed leave their sockets; one that refuses has no owner any more.

    Asked twice: another engine's shim refuses for an instant between binding and listening.
    """
    refusing = [path for path in (folder.iterdir() if folder.is_dir() else ()) if _refuses(path)]
    time.sleep(0.05 if refusing else 0)
    for path in filter(_refuses, refusing):
        path.unlink(missing_ok=True)


def _refuses(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno == errno.ECONNREFUSED
    return False


def _remove_cgroups(name: str) -> None:
    """Inner first; a cgroup that is not empty belongs to a process that we could not end."""
    for top in (_CGROUPS / name, *_CGROUPS.glob(f"*/{name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(FileNotFoundError):
                Path(folder).rmdir()


def _unmount_below(root: Path, environ: dict[str, str]) -> None:
    """Mounts of an engine that ran outside a mount namespace of its own."""
    points = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    for point in sorted((p for p in points if Path(p).is_relative_to(root)), reverse=True):
        run.run(("umount", "--lazy", point), environ=environ)


def purge(place: Place) -> None:
    """Remove what we made in the engine's folder, and the folder once it is empty."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    if any(Path(line.split()[1]).is_relative_to(place.root) for line in mounts):
        raise Broken(f"something is still mounted under {place.root}", "unmount it, then stop again")
    for entry in place.entries():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    with suppress(OSError):  # somebody keeps files of their own there
        place.root.rmdir()
