"""What the contract suite runs over: every driver, what it claims, and what it needs here."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from esb_common.log import Log
from esb_node.core.ports import Driver
from esb_node.drivers.memory import MemoryDriver
from esb_node.drivers.process.driver import Place, ProcessDriver
from esb_node.drivers.process.orders import Isolation

FUNCTIONS = Path(__file__).parent / "functions"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a driver may use: an empty folder, the runtime client, an interpreter's prefix."""

    folder: Path
    runtime: Path
    python_prefix: Path


@dataclass(frozen=True, slots=True)
class Subject:
    """One driver under the contract.

    ``real``: workers run real Python. ``isolated``: they see a private machine. ``limits``: cgroups hold
    them. ``needs`` says what is missing here, in one sentence, or nothing.
    """

    name: str
    make: Callable[[Ground], Driver]
    needs: Callable[[], str]
    real: bool = True
    isolated: bool = True
    sandbox_uid: int | None = 993

    @property
    def limits(self) -> bool:
        """Whether memory limits hold here."""
        return self.real and os.geteuid() == 0


def _process(isolation: Isolation) -> Callable[[Ground], Driver]:
    def make(ground: Ground) -> Driver:
        place = Place(ground.folder, ground.python_prefix, ground.runtime)
        return ProcessDriver(place, isolation, Log("contract"))

    return make


def _containerd(ground: Ground) -> Driver:
    # Here and not above: without its engine the suite must run where gRPC cannot even be imported.
    import containerd_here
    from esb_node.drivers.containerd.driver import ContainerdDriver

    return ContainerdDriver(
        folder=ground.folder / "containerd",
        images=containerd_here.images_here(),
        programs=containerd_here.programs_here(),
        log=Log("contract"),
        addresses=containerd_here.own_addresses(),
    )


def _containerd_needs() -> str:
    import containerd_here

    return containerd_here.needs()


def _nothing() -> str:
    return ""


_EVERYBODY = (
    Subject("memory", lambda _: MemoryDriver(), _nothing, real=False, isolated=False, sandbox_uid=None),
)
_ROOT = (
    Subject("process", _process("namespaces"), _nothing),
    Subject("containerd", _containerd, _containerd_needs),
)
_NOT_ROOT = (
    Subject("process-userns", _process("user-namespaces"), _nothing),
    Subject("process-none", _process("none"), _nothing, isolated=False, sandbox_uid=None),
)
SUBJECTS = _EVERYBODY + (_NOT_ROOT if os.geteuid() else _ROOT)
"""Those that can run as this user; ``test_rootless.py`` runs the others' as another one."""


def python_prefix() -> Path:
    """The CPython that workers are shown: the one that runs the tests."""
    return Path(sys.base_prefix)


def zip_of(folder: Path) -> bytes:
    """A function's zip with the files of ``folder``."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.glob("*.py")):
            archive.write(path, path.name)
    return content.getvalue()
