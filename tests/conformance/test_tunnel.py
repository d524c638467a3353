"""S22: gateway and node of the Firecracker mode reach one another through a tunnel, or say why they cannot.

Two containers without a network, a cable (veth) between them that only carries the tunnel, and in each the
entrypoint's own program with keys that ``esb up`` would make.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conformance.conftest import ROOT, Workbench
from esb_builder import run, tunnel
from esb_builder.verify import compose, firecracker

pytestmark = [pytest.mark.engine, pytest.mark.root]

IMAGES = {tunnel.GATEWAY: firecracker.GATEWAY, tunnel.NODE: firecracker.NODE}
CABLE = {tunnel.GATEWAY: "198.18.41.1", tunnel.NODE: "198.18.41.2"}
POWERS = ("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--security-opt=no-new-privileges:true")
TUN = "--device=/dev/net/tun"
WAIT_S = 30.0
NUMBERS = itertools.count()

SERVE = """
import socket
with socket.create_server(("{address}", 7000)) as listener:
    while True:
        peer = listener.accept()[0]
        while content := peer.recv(65536):
            peer.sendall(content)
"""
ASK = """
import socket, sys, time
until = time.monotonic() + 20
while True:
    try:
        peer = socket.create_connection(("{address}", 7000), timeout=2)
        break
    except OSError as error:
        if time.monotonic() > until:
            sys.exit(str(error))
sent, got = b"x" * 1000000, 0
peer.sendall(sent[:60000])
while got < 60000:
    got += len(peer.recv(65536))
