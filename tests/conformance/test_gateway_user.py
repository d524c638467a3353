"""S21: the gateway is not root, reads a private key of its own user, and says clearly when it cannot."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import write_credentials
from conformance.conftest import ROOT, Workbench
from esb_builder import run
from esb_common import settings

pytestmark = [pytest.mark.engine, pytest.mark.root]

GATEWAY = "esb-gateway:latest"
PLACE = "/home/esb/.esb/certs"
WAIT_S = 20.0


@pytest.fixture
def certificates(bench: Workbench, tmp_path: Path) -> Path:
    """A copy of the box's certificates, the key for the gateway's user alone."""
    place = tmp_path / "certs"
    place.mkdir(mode=0o755)
    for path in (bench.folders.root, bench.folders.certificate, bench.folders.key):
        shutil.copy2(path, place)
    own(place, *settings.gateway_user(bench.shop.environ, os.getuid(), os.getgid()))
    return place


def own(place: Path, uid: int, gid: int) -> None:
    os.chown(place / "gateway.key", uid, gid)
    (place / "gateway.key").chmod(0o600)


def start(bench: Workbench, place: Path, *options: str) -> run.Completed:
    """Start the gateway as the image says; it ends at once where something is wrong."""
    mount = f"--volume={place}:{PLACE}:ro"
    return bench.docker("run", "--rm", "--env=ESB_MODE=containerd", mount, *options, GATEWAY)


@pytest.mark.shows("S21", "not root", "esb-gateway")
def test_its_user_is_a_number_and_not_root(bench: Workbench) -> None:
    uid, gid = settings.gateway_user(bench.shop.environ, os.getuid(), os.getgid())
    done = bench.run(GATEWAY, "sh", "-c", "id -u; id -g; cat /proc/self/status")
    assert done.stdout.split()[:2] == [str(uid), str(gid)]
    assert uid != 0


@pytest.fixture
def running(bench: Workbench, certificates: Path, tmp_path: Path) -> Iterator[str]:
    """A gateway with its certificates and credentials; its container."""
    name = f"esb-test-gateway-{os.getpid()}"
    mount = f"--volume={certificates}:{PLACE}:ro"
    known = write_credentials(tmp_path / "credentials")
    os.chown(known / "credentials.json", *settings.gateway_user(bench.shop.environ, os.getuid(), os.getgid()))
    (known / "credentials.json").chmod(0o600)
    mounts = (mount, f"--volume={known}:/home/esb/.esb/credentials:ro")
    environ = ("--env=ESB_MODE=containerd", "--env=ESB_DATA_DIR=/var/lib/esb", "--env=ESB_RUN_DIR=/run/esb")
    bench.engine.docker("run", "--detach", f"--name={name}", *mounts, *environ, GATEWAY)
    yield name
    bench.docker("rm", "--force", "--volumes", name)


@pytest.mark.shows("S12", "service starts", "esb-gateway")
@pytest.mark.shows("S21", "reads its key", "esb-gateway")
def test_it_reads_a_0600_key_of_its_own_user(running: str, bench: Workbench) -> None:
    until = time.monotonic() + WAIT_S
    while '"listening"' not in said(bench, running):
        assert time.monotonic() < until, said(bench, running)
        assert state(bench, running) == "running", said(bench, running)
    shown = bench.docker("exec", running, "sh", "-c", "stat -c %u /proc/1")
    assert int(shown.stdout) == settings.gateway_user(bench.shop.environ, os.getuid(), os.getgid())[0]


def said(bench: Workbench, name: str) -> str:
    done = bench.docker("logs", name)
    return done.stdout + done.stderr


def state(bench: Workbench, name: str) -> str:
    return bench.docker("inspect", "--format={{.State.Status}}", name).stdout.strip()


@pytest.mark.shows("S21", "mismatch explained", "esb-gateway")
def test_a_key_of_another_user_is_a_clear_error_that_names_the_mend(
    bench: Workbench, certificates: Path
) -> None:
    own(certificates, 4242, 4243)
    done = start(bench, certificates)
    assert done.code == 5
    assert "cannot read /home/esb/.esb/certs/gateway.key, which belongs to 4242:4243, mode 600" in done.stderr
    assert "ESB_UID=4242 ESB_GID=4243 ./esb build gateway" in done.stderr


def test_a_closed_folder_is_a_clear_error(bench: Workbench, certificates: Path) -> None:
    certificates.chmod(0o700)
    os.chown(certificates, 4242, 4242)
    done = start(bench, certificates)
    assert done.code == 5
    assert "cannot enter /home/esb/.esb/certs, which belongs to 4242:4242" in done.stderr


def test_a_missing_certificate_says_how_to_make_it(bench: Workbench, certificates: Path) -> None:
    (certificates / "gateway.crt").unlink()
    done = start(bench, certificates)
    assert done.code == 5
    assert "there is no /home/esb/.esb/certs/gateway.crt" in done.stderr
    assert "./esb ca init" in done.stderr


def test_started_as_root_it_refuses(bench: Workbench, certificates: Path) -> None:
    done = start(bench, certificates, "--user=0:0")
    assert done.code == 5
    assert "started as root" in done.stderr


@pytest.mark.parametrize(
    ("uid", "gid"), [("0", "0"), ("0", "10001"), ("10001", "0"), ("esb", "10001"), ("", "1")]
)
@pytest.mark.shows("S21", "root refused", "esb-gateway")
def test_it_cannot_be_built_for_root_or_a_name(
    uid: str, gid: str, bench: Workbench, secrets: list[str]
) -> None:
    words = ["buildx", "build", "--progress=plain", "--file=services/gateway/Dockerfile"]
    words += secrets
    words += [f"--build-arg=ESB_UID={uid}", f"--build-arg=ESB_GID={gid}", "."]
    done = run.run(("docker", *words), environ=bench.engine.environ, cwd=ROOT, check=False)
    assert done.code != 0
    assert "never runs as root" in done.stderr or "are numbers" in done.stderr
