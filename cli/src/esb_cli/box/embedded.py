"""The box without containers: gateway and node as two processes under a supervisor of our own.

``plan`` says purely what would run; ``start`` compares it with what runs and changes only what
differs, so a second ``up`` costs one health check. The gateway gets a private view of the file
system (``python -m esb_node.sandbox``) and drops to its own user where root starts it: its
interpreter may lie in a home that only root may enter. The node keeps what rights it has.

State lies in ``${ESB_HOME}/box`` (data, run, node, log). The supervisor's own note there says what runs,
under which process id and start time, so that nobody else's process is ever signalled, and a supervisor
is found even where the ``up`` that started it was interrupted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb_builder import run
from esb_common.errors import BadInput, Broken

from esb_cli.box.layout import REPOSITORY, Layout
from esb_cli.box.supervisor import GRACE_S, Note, Program, encode, read_note
from esb_cli.framework import Session

_FOLDERS = ("data", "run", "node", "log")


@dataclass(frozen=True, slots=True)
class Interpreters:
    """An embedded box's Python: two virtual environments and the folder of the workers' runtime client."""

    gateway: Path
    node: Path
    runtime: Path

    @property
    def prefix(self) -> Path:
        """The CPython installation that all of them stand on."""
        return Path((self.node / "bin/python").resolve()).parents[1]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embedded kind of box (see :mod:`esb_cli.box.kinds`)."""

    session: Session
    layout: Layout

    def prepare(self) -> None:
        """Make the environments, and see that the gateway's user could read its sources."""
        self._interpreters()
        if os.getuid() == 0:
            refuse_unreadable(sources("gateway"))

    def start(self) -> None:
        """Let the supervisor run what the plan says."""
        with self.session.printer.step("start the box"):
            start(self.layout, self._interpreters(), self.session.environ)

    def _interpreters(self) -> Interpreters:
        made = self.session.environments
        return Interpreters(made.environment("gateway"), made.environment("node"), made.runtime())

    def gave_up(self) -> bool:
        """Whether the supervisor is gone."""
        return running(self.layout) is None

    def last_words(self) -> str:
        """The last lines of supervisor, node and gateway."""
        return _last_words(self.layout)

    def stop(self, *, volumes: bool) -> bool:
        """End supervisor, gateway and node."""
        return stop(self.layout, volumes=volumes)

    def look(self) -> dict[str, Any]:
        """Its processes; an embedded box has no images."""
        return {"programs": programs(self.layout), "images": {}, "logs": str(self.layout.box / "log")}


def sources(service: str) -> list[Path]:
    """The source folders of one service: the shared vocabulary and its own."""
    return [REPOSITORY / "services/common/src", REPOSITORY / "services" / service / "src"]


def refuse_unreadable(folders: list[Path]) -> None:
    """BadInput for the first file below ``folders`` that only its owner may read."""
    found = {
        path for folder in folders for path in (folder, *folder.rglob("*")) if "__pycache__" not in path.parts
    }
    for path in sorted(found):
        wanted = 0o005 if path.is_dir() else 0o004
        if path.stat().st_mode & wanted != wanted:
            raise BadInput(
                f"{path} is readable by its owner only, and the gateway runs as another user",
                f"chmod -R go+rX {REPOSITORY / 'services'}",
            )


def plan(layout: Layout, interpreters: Interpreters, environ: Mapping[str, str]) -> list[Program]:
    """The two programs, in the order in which they start."""
    own = {name: value for name, value in environ.items() if name.startswith("ESB_")}
    common = own | {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ESB_HOME": str(layout.home),
        "ESB_MODE": "embedded",
        "ESB_DATA_DIR": str(layout.box / "data"),
        "ESB_RUN_DIR": str(layout.box / "run"),
        "ESB_CERT_DIR": str(layout.certificates),
        "ESB_CREDENTIALS_DIR": str(layout.credentials),
        "ESB_LISTEN": layout.listen,
        "ESB_OPEN": "1" if layout.open else "0",
        "ESB_PORT": str(layout.port),
        "ESB_UID": str(layout.uid),
        "ESB_GID": str(layout.gid),
        "ESB_REGION": layout.region,
    }
    return [_node(layout, interpreters, common), _gateway(layout, interpreters, common)]


def _node(layout: Layout, interpreters: Interpreters, common: Mapping[str, str]) -> Program:
    return Program(
        name="node",
        arguments=[str(interpreters.node / "bin/python"), "-m", "esb_node"],
        environment={
            **common,
            "PYTHONPATH": os.pathsep.join(map(str, sources("runtime-node"))),
            "ESB_NODE_DIR": str(layout.box / "node"),
            "ESB_PYTHON_PREFIX": str(interpreters.prefix),
            "ESB_RUNTIME_DIR": str(interpreters.runtime),
            "ESB_NO_ISOLATION": "0" if layout.isolated else "1",
        },
        output=str(layout.box / "log/node.log"),
    )


