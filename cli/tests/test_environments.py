"""Environments by their stamps, with a fake uv in the checkout's own place for it."""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path

import pytest
from esb_builder.voice import Recorded
from esb_cli.environments import Environments
from esb_common.errors import Broken

FAKE_UV = """\
#!/bin/sh
echo "$*" >> "{log}"
for last; do :; done
case "$*" in
venv*) mkdir -p "$last/bin" ;;
*--target*) while [ "$1" != --target ]; do shift; done; mkdir -p "$2" ;;
esac
[ ! -e "{log}.fail" ]
"""


class Checkout:
    """A checkout with locks and a fake uv."""

    def __init__(self, root: Path) -> None:
        self.root, self.voice, self.log = root, Recorded(), root / "uv.log"
        for service in ("gateway", "runtime-node", "worker"):
            (root / "services" / service / "src").mkdir(parents=True)
            (root / "services" / service / "requirements.lock").write_text(f"{service}==1\n")
        (root / "services/worker/src/bootstrap.py").write_text("BOOT = 1\n")
        uv = root / ".esb/uv/bin/uv"
        uv.parent.mkdir(parents=True)
        uv.write_text(FAKE_UV.format(log=self.log))
        uv.chmod(0o755)
        (uv.parent / "python").symlink_to("/bin/false")

    @property
    def environments(self) -> Environments:
        return Environments(
            self.root, {"PATH": "/usr/bin:/bin", "ESB_HOME": str(self.root / "home")}, self.voice
        )

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout")


def test_an_environment_is_made_once(checkout: Checkout) -> None:
    place = checkout.environments.environment("gateway")
    calls = len(checkout.calls())
    assert checkout.environments.environment("gateway") == place
    assert len(checkout.calls()) == calls == 2
    assert "--require-hashes" in checkout.calls()[1]
    assert checkout.voice.said == ["make the environment gateway"]


def test_another_lock_makes_it_anew_and_drops_the_old(checkout: Checkout) -> None:
    place = checkout.environments.environment("gateway")
    (place / "old").touch()
    (checkout.root / "services/gateway/requirements.lock").write_text("gateway==2\n")
    assert not (checkout.environments.environment("gateway") / "old").exists()
    assert sorted(entry.name for entry in (checkout.root / ".esb").iterdir()) == [
        "gateway",
        "gateway.lock",
        "uv",
    ]


def test_a_failed_build_leaves_the_old_one_in_place(checkout: Checkout) -> None:
    place = checkout.environments.environment("node")
    (checkout.root / "services/runtime-node/requirements.lock").write_text("node==2\n")
    Path(f"{checkout.log}.fail").touch()
    with pytest.raises(Broken):
        checkout.environments.environment("node")
    assert (place / "stamp").exists()
    Path(f"{checkout.log}.fail").unlink()
    checkout.environments.environment("node")


def test_what_a_broken_off_run_left_is_taken_over(checkout: Checkout) -> None:
    for leftover in ("gateway.new", "gateway.old"):
        (checkout.root / ".esb" / leftover / "half").mkdir(parents=True)
    place = checkout.environments.environment("gateway")
    assert (place / "stamp").exists()
    assert not (place / "half").exists()


def test_two_at_once_build_it_once(checkout: Checkout) -> None:
    threads = [threading.Thread(target=lambda: checkout.environments.environment("node")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(checkout.calls()) == 2


def test_the_runtime_holds_our_bootstrap_compiled_and_follows_it(checkout: Checkout) -> None:
    place = checkout.environments.runtime()
    assert (place / "bootstrap.py").read_text() == "BOOT = 1\n"
    assert list((place / "__pycache__").glob("bootstrap.*.pyc"))
    (checkout.root / "services/worker/src/bootstrap.py").write_text("BOOT = 2\n")
    assert (checkout.environments.runtime() / "bootstrap.py").read_text() == "BOOT = 2\n"


def test_uv_trusts_the_system_and_keeps_its_cache_with_us(checkout: Checkout) -> None:
    environ = checkout.environments.uv_environ()
    assert environ["UV_SYSTEM_CERTS"] == "1"
    assert environ["UV_CACHE_DIR"] == str(checkout.root / "home/cache/uv")
    assert "UV_DEFAULT_INDEX" not in environ


def test_a_persons_own_index_and_pips_are_respected(checkout: Checkout) -> None:
    base = {"PATH": "/usr/bin:/bin", "ESB_HOME": str(checkout.root / "home")}
    theirs = Environments(
        checkout.root, base | {"UV_DEFAULT_INDEX": "https://index.example/simple"}, checkout.voice
    )
    assert theirs.uv_environ()["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    (checkout.root / ".esb/uv/bin/python").unlink()
    (checkout.root / ".esb/uv/bin/python").symlink_to(sys.executable)
    of_pip = Environments(
        checkout.root, base | {"PIP_INDEX_URL": "https://pip.example/simple"}, checkout.voice
    )
    assert of_pip.uv_environ()["UV_DEFAULT_INDEX"] == "https://pip.example/simple"


def test_wheels_that_a_bundle_brought_for_this_lock_are_taken_without_the_index(checkout: Checkout) -> None:
    offline = checkout.root / "home/offline"
    offline.mkdir(parents=True)
    lock = checkout.root / "services/gateway/requirements.lock"
    (offline / "locks").write_text(f"{hashlib.sha256(lock.read_bytes()).hexdigest()}\n")
    checkout.environments.environment("gateway")
    checkout.environments.environment("node")
    gateway, node = (call for call in checkout.calls() if call.startswith("pip sync"))
    assert f"--offline --no-index --find-links {offline}/wheels" in gateway
    assert "--no-index" not in node
