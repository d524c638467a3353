"""A worker's OCI runtime specification, from its plan. Pure.

https://github.com/opencontainers/runtime-spec/blob/v1.0.2/config.md

A worker is user 993 without a single capability, with no way to gain one, in a read-only root. It sees its
code, a writable ``/tmp`` on disk, its own ``/proc`` and a minimal ``/dev``; no ``/sys``. Every mount point
exists in the image's root (``mount_points.py``), since a read-only root cannot grow one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb_node.core.ports import WorkerPlan
from esb_node.core.worker import MIB_OF_ONE_CPU, MOST_FILES, MOST_PROCESSES, OOM_SCORE, SANDBOX_UID

OUTPUT = "/run/esb/output"

_MIB = 1 << 20
_FULL_CPU_SHARES = 1024
_LEAST_SHARES = 2

_HIDDEN = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0))
"""null, zero, full, random, urandom, tty."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the machine holds ready for one worker; paths as the node sees them.

    ``cgroup`` is an absolute cgroup path. ``counts_swap``: the kernel can limit memory and swap together.
    """

    network: Path
    output: Path
    scratch: Path
    resolver: Path
    hosts: Path
    cgroup: str
    counts_swap: bool


def encode_spec(plan: WorkerPlan, place: Place) -> bytes:
    """The specification as JSON, as containerd takes it."""
    content = {
        "ociVersion": "1.0.2",
        "hostname": "localhost",
        "root": {"path": "rootfs", "readonly": True},
        "process": _process(plan),
        "mounts": _mounts(plan, place),
        "linux": _linux(plan, place),
    }
    return json.dumps(content, separators=(",", ":")).encode()


def _process(plan: WorkerPlan) -> dict[str, Any]:
    environment = {**plan.environment, "_ESB_OUTPUT": OUTPUT}
    return {
        "terminal": False,
        "user": {"uid": SANDBOX_UID, "gid": SANDBOX_UID},
        "args": list(plan.arguments),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": "/var/task",
        "capabilities": {
            kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
        },
        "noNewPrivileges": True,
        "oomScoreAdj": OOM_SCORE,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": MOST_FILES, "hard": MOST_FILES},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ],
    }


def _mounts(plan: WorkerPlan, place: Place) -> list[dict[str, Any]]:
    hardened = ("nosuid", "noexec", "nodev")
    return [
        _mount("/proc", "proc", *hardened),
        _mount("/dev", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=64k"),
        _mount("/dev/shm", "tmpfs", *hardened, "mode=1777", "size=64m"),  # noqa: S108 - a path in the worker
        _bind("/tmp", place.scratch, "nosuid", "nodev"),  # noqa: S108 - a path in the worker
        _bind("/var/task", plan.code, "ro", "nosuid", "nodev"),
        _bind(OUTPUT, place.output, *hardened),
        _bind("/etc/resolv.conf", place.resolver, "ro", *hardened),
        _bind("/etc/hosts", place.hosts, "ro", *hardened),
    ]


def _mount(destination: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": list(options)}


def _bind(destination: str, source: Path, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", "rprivate", *options],
    }


def _linux(plan: WorkerPlan, place: Place) -> dict[str, Any]:
    return {
        "namespaces": [
            *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
            {"type": "network", "path": str(place.network)},
        ],
        "cgroupsPath": place.cgroup,
        "resources": _resources(plan.function.memory_mib, place.counts_swap),
        "maskedPaths": list(_HIDDEN),
        "readonlyPaths": list(_READ_ONLY),
    }


def _resources(memory_mib: int, counts_swap: bool) -> dict[str, Any]:
    limit = memory_mib * _MIB
    allowed = [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _DEVICES
    ]
    return {
        "devices": [{"allow": False, "access": "rwm"}, *allowed],
        "memory": {"limit": limit} | ({"swap": limit} if counts_swap else {}),
        "cpu": {"shares": max(_LEAST_SHARES, memory_mib * _FULL_CPU_SHARES // MIB_OF_ONE_CPU)},
        "pids": {"limit": MOST_PROCESSES},
    }
