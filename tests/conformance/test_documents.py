"""S16: the command lines of ``docs/images.md`` build the images, with plain docker and with compose.

They run as they stand there, in a copy of the checkout; only tags are replaced, because the engine's own
belong to everybody who uses it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance import checkouts
from conformance.conftest import ROOT, Workbench
from esb_builder import run

pytestmark = [pytest.mark.engine, pytest.mark.network]

PREFIX = f"esb-test-{os.getpid()}-"
BUILT = ("os-base", "python-base", "gateway", "runtime-node")
HASHES = "find {} -type f -exec sha256sum {{}} + | sort -k2"


def script(heading: str) -> str:
    """The commands below a heading of the document."""
    text = (ROOT / "docs/images.md").read_text()
    _, found, section = text.partition(f"\n### {heading}\n")
    assert found, f"docs/images.md has no section {heading}"
    block = re.search(r"```sh\n(.*?)```", section.partition("\n### ")[0], re.DOTALL)
    assert block, f"docs/images.md: {heading} shows no commands"
    return block[1]


@pytest.fixture(scope="module")
def checkout(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy with the launcher's environments of this one; the images it built are gone afterwards."""
    place = checkouts.whole(tmp_path_factory.mktemp("checkout") / "esb")
    (place / ".esb").symlink_to(ROOT / ".esb")
    services = "".join(
        f"  {name}:\n    image: {PREFIX}{name}:latest\n" for name in ("gateway", "runtime-node")
    )
    (place / "tags.yml").write_text(f"services:\n{services}")
    yield place
    bench.docker("image", "rm", *(f"{PREFIX}{name}:latest" for name in BUILT))


def follow(heading: str, place: Path, bench: Workbench) -> None:
    """Run a section's commands."""
    commands = re.sub(r"--tag esb-", f"--tag {PREFIX}", script(heading))
    environ = {
        **bench.shop.environ,
        **bench.engine.environ,
        "COMPOSE_FILE": "docker-compose.yml:docker-compose.containerd.yml:tags.yml",
    }
    for name in ("ESB_CERT_DIR", "ESB_ROOT_CA_SHA256", "ESB_ARTEFACTS"):
        environ.pop(name, None)
    done = run.run(("sh", "-euc", commands), environ=environ, cwd=place, check=False)
    assert done.code == 0, done.stdout + done.stderr


def files(bench: Workbench, image: str, *places: str) -> list[str]:
    """Path and SHA-256 of every file at some places of an image."""
    done = bench.run(image, "sh", "-c", HASHES.format(" ".join(places)), options=("--user=0:0",))
    assert done.code == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.shows("S16", "docker build", "esb-os-base", "esb-python-base", "esb-gateway")
def test_s16_the_documents_docker_build_makes_the_same_files(checkout: Path, bench: Workbench) -> None:
    follow("Plain docker build", checkout, bench)
    for name, places in {
        "os-base": ("/etc/ssl/certs", "/usr/local/share/ca-certificates"),
        "python-base": ("/usr/local",),
        "gateway": ("/app", "/usr/local"),
    }.items():
        assert files(bench, f"{PREFIX}{name}", *places) == files(bench, f"esb-{name}", *places)


@pytest.mark.shows("S16", "compose build", "esb-gateway", "esb-runtime-node")
def test_s16_the_documents_compose_build_makes_the_same_files(checkout: Path, bench: Workbench) -> None:
    follow("docker compose build", checkout, bench)
    for name in ("gateway", "runtime-node"):
        assert files(bench, f"{PREFIX}{name}", "/app") == files(bench, f"esb-{name}", "/app")
