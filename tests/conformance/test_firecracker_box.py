"""``ESB_MODE=firecracker ./esb up``: images and tunnel come up, a call names the driver that is missing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import stand_ins
from conformance.conftest import Workbench
from e2e.box import ROOT, UP_S, Box
from esb_builder.verify import firecracker

pytestmark = [pytest.mark.engine, pytest.mark.box]

PROJECT = "esb-test-fc"
MISSING = "StartFailed: ESB has no firecracker driver yet"
WAIT_S = 30.0
CAP_DAC_READ_SEARCH, CAP_NET_ADMIN = 2, 12


@dataclass
class FirecrackerBox(Box):
    """A box of this mode, from stand-ins, with a project of its own."""

    artefacts: Path = Path()

    @property
    def environ(self) -> dict[str, str]:
        return super().environ | {"ESB_ARTEFACTS": str(self.artefacts), "COMPOSE_PROJECT_NAME": PROJECT}


@dataclass
class Came:
    """A box that ``up`` has brought up, and how that ended."""

    box: FirecrackerBox
    up: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def came(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Came]:
    place = tmp_path_factory.mktemp("stand-ins")
    box = FirecrackerBox("firecracker", bench.shop.home, artefacts=stand_ins.write(place))
    try:
        up = subprocess.run(
            [ROOT / "esb", "up"], env=box.environ, capture_output=True, text=True, timeout=UP_S, check=False
        )
        yield Came(box, up)
    finally:
        box.esb("down")
        bench.docker("volume", "rm", *(f"{PROJECT}_fc-{name}" for name in ("data", "node", "run")))


def test_up_brings_it_up_and_says_what_is_missing(came: Came) -> None:
    assert came.up.returncode == 1
    assert MISSING in came.up.stderr
    assert "built from stand-ins" in came.up.stderr
    status = came.box.json("status")
    assert status["mode"] == "firecracker"
    assert {one["state"] for one in status["programs"].values()} == {"running"}
    assert {firecracker.GATEWAY, firecracker.NODE} < status["images"].keys()
    assert "no function can run" in came.box.esb("status")


def test_a_call_is_answered_by_an_error_that_names_the_driver(came: Came) -> None:
    client = came.box.client()
    with pytest.raises(client.exceptions.ServiceException) as caught:
        client.invoke(FunctionName="hello", Payload=b"{}")
    assert MISSING in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


def test_gateway_and_node_have_shaken_hands(came: Came, bench: Workbench) -> None:
    for service in ("gateway", "runtime-node"):
        assert handshake(bench, service) > 0


def test_a_restarted_gateway_is_found_again(came: Came, bench: Workbench) -> None:
    """By its own first call, whatever address it has now."""
    assert bench.docker("restart", container("gateway")).code == 0
    assert handshake(bench, "gateway") > 0


def test_the_gateway_is_root_with_two_powers_and_sees_only_its_own_key(came: Came, bench: Workbench) -> None:
    shown = bench.docker("exec", container("gateway"), "cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in shown.splitlines() if ":\t" in line)
    assert set(fields["Uid"].split()) == {"0"}
    assert int(fields["CapEff"], 16) == 1 << CAP_DAC_READ_SEARCH | 1 << CAP_NET_ADMIN
    seen = bench.docker("exec", container("gateway"), "find", "/etc/esb", "/home/esb", "-name", "private.key")
    assert seen.stdout.split() == ["/etc/esb/tunnel/private.key"]


def container(service: str) -> str:
    return f"{PROJECT}-{service}-1"


def handshake(bench: Workbench, service: str) -> int:
    """When the two sides last agreed on a key, in seconds since 1970; waits for the first time."""
    until = time.monotonic() + WAIT_S
    while True:
        shown = bench.docker("exec", container(service), "wg", "show", "esb0", "latest-handshakes")
        at = int(shown.stdout.split()[1]) if shown.stdout.split() else 0
        if at or time.monotonic() > until:
            return at