print(got)
"""

END_USER_SPACE = """
for task in /proc/[0-9]*; do
    read -r name <$task/comm
    [ "$name" != wireguard-go ] || kill -9 ${task#/proc/}
done
"""


@dataclass(frozen=True)
class End:
    """One side: its container, and how to run something in it."""

    bench: Workbench
    side: tunnel.Side
    container: str

    def run(self, *args: str, detach: bool = False) -> run.Completed:
        return self.bench.docker("exec", *(["--detach"] if detach else []), self.container, *args)

    @property
    def process(self) -> str:
        return self.bench.docker("inspect", "--format={{.State.Pid}}", self.container).stdout.strip()

    @property
    def said(self) -> str:
        done = self.bench.docker("logs", self.container)
        return done.stdout + done.stderr

    @property
    def running(self) -> bool:
        shown = self.bench.docker("inspect", "--format={{.State.Running}}", self.container)
        return shown.stdout.strip() == "true"

    def wait(self, ready: Callable[[End], bool]) -> None:
        until = time.monotonic() + WAIT_S
        while not ready(self):
            assert time.monotonic() < until, self.said


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return made_keys(tmp_path)


def made_keys(place: Path) -> Path:
    """What ``esb up`` makes, for sides that know one another by their address on the cable."""
    for side, other in ((tunnel.GATEWAY, tunnel.NODE), (tunnel.NODE, tunnel.GATEWAY)):
        (place / side.name).mkdir()
        (place / side.name / "peer").write_text(f"{CABLE[other]}:{tunnel.PORT}\n")
    tunnel.init(place)
    return place


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_keys(tmp_path_factory.mktemp("tunnel"))


@pytest.fixture(scope="module")
def ends(bench: Workbench, known: Path) -> Iterator[tuple[End, End]]:
    """Both sides, up, with a cable between their network namespaces."""
    with (
        begun(bench, tunnel.GATEWAY, known, "listen") as gateway,
        begun(bench, tunnel.NODE, known, "call") as node,
    ):
        lay_cable(gateway, node)
        yield gateway, node


@contextmanager
def begun(bench: Workbench, side: tunnel.Side, keys: Path, role: str) -> Iterator[End]:
    end = End(bench, side, f"esb-test-{side.name}-{os.getpid()}-{next(NUMBERS)}")
    try:
        begin(end, keys / side.name, role)
        yield end
    finally:
        bench.docker("rm", "--force", "--volumes", end.container)


def begin(end: End, keys: Path, role: str) -> None:
    """Start a side, with a command that ends when it is told to."""
    mounts = (f"--volume={keys}:/etc/esb/tunnel:ro", "--tmpfs=/run/wireguard")
    words = ("--detach", f"--name={end.container}", "--network=none", "--read-only", *POWERS, TUN, *mounts)
    image = IMAGES[end.side]
    command = ("sh", "-c", "trap exit TERM; sleep 300 & wait")
    done = end.bench.docker("run", *words, "--entrypoint=esb-tunnel", image, role, *command)
    assert done.code == 0, done.stderr
    end.wait(lambda one: "is up with" in one.said or not one.running)
    assert end.running, end.said


def lay_cable(*ends: End) -> None:
    one, other = (("netns", end.process) for end in ends)
    link = ("ip", "link", "add", "cable", *one, "type", "veth", "peer", "name", "cable", *other)
    subprocess.run(link, check=True, capture_output=True)
    for end in ends:
        assert end.run("ip", "address", "add", f"{CABLE[end.side]}/30", "dev", "cable").code == 0
        assert end.run("ip", "link", "set", "cable", "up").code == 0


def moved(end: End) -> int:
    """Bytes that the tunnel has carried to this side."""
    return int(end.run("wg", "show", "esb0", "transfer").stdout.split()[1])


@pytest.mark.shows("S22", "tunnel", "esb-gateway:firecracker", "esb-runtime-node:firecracker")
def test_the_gateways_image_reaches_the_nodes_through_the_tunnel(ends: tuple[End, End]) -> None:
    gateway, node = ends
    node.run("python", "-c", SERVE.format(address=tunnel.NODE.address), detach=True)
    asked = gateway.run("python", "-c", ASK.format(address=tunnel.NODE.address))
    assert (asked.code, asked.stdout) == (0, "60000\n"), asked.stderr
    assert moved(gateway) > 60000
    assert moved(node) > 60000


def test_each_says_who_made_its_end(ends: tuple[End, End]) -> None:
    """Which of the two it is depends on the machine's kernel; that it is told does not."""
    for end in ends:
        (line,) = [line for line in end.said.splitlines() if "is up with" in line]
        assert re.search(
            r"made by (the kernel's WireGuard|wireguard-go, since this kernel has no WireGuard)", line
        )
        assert end.side.address in line


def test_no_key_is_in_an_argument_the_environment_or_the_log(ends: tuple[End, End], known: Path) -> None:
    secrets = [(known / side.name / "private.key").read_text().strip() for side in IMAGES]
    for end in ends:
        shown = end.bench.docker("inspect", end.container).stdout
        tasks = end.run("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ").stdout
        assert not [secret for secret in secrets if secret in shown + tasks + end.said]


def test_without_its_tunnel_a_side_ends(bench: Workbench, keys: Path) -> None:
    with begun(bench, tunnel.NODE, keys, "call") as node:
        if "the kernel's WireGuard" in node.said:
            pytest.skip("the kernel's own WireGuard has no process that could end")
        node.run("sh", "-c", END_USER_SPACE)
        node.wait(lambda one: not one.running)
        assert "wireguard-go has ended" in node.said


def keyless(folder: Path) -> None:
    (folder / "private.key").unlink()


def peerless(folder: Path) -> None:
    (folder / "peer").unlink()


def opened(folder: Path) -> None:
    (folder / "private.key").chmod(0o644)


def garbled(folder: Path) -> None:
    (folder / "private.key").write_text("bm90IGEga2V5IGF0IGFsbA==\n")


def unknown_peer(folder: Path) -> None:
    (folder / "peer").write_text("nobody.invalid:51820\n")


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("role", "options", "spoil", "code", "said"),
    [
        ("listen", (TUN, "--cap-drop=ALL"), nothing, 3, "NET_ADMIN"),
        ("listen", (*POWERS, TUN), keyless, 5, "there is no /etc/esb/tunnel/private.key"),
        ("listen", (*POWERS, TUN), peerless, 5, "there is no /etc/esb/tunnel/peer"),
        ("listen", (*POWERS, TUN), opened, 5, "open to others (mode 644)"),
        ("listen", (*POWERS, TUN), garbled, 5, "private.key is not a WireGuard key"),
        (
            "call",
            (*POWERS, TUN),
            unknown_peer,
            3,
            "the other side of the tunnel is not known: nobody.invalid",
        ),
    ],
)
def test_where_the_tunnel_cannot_be_it_says_why_and_nothing_starts(
    bench: Workbench,
    keys: Path,
    role: str,
    options: tuple[str, ...],
    spoil: Callable[[Path], None],
    code: int,
    said: str,
) -> None:
    spoil(keys / "gateway")
    mount = f"--volume={keys / 'gateway'}:/etc/esb/tunnel:ro"
    words = ("--rm", "--network=none", *options, mount, "--entrypoint=esb-tunnel", firecracker.GATEWAY)
    done = bench.docker("run", *words, role, "echo", "started")
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert "bm90" not in done.stderr


