"""Which programs of the machine the driver needs, and where they are."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from esb_common.errors import NotPossibleHere

_NEEDED = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "iptables": "iptables",
}
"""Programs and the Debian packages that hold them."""

_PLUGINS = ("bridge", "host-local")
_PLUGIN_PACKAGE = "containernetworking-plugins"


@dataclass(frozen=True, slots=True)
class Programs:
    """Absolute paths; ``plugins`` is the folder of the CNI plugins."""

    containerd: Path
    runc: Path
    iptables: Path
    plugins: Path


def find_programs(path: str) -> Programs:
    """What the driver needs, found on ``path`` (as in ``PATH``); NotPossibleHere names all that is missing.

    CNI plugins stand on no PATH: they are looked for in ``lib/cni`` beside the folder that holds runc,
    which is where Debian's packages put them, also under a prefix.
    """
    found = {name: shutil.which(name, path=path) for name in _NEEDED}
    missing = [f"{name} ({_NEEDED[name]})" for name, where in found.items() if where is None]
    plugins = Path(found["runc"] or "/usr/sbin/runc").parent.parent / "lib/cni"
    missing += [f"{plugins / name} ({_PLUGIN_PACKAGE})" for name in _PLUGINS if not (plugins / name).exists()]
    if missing:
        raise NotPossibleHere(
            f"the containerd driver needs programs that are not here: {', '.join(missing)}",
            "use the runtime-node image, which holds them, or install the packages named in brackets",
        )
    paths = {name: Path(where) for name, where in found.items() if where is not None}
    return Programs(paths["containerd"], paths["runc"], paths["iptables"], plugins)
