"""A bare Debian 12 without network: a root of its own with nothing but apt, entered in namespaces of its own.

It has the machine's kernel, devices and cgroups, and a loopback; no Python, no engine, no certificates.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--propagation=private")
_ENTER = """set -eu
root=$1 media=$2; shift 2
ip link set lo up
mount --bind "$root" "$root"; cd "$root"; mkdir -p mnt was
mount -t proc proc proc; mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup; mount --rbind /dev dev
mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp; mount --bind "$media" mnt
hostname bare; pivot_root . was; umount -l was
exec /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
"""


@dataclass(frozen=True)
class BareDebian:
    """``root`` is its file system, ``media`` what it sees at ``/mnt``.

    ``engine_root`` is unlike any other's, since engines are told apart by it in the kernel that they share.
    """

    root: Path
    media: Path
    engine_root: str

    @classmethod
    def make(cls, place: Path) -> BareDebian:
        """Bootstrap one below ``place``, from the machine's own mirror."""
        made = cls(place / "root", place / "media", f"/var/lib/esb-{place.name}")
        made.media.mkdir(parents=True)
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(made.root)]
        subprocess.run(command, check=True, capture_output=True)
        return made

    def run(self, script: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a shell script in it, to the end."""
        enter = ["unshare", *_NAMESPACES, "sh", "-c", _ENTER, "enter", str(self.root), str(self.media)]
        return subprocess.run(
            [*enter, f"ESB_ENGINE_ROOT={self.engine_root}", "sh", "-euc", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