def _gateway(layout: Layout, interpreters: Interpreters, common: Mapping[str, str]) -> Program:
    python_path = os.pathsep.join(map(str, sources("gateway")))
    return Program(
        name="gateway",
        arguments=[
            str(interpreters.node / "bin/python"),
            "-m",
            "esb_node.sandbox",
            str(_view_file(layout)),
            "--",
            "/usr/bin/env",
            f"PYTHONPATH={python_path}",
            str(interpreters.gateway / "bin/python"),
            "-m",
            "esb_gateway",
        ],
        environment={**common, "PYTHONPATH": os.pathsep.join(map(str, sources("runtime-node")))},
        output=str(layout.box / "log/gateway.log"),
    )


def _note(layout: Layout) -> Path:
    return layout.box / "running.json"


def programs(layout: Layout) -> dict[str, dict[str, object]]:
    """The process of each program that runs, by name."""
    there = running(layout)
    return {name: {"pid": pid} for name, pid in there.programs.items()} if there else {}


def _view_file(layout: Layout) -> Path:
    return layout.box / "gateway-view.json"


def view(layout: Layout, interpreters: Interpreters) -> dict[str, object]:
    """What the gateway sees of the machine (the input of ``esb_node.sandbox``)."""
    kept = [layout.certificates, layout.credentials]
    readable = [interpreters.prefix, interpreters.gateway, *sources("gateway"), *kept]
    writable = [layout.box / "data", layout.box / "run"]
    return {
        "uid": layout.uid,
        "gid": layout.gid,
        "host_network": True,
        "end_with_parent": True,  # dropping to the gateway's user clears the supervisor's own request
        "binds": [
            {"source": str(path), "at": str(path), "writable": path in writable}
            for path in (*readable, *writable)
        ],
    }


def fingerprint(programs: list[Program], interpreters: Interpreters, certificates: Path) -> str:
    """Changes when a program's plan, its sources, its environment or the certificates change."""
    known = hashlib.sha256(encode(programs).encode())
    folders = {path for service in ("gateway", "runtime-node") for path in sources(service)}
    for path in sorted(found for folder in folders for found in folder.rglob("*.py")):
        known.update(path.read_bytes())
    stamps = [place.resolve() for place in (interpreters.gateway, interpreters.node, interpreters.runtime)]
    known.update(repr([(str(place), place.stat().st_mtime_ns) for place in stamps]).encode())
    for path in sorted(certificates.glob("*")):
        known.update(path.read_bytes())
    return known.hexdigest()


def running(layout: Layout) -> Note | None:
    """The supervisor of this box, if it lives."""
    found = read_note(_note(layout))
    return found if found and found.alive() else None


def start(layout: Layout, interpreters: Interpreters, environ: Mapping[str, str]) -> bool:
    """Bring the box to its plan; False where it already ran like that. One at a time per home."""
    programs = plan(layout, interpreters, environ)
    mark = fingerprint(programs, interpreters, layout.certificates)
    with _alone(layout):
        there = running(layout)
        if there and there.fingerprint == mark:
            return False
        stop(layout)
        _make_folders(layout)
        _view_file(layout).write_text(json.dumps(view(layout, interpreters), indent=1))
        _supervise(layout, programs, mark, environ)
    return True


def _supervise(layout: Layout, programs: list[Program], mark: str, environ: Mapping[str, str]) -> None:
    """Start the supervisor and wait for its note."""
    listing = layout.box / "programs.json"
    listing.write_text(encode(programs))
    listing.chmod(0o600)
    here = [str(REPOSITORY / part / "src") for part in ("cli", "builder", "services/common")]
    child = run.daemon(
        [sys.executable, "-m", "esb_cli.box.supervisor", listing, _note(layout), mark],
        environ=run.clean(environ, PYTHONPATH=os.pathsep.join(here), PYTHONDONTWRITEBYTECODE="1"),
        log=layout.box / "log/supervisor.log",
    )
    give_up = time.monotonic() + GRACE_S
    while running(layout) is None and child.poll() is None:
        if time.monotonic() > give_up:
            raise Broken("the supervisor does not start", _last_words(layout))
        time.sleep(0.005)


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    layout.home.mkdir(parents=True, exist_ok=True)
    with (layout.home / "box.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last_words(layout: Layout) -> str:
    words = []
    for name in ("supervisor", "node", "gateway"):
        path = layout.box / "log" / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines()[-3:] if path.exists() else []
        words += [f"{name}: {line}" for line in lines]
    return "\n  ".join([*words, f"whole logs: {layout.box / 'log'}"])


def stop(layout: Layout, *, volumes: bool = False) -> bool:
    """End the box; False where none ran. ``volumes`` also removes its functions and logs."""
    there = running(layout)
    if there:
        _end(there)
    if volumes and layout.box.exists():
        shutil.rmtree(layout.box)
    return there is not None


def _end(there: Note) -> None:
    try:
        pidfd = os.pidfd_open(there.pid)
    except ProcessLookupError:
        return
    try:
        if not there.alive():
            return
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        give_up = time.monotonic() + 2 * GRACE_S + 5
        while there.alive():
            if time.monotonic() > give_up:
                raise Broken(f"the supervisor (process {there.pid}) does not end")
            time.sleep(0.01)
    finally:
        os.close(pidfd)


def _make_folders(layout: Layout) -> None:
    layout.box.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _FOLDERS:
        (layout.box / name).mkdir(exist_ok=True, mode=0o750)
    if os.getuid() == 0:
        for name in ("data", "run"):
            os.chown(layout.box / name, layout.uid, layout.gid)