def test_without_the_device_only_a_kernel_with_wireguard_makes_a_tunnel(bench: Workbench, keys: Path) -> None:
    mount = f"--volume={keys / 'gateway'}:/etc/esb/tunnel:ro"
    words = ("--rm", "--network=none", *POWERS, mount, "--entrypoint=esb-tunnel", firecracker.GATEWAY)
    done = bench.docker("run", *words, "listen", "echo", "started")
    if done.code == 0:
        assert "made by the kernel's WireGuard" in done.stderr
    else:
        assert (done.code, done.stdout) == (3, "")
        assert "/dev/net/tun, which is not here" in done.stderr
        assert "devices: [/dev/net/tun]" in done.stderr


def test_the_listening_side_waits_for_a_peer_that_it_does_not_know_yet(bench: Workbench, keys: Path) -> None:
    unknown_peer(keys / "gateway")
    mount = f"--volume={keys / 'gateway'}:/etc/esb/tunnel:ro"
    words = ("--rm", "--network=none", *POWERS, TUN, mount, "--entrypoint=esb-tunnel", firecracker.GATEWAY)
    done = bench.docker("run", *words, "listen", "echo", "started")
    assert (done.code, done.stdout) == (0, "started\n"), done.stderr
    assert "not known yet" in done.stderr


def test_the_gateway_refuses_another_user_and_missing_certificates(bench: Workbench) -> None:
    done = bench.docker("run", "--rm", "--network=none", "--user=10001:10001", firecracker.GATEWAY)
    assert done.code == 5
    assert "started as user 10001, and making a tunnel takes root" in done.stderr
    done = bench.docker("run", "--rm", "--network=none", firecracker.GATEWAY)
    assert done.code == 5
    assert "there is no /home/esb/.esb/certs/rootCA.crt" in done.stderr


@pytest.mark.shows("S22", "compose says root", "esb-gateway:firecracker")
def test_compose_renders_a_gateway_that_is_root_with_the_device_and_nothing_more(
    bench: Workbench, keys: Path
) -> None:
    environ = {
        **bench.engine.environ,
        "COMPOSE_DISABLE_ENV_FILE": "1",
        "ESB_CERT_DIR": str(bench.folders.certificates),
        "ESB_CREDENTIALS_DIR": str(bench.folders.certificates.with_name("credentials")),
        "ESB_TUNNEL_DIR": str(keys),
    }
    files = [f"--file={ROOT / name}" for name in ("docker-compose.yml", "docker-compose.fc.yml")]
    rendered = run.run(("docker", "compose", *files, "config", "--format=json"), environ=environ)
    assert list(compose.root_gateway(json.loads(rendered.stdout))) == []
