"""Where the private engine lives and which addresses it may use: names only, nothing is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from types import MappingProxyType

from esb_common import settings

BRIDGE = "198.18.0.1/24"
POOL = "198.18.64.0/18"
"""RFC 2544's range for benchmarks: no office, home or cloud network routes it."""

NETWORKS = (IPv4Network("198.18.0.0/24"), IPv4Network(POOL))
ENTRIES = (
    "prefix",
    ".prefix.new",
    ".apt",
    "bin",
    "cli",
    "data",
    "exec",
    "daemon.json",
    "before.json",
    "before.new",
    "dockerd.log",
    "docker.sock",
    "docker.pid",
    "lock",
)
"""Everything that ESB makes in the engine's folder; a purge removes nothing else."""

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (``sun_path`` less its end)."""


@dataclass(frozen=True, slots=True)
class Place:
    """The private engine's folder (``root``), ESB's own (``home``) and the person's environment."""

    root: Path
    home: Path
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Place:
        """ESB_ENGINE_ROOT and ESB_HOME, with their defaults."""
        return cls(
            root=settings.folder(environ, "ESB_ENGINE_ROOT", "/var/lib/esb-engine"),
            home=settings.folder(environ, "ESB_HOME", "~/.esb"),
            environ=MappingProxyType(dict(environ)),
        )

    def entries(self) -> list[Path]:
        """What of :data:`ENTRIES` is there, the lock last."""
        return [path for name in ENTRIES if (path := self.root / name).exists() or path.is_symlink()]

    @property
    def prefix(self) -> Path:
        """Debian's packages, unpacked."""
        return self.root / "prefix"

    @property
    def bin(self) -> Path:
        """Links to the programs that dockerd looks up by name."""
        return self.root / "bin"

    @property
    def data(self) -> Path:
        """Images, volumes and build cache: what ``stop`` keeps."""
        return self.root / "data"

    @property
    def cgroup(self) -> str:
        """The top-level cgroup of this engine's containers; another root has another one."""
        return f"esb-engine-{hashlib.sha256(bytes(self.root)).hexdigest()[:8]}"

    @property
    def socket(self) -> Path:
        """Where our engine listens."""
        return self.root / "docker.sock"

    @property
    def run_time(self) -> Path:
        """Sockets and bundles of one run of the engine."""
        return self.root / "exec"

    @property
    def client_config(self) -> Path:
        """Our client's configuration: the buildx and compose plugins, no credentials."""
        return self.root / "cli"

    @property
    def log(self) -> Path:
        """What our engine last said."""
        return self.root / "dockerd.log"
