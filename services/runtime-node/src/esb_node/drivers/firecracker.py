"""Firecracker mode without its driver: the node runs, and refuses every worker with the reason.

The mode's images and tunnel can so be brought up and looked at, while a call of a function is
answered by an error that names what is missing, and never by another kind of isolation. Whatever
comes in this module's place must keep one refusal: an image that was built from stand-ins
for Firecracker's files starts no microVM.
"""

from __future__ import annotations

from pathlib import Path

from esb_common import wire
from esb_common.errors import NotPossibleHere

from esb_node.core.ports import Running, StartRefused, WorkerPlan

ARTEFACTS = Path("/usr/local/share/firecracker/artefacts")
"""Written while the image is built: ``pinned`` or ``stand-ins``, then the files that were taken."""

MISSING = "ESB has no firecracker driver yet, so no microVM is started"
STAND_INS = "; this image could not run one either: it was built from stand-ins for Firecracker's files"


class FirecrackerDriver:
    """See ``core.ports.Driver``. What it says of itself is what the mode means: nothing less runs."""

    name = "firecracker"
    isolation: wire.Isolation = "microvms"
    network: wire.Network = "loopback"
    limits = True

    def __init__(self, artefacts: Path = ARTEFACTS) -> None:
        self._artefacts = artefacts
        self._refusal = MISSING

    async def open(self) -> None:
        """Read what the image was built from. NotPossibleHere where that is not written down."""
        try:
            kind = self._artefacts.read_text().split()[:1]
        except FileNotFoundError:
            kind = []
        if kind not in (["pinned"], ["stand-ins"]):
            raise NotPossibleHere(
                f"{self._artefacts} does not say what Firecracker this is",
                "Firecracker mode is the image esb-runtime-node:firecracker: ESB_MODE=firecracker ./esb up",
            )
        self._refusal = MISSING + (STAND_INS if kind == ["stand-ins"] else "")

    async def start(self, plan: WorkerPlan) -> Running:  # noqa: ARG002 - the port's signature
        """Refuse; see the module."""
        raise StartRefused("StartFailed", self._refusal)

    async def close(self) -> None:
        """Nothing is held."""
