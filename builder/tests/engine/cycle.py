"""One life of the engine, run in a network namespace of its own by ``test_cycle``.

Prints one JSON object: the machine's traces before, while and after, and what was observed.
Arguments: the engine's root (with an unpacked prefix) and a home. The namespace has no way out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from esb_builder import engine
from esb_builder.engine import daemon, features, processes
from esb_builder.engine.cleaning import FOLDERS, SYSCTLS
from esb_builder.voice import Recorded

SERVER = """
import http.server, pathlib
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = pathlib.Path("/given/page").read_bytes()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
server = http.server.HTTPServer(("", 80), Page)
pathlib.Path("/given/ready").write_text("listening")
server.serve_forever()
"""
"""Runs on the host's own Python, shown read-only to a container from an image that holds nothing."""


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def traces(place: engine.Place) -> dict[str, Any]:
    """Everything an engine could leave behind, outside its own folder."""
    noted = [str(path) for path in Path("/run/runc").glob("*/state.json") if place.cgroup in path.read_text()]
    return {
        "rules": [line.split(" [")[0] for line in output("iptables-save").splitlines() if line[0] in ":-*"],
        "links": [link["ifname"] for link in json.loads(output("ip", "-json", "link"))],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if str(place.root) in line],
        "sysctls": {n: p.read_text().strip() for n in SYSCTLS if (p := Path("/proc/sys") / n).exists()},
        "folders": [folder for folder in FOLDERS if Path(folder).exists()] + noted,
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{place.cgroup}")],
        "processes": [who.pid for who in processes.running_from(place.root)],
        "containers": [who.pid for who in processes.in_cgroup(place.cgroup)],
        "etc": [
            path
            for path in ("/etc/docker", "/etc/cni", "/var/lib/docker", "/var/lib/containerd")
            if Path(path).exists()
        ],
    }


def empty_image(found: engine.Engine, folder: Path) -> None:
    """An image with one program of a hundred bytes: nothing is pulled here."""
    folder.mkdir()
    (folder / "probe").write_bytes(features.tiny_program(os.uname().machine))
    (folder / "probe").chmod(0o755)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY probe /probe\nCMD ["/probe"]\n')
    found.docker("buildx", "build", "--load", "--provenance=false", "--tag", "esb-cycle", folder)


def serve(found: engine.Engine, place: engine.Place) -> str:
    """A container with a folder of the host, the host's Python and a published port: what it answers."""
    given = place.root.parent / "given"
    given.mkdir()
    (given / "page").write_text("from the host")
    os.mkfifo(given / "ready")
    system = [f"{top}:{top}:ro" for top in ("/usr", "/lib", "/lib64", "/bin") if Path(top).exists()]
    volumes = [word for volume in (*system, f"{given}:/given") for word in ("--volume", volume)]
    # fmt: off
    found.docker("run", "--detach", "--name", "server", "--publish", "127.0.0.1:18980:80", *volumes,
                 "esb-cycle", "/usr/bin/python3", "-c", SERVER)
    (given / "ready").read_text()
    nested = ("mkdir /volume/a /volume/b && mount --bind /volume/a /volume/b && "
              "mount -t tmpfs inner /volume/a && touch /volume/a/x && echo nested mounts work")
    said = found.docker("run", "--rm", "--privileged", "--volume", "state:/volume", *volumes,
                        "esb-cycle", "/bin/sh", "-c", nested).stdout
    # fmt: on
    return f"{page()}; {said.strip()}"


def page() -> str:
    """The published port's answer."""
    with urllib.request.urlopen("http://127.0.0.1:18980/", timeout=10) as answer:
        body: bytes = answer.read()
        return body.decode()


def compose(found: engine.Engine, place: engine.Place) -> str:
    file = place.root.parent / "compose.yaml"
    file.write_text(
        "name: cycle\nservices: {one: {image: esb-cycle, networks: [inner]}}\nnetworks: {inner: {}}\n"
    )
    found.docker("compose", "--file", file, "up", "--detach")
    return found.docker(
        "network", "ls", "--filter", "name=cycle_inner", "--format", "{{.Driver}}"
    ).stdout.strip()


def kill(place: engine.Place) -> None:
    """End dockerd and containerd without warning, as a crash would; shims and containers live on."""
    for name in ("usr/sbin/dockerd", "usr/bin/containerd"):
        for who in processes.running_from(place.prefix / name):
            os.kill(who.pid, signal.SIGKILL)


def life(place: engine.Place) -> dict[str, Any]:
    voice = Recorded()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    seen: dict[str, Any] = {"before": traces(place)}
    began = time.monotonic()
    with ThreadPoolExecutor() as two:
        found, _ = two.map(lambda _: engine.ensure(place, voice), range(2))
    seen["start_s"] = time.monotonic() - began
    seen["starts"] = voice.said.count("start the container engine")
    seen["status"] = asdict(engine.status(place))
    empty_image(found, place.root.parent / "image")
    seen["served"] = serve(found, place)
    seen["network"] = compose(found, place)
    seen["during"] = traces(place)
    first = daemon.running(place)
    engine.ensure(place, voice)
    seen["reused"] = daemon.running(place) == first
    kill(place)
    began = time.monotonic()
    engine.ensure(place, voice)
    seen["recovery_s"] = time.monotonic() - began
    seen["images after a crash"] = found.docker("image", "ls", "--quiet", "esb-cycle").stdout.split()
    kill(place)
    seen["stopped"] = engine.stop(place, voice)
    seen["after a killed engine"] = traces(place)
    seen["data stays"] = place.data.exists()
    engine.ensure(place, voice)
    engine.stop(place, voice, purge=True)
    seen["after"] = traces(place)
    seen["root"] = place.root.exists()
    seen["again"] = engine.stop(place, voice)
    return seen


if __name__ == "__main__":
    environ = {"PATH": os.environ["PATH"], "HOME": sys.argv[2]}
    print(json.dumps(life(engine.Place(Path(sys.argv[1]), Path(sys.argv[2]), environ))))
