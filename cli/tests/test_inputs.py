"""``esb lock`` and ``esb fetch`` as processes: what they answer, and that only --update moves a pin."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from esb_builder import oci, run
from esb_builder.lock.text import parse

ROOT = Path(__file__).parents[2]
SOURCES = ("cli/src", "builder/src", "services/common/src")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what lock and fetch read of a checkout, with the launcher's uv."""
    here = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("tests", "__pycache__")
    for name in (
        *SOURCES,
        "services/gateway",
        "services/runtime-node",
        "services/worker",
        "services/common/image",
    ):
        shutil.copytree(ROOT / name, here / name, ignore=ignored)
    for path in (ROOT / "services/common").glob("Dockerfile.*"):
        shutil.copy(path, here / "services/common")
    shutil.copy(ROOT / "esb.lock", here)
    (here / ".esb").mkdir()
    (here / ".esb/uv").symlink_to(ROOT / ".esb/uv")
    return here


def esb(checkout: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    trust = {name: os.environ[name] for name in (*run.TRUST, *run.PROXY) if name in os.environ}
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(checkout),
        "ESB_HOME": str(checkout / "home"),
        "PYTHONPATH": os.pathsep.join(str(checkout / source) for source in SOURCES),
    }
    command = [sys.executable, "-P", "-m", "esb_cli", *arguments, "--json"]
    return subprocess.run(command, env=environ | trust | more, capture_output=True, text=True, check=False)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_whole_lock_is_left_as_it_is(checkout: Path) -> None:
    done = esb(checkout, "lock")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["wrote"], answer["moved"], answer["stale"]) == (0, False, [], [])
    assert (checkout / "esb.lock").read_bytes() == (ROOT / "esb.lock").read_bytes()


def test_a_changed_requirements_file_is_told_by_check_lock_and_fetch(checkout: Path) -> None:
    with (checkout / "services/gateway/requirements.lock").open("a") as file:
        file.write("# changed\n")
    for arguments in (("lock", "--check", "--offline"), ("lock",)):
        done = esb(checkout, *arguments)
        assert done.returncode == 5
        assert "requirements.lock has changed" in json.loads(done.stdout)["stale"][0]
    done = esb(checkout, "fetch")
    assert done.returncode == 5
    assert "does not fit this checkout" in done.stderr
    assert (checkout / "esb.lock").read_bytes() == (ROOT / "esb.lock").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lock", "openssl"), "a NAME is what --update moves"),
        (("lock", "--check", "--update"), "exclude each other"),
        (("lock", "--offline"), "goes with --check"),
        (("lock", "--source", "registry", "--update", "tzdata"), "the lock is for debian"),
        (("fetch", "--jobs", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_meant_is_misuse(checkout: Path, arguments: tuple[str, ...], said: str) -> None:
    done = esb(checkout, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_damaged_lock_is_refused_with_its_place(checkout: Path) -> None:
    change(checkout / "esb.lock", 'suite = "bookworm"', 'suite = "book worm"')
    for command in ("lock", "fetch"):
        done = esb(checkout, command)
        assert done.returncode == 5
        assert "suite is 'book worm'" in done.stderr


def test_without_a_lock_the_way_on_is_named(checkout: Path) -> None:
    (checkout / "esb.lock").unlink()
    for arguments in (("fetch",), ("lock", "--check")):
        done = esb(checkout, *arguments)
        assert done.returncode == 5
        assert "./esb lock" in done.stderr


def test_a_registry_needs_its_address(checkout: Path) -> None:
    done = esb(checkout, "lock", "--source", "registry", "--update")
    assert done.returncode == 3
    assert "ESB_MIRRORS=registry=" in done.stderr


@pytest.mark.network
def test_the_committed_lock_is_fetched_whole_and_then_nothing_is(checkout: Path) -> None:
    done = esb(checkout, "fetch")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert first["files"] > 100
    again = json.loads(esb(checkout, "fetch").stdout)
    assert again["files"] == 0
    assert again["present"] > 100


@pytest.mark.network
def test_check_and_update_ask_the_world(checkout: Path) -> None:
    change(checkout / "esb.lock", 'netbase = { version = "', 'netbase = { version = "0.')
    done = esb(checkout, "lock", "--check")
    assert done.returncode == 5
    assert any("os-base netbase: 0." in move["text"] for move in json.loads(done.stdout)["moved"])
    moved = esb(checkout, "lock", "--update", "netbase")
    assert moved.returncode == 0, moved.stderr
    assert [move["where"] for move in json.loads(moved.stdout)["moved"]] == [["debian", "os-base", "netbase"]]


@pytest.mark.network
def test_a_lock_on_public_images_takes_bases_from_the_registry_and_packages_from_debian(
    checkout: Path, tmp_path: Path
) -> None:
    """The registry is an OCI layout; its Debian image has one package, so apt adds all others."""
    status = tmp_path / "status"
    status.write_text(
        "Package: debianutils\nVersion: 5.7\nArchitecture: amd64\nStatus: install ok installed\n"
    )
    layer, layout = tmp_path / "layer.tar", tmp_path / "layout"
    with layer.open("wb") as out:
        oci.write_layer(out, [oci.Entry("var/lib/dpkg/status", content=status)])
    digest = oci.write_image(layout, [layer])
    for name in ("os-base", "python-base"):
        path = checkout / f"services/common/Dockerfile.{name}"
        path.write_text(re.sub(r"@sha256:[0-9a-f]{64}", f"@{digest}", path.read_text()))
    done = esb(checkout, "lock", "--source", "registry", "--update", ESB_MIRRORS=f"registry={layout}")
    assert done.returncode == 0, done.stderr
    lock = parse((checkout / "esb.lock").read_text())
    assert (lock.source, lock.python, "base" in lock.steps) == ("registry", None, False)
    assert {stage: image.digest for stage, image in lock.images.items()} == {
        "debian": digest,
        "python": digest,
    }
    assert {"tzdata", "ca-certificates", "libc6"} <= lock.steps["os-base"].packages.keys()
    assert "debianutils" not in lock.steps["os-base"].packages
    assert "libc6" not in lock.steps["python-base"].packages
