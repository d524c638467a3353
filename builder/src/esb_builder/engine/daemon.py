"""Our own dockerd: started once, reused by every later run, stopped without a trace.

It runs in a mount namespace of its own (host mounts come in, its mounts do not go out and
end with its last process), under a cgroup of its own, with its own data, socket, address
range and network bridges. It shares the host's network namespace, where published ports
must appear. Start takes about 1.5 s; a lock file lets one run at a time start or stop it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from esb_common.errors import Broken, Misuse, NotPossibleHere

from esb_builder import offline, run
from esb_builder.engine import cleaning, packages, processes
from esb_builder.engine.client import Engine
from esb_builder.engine.place import BRIDGE, LONGEST_SOCKET, POOL, Place
from esb_builder.voice import Voice

ANSWER_S = 10.0
START_S = 30.0
STOP_S = 20.0
CONTAINERS_S = 3

_PROGRAMS = ("usr/sbin/dockerd", "usr/sbin/docker-proxy", "usr/sbin/runc", "usr/bin/crun", "usr/bin/docker")
_CONTAINERD = ("usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/ctr")
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OTHER_WAYS = (
    "install Docker 25 or newer and point DOCKER_HOST at it, or run without one: ./esb up --embedded"
)


def engine_of(place: Place) -> Engine:
    """Our engine as clients reach it, running or not."""
    environ = run.clean(
        place.environ,
        PATH=f"{place.bin}:{place.environ.get('PATH', _SYSTEM)}",
        DOCKER_HOST=f"unix://{place.socket}",
        DOCKER_CONFIG=str(place.client_config),
    )
    return Engine(environ, ours=True, prefix=place.prefix)


def running(place: Place) -> processes.Identity | None:
    """Our dockerd, where it lives: the process that runs the program of our prefix."""
    found = processes.running_from(place.prefix / "usr/sbin/dockerd")
    return min(found, key=lambda who: who.started, default=None)


def answers(place: Place) -> bool:
    """Whether our dockerd lives and answers its socket."""
    return place.socket.exists() and running(place) is not None and _answers(engine_of(place))


def start(place: Place, voice: Voice) -> Engine:
    """Bring our engine up, whatever state it was left in. Broken where it does not come."""
    if len(str(place.socket)) > LONGEST_SOCKET:
        raise Misuse(f"ESB_ENGINE_ROOT is too long for a socket's path: {place.root}", "choose a shorter one")
    with _locked(place):
        if not answers(place):
            _start(place, voice)
    return engine_of(place)


def stop(place: Place, voice: Voice, *, purge: bool) -> bool:
    """End our engine and its containers and take its traces away; whether there was anything to do."""
    if not place.entries():
        return False
    with _locked(place):
        was_there = bool(_leftovers(place)) or cleaning.recorded(place) is not None
        if was_there:
            with voice.step("stop the container engine"):
                _stop(place)
                cleaning.put_back(place, _environ(place))
        if purge:
            with voice.step(f"remove {place.root}"):
                cleaning.purge(place)
    return was_there or purge


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """One start or stop at a time. A purge removes the file while others wait for it: they look again."""
    path = place.root / "lock"
    while True:
        with _opened(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                yield
                return


def _opened(lock: Path) -> IO[str]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        return lock.open("a")
    except PermissionError:
        raise NotPossibleHere(f"{lock.parent} belongs to another user", "run this as root") from None


def _start(place: Place, voice: Voice) -> None:
    _stop(place)  # a dockerd that lives but does not answer, or what a killed one left
    environ = _environ(place)
    packages.install(place.prefix, environ, voice, offline.packages("engine", place.environ))
    _lay_out(place)
    cleaning.write_down(place, environ)
    cleaning.forget_last_run(place, environ)
    with voice.step("start the container engine"):
        _launch(place, environ)


def _launch(place: Place, environ: dict[str, str]) -> None:
    place.socket.unlink(missing_ok=True)
    (place.root / "docker.pid").unlink(missing_ok=True)
    place.log.unlink(missing_ok=True)
    command = ("unshare", "--mount", "--propagation", "slave", "--", place.bin / "dockerd")
    options = ("--config-file", place.root / "daemon.json", "--host", f"unix://{place.socket}")
    child = run.daemon((*command, *options), environ=environ, log=place.log)
    until = time.monotonic() + START_S
    while not _answers(engine_of(place)):
        if child.poll() is not None or time.monotonic() > until:
            _stop(place)
            cleaning.put_back(place, environ)
            raise Broken(f"dockerd does not come up:\n{_last(place.log)}")
        time.sleep(0.05)


def _stop(place: Place) -> None:
    who = running(place)
    if who is not None:
        _stop_containers(place)
        processes.end([who], STOP_S)
    processes.end(_leftovers(place), 2.0)
    processes.end(processes.in_cgroup(place.cgroup), 0.0)  # a killed engine's containers live on


def _stop_containers(place: Place) -> None:
    engine = engine_of(place)
    with suppress(Broken):  # a dockerd that hangs: its containers are ended by their cgroup
        listed = engine.docker("ps", "--quiet", timeout_s=ANSWER_S).stdout.split()
        if listed:
            engine.docker("stop", "--time", str(CONTAINERS_S), *listed, timeout_s=STOP_S)


def _leftovers(place: Place) -> list[processes.Identity]:
    return processes.running_from(place.prefix)


def _answers(engine: Engine) -> bool:
    try:
        engine.docker("version", "--format", "{{.Server.Version}}", timeout_s=ANSWER_S)
    except Broken:
        return False
    return True


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-8:]) or "  it wrote nothing"


def _environ(place: Place) -> dict[str, str]:
    """dockerd's own: its programs first, and the machine's proxy and trust for pulls."""
    return run.clean(place.environ, PATH=f"{place.bin}:{_SYSTEM}", HOME=str(place.root))


def _lay_out(place: Place) -> None:
    place.bin.mkdir(exist_ok=True)
    plugins = place.client_config / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for program in (*_PROGRAMS, *_CONTAINERD):
        _link(place.bin / Path(program).name, place.prefix / program)
    _link(place.bin / "docker-init", place.prefix / "usr/bin/tini-static")
    for plugin in (place.prefix / "usr/libexec/docker/cli-plugins").iterdir():
        _link(plugins / plugin.name, plugin)
    (place.root / "daemon.json").write_text(json.dumps(_configuration(place), indent=1))


def _link(name: Path, target: Path) -> None:
    name.unlink(missing_ok=True)
    name.symlink_to(target)


def _configuration(place: Place) -> dict[str, object]:
    """https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file"""
    return {
        "data-root": str(place.data),
        "exec-root": str(place.run_time),
        "pidfile": str(place.root / "docker.pid"),
        "bip": BRIDGE,
        "default-address-pools": [{"base": POOL, "size": 24}],
        "cgroup-parent": f"/{place.cgroup}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],  # systemd's driver takes only slices as a parent
        "features": {"containerd-snapshotter": True},
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "2"},
    }
