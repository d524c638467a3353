"""A bundle brings a bare Debian 12 without network to a running box, and builds the same images there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from bare_debian import BareDebian
from checkouts import copy_checkout
from conformance.conftest import HOME, ROOT, Workbench
from esb_builder import plan

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.network]

ESB = 'cd /opt/esb; esb() { ./esb --json "$@"; }'
COLD = """
eval "$(./esb engine start 2> /dev/null)"
mkdir -p /root/cold/store; cp -r /root/.esb/certs /root/cold; cp -rl /root/.esb/store/sha256 /root/cold/store
export PYTHONPATH=cli/src:builder/src:services/common/src ESB_HOME=/root/cold
.esb/cli/bin/python tests/conformance/cold_build.py /opt/esb
"""


def esb(*words: str | Path) -> dict[str, object]:
    """The command line of this checkout, in the tests' home; its answer."""
    environ = {**os.environ, "ESB_HOME": str(HOME)}
    done = subprocess.run(
        [str(ROOT / "esb"), *map(str, words), "--json"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def plain(bench: Workbench) -> dict[str, str]:
    """The images of a box that is not in Firecracker mode, by name."""
    return {name: bench.ids[name] for name in plan.PLAIN}


@pytest.fixture(scope="module")
def trust() -> str:
    return str(esb("key", "init")["fingerprint"])


@pytest.fixture(scope="module")
def bare(bench: Workbench, trust: str, tmp_path_factory: pytest.TempPathFactory) -> BareDebian:
    """With the checkout, and the bundle on its medium."""
    assert trust
    made = BareDebian.make(tmp_path_factory.mktemp("bare"))
    copy_checkout(made.root / "opt/esb")
    esb("bundle", "create", made.media / "esb.bundle")
    return made


@pytest.fixture(scope="module")
def loaded(bare: BareDebian, trust: str) -> BareDebian:
    done = bare.run(f"{ESB}; esb bundle load /mnt/esb.bundle --trust {trust}")
    assert done.returncode == 0, done.stderr
    return bare


def test_it_is_bare_and_has_no_network(bare: BareDebian) -> None:
    done = bare.run("! command -v python3; ! command -v docker; ls /sys/class/net")
    assert (done.returncode, done.stdout.split()) == (0, ["lo"])


def test_a_bundle_for_another_key_changes_nothing_but_what_runs_the_command(bare: BareDebian) -> None:
    done = bare.run(f"{ESB}; esb bundle load /mnt/esb.bundle --trust {'0' * 64}; ")
    assert done.returncode == 5
    assert "not with the trusted" in done.stderr
    assert not (bare.root / "root/.esb/store").exists()


def test_the_embedded_box_comes_up(loaded: BareDebian) -> None:
    done = loaded.run(f"{ESB}; esb up --embedded; esb invoke packed; esb down > /dev/null")
    assert done.returncode == 0, done.stderr
    assert '"compiled": true' in done.stdout


def test_the_box_in_containers_comes_up_on_the_images_of_the_bundle(
    loaded: BareDebian, bench: Workbench
) -> None:
    script = f"{ESB}; trap './esb engine stop' EXIT; esb up > /dev/null; esb status; esb down > /dev/null"
    done = loaded.run(script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == plain(bench)
    assert '"step": "build ' not in done.stderr


def test_built_again_from_the_store_every_image_has_the_same_id(loaded: BareDebian, bench: Workbench) -> None:
    done = loaded.run(f"{ESB}; trap './esb engine stop' EXIT; {COLD}", timeout_s=1200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == plain(bench)
