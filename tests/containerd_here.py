"""What the containerd driver needs and this machine has: for tests and benchmarks of the real thing."""

from __future__ import annotations

import os
from pathlib import Path

from esb_common.errors import NotPossibleHere
from esb_node.drivers.containerd.network import Addresses
from esb_node.drivers.containerd.programs import Programs, find_programs

IMAGE = "esb-lambda-python.tar"


def programs_here() -> Programs:
    """The private engine's programs, or the machine's own; NotPossibleHere names what neither has."""
    prefix = Path(os.environ.get("ESB_ENGINE_ROOT", "/var/lib/esb-engine")) / "prefix/usr"
    return find_programs(os.pathsep.join([f"{prefix}/bin", f"{prefix}/sbin", os.environ["PATH"]]))


def images_here() -> Path:
    """The folder with the function images' archives; NotPossibleHere where they have not been built."""
    folder = Path(os.environ.get("ESB_IMAGE_DIR", Path.home() / ".esb/images"))
    if not (folder / IMAGE).exists():
        raise NotPossibleHere(f"{folder / IMAGE} is not there", "build it with `esb build`")
    return folder


def own_addresses() -> Addresses:
    """A bridge and addresses for this process alone, so that test runs stand beside one another and a box."""
    number = os.getpid()
    return Addresses(f"esbt{number}", f"198.18.{176 + number % 16}.0/24")


def needs() -> str:
    """What is missing for the containerd driver here, in one sentence; empty where nothing is."""
    if os.geteuid() != 0:
        return "the containerd driver needs root"
    try:
        programs_here()
        images_here()
    except NotPossibleHere as lacking:
        return lacking.fact
    return ""
