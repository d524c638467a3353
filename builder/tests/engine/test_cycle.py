"""The real engine's life, in a network namespace of its own so that no other engine is disturbed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from esb_builder import engine, run
from esb_builder.engine import packages, tools
from esb_builder.voice import Recorded

SOURCES = [str(Path(module.__file__ or "").parents[1]) for module in (engine, packages)]

pytestmark = [pytest.mark.root, pytest.mark.engine, pytest.mark.network]


@pytest.fixture(scope="module")
def life() -> Iterator[dict[str, Any]]:
    """What ``cycle`` saw. A short folder: a socket's path must fit."""
    tools.require(engine.HOST_TOOLS, os.environ, Recorded())
    folder = Path(tempfile.mkdtemp(prefix="esb-cycle-"))
    try:
        (folder / "root").mkdir()
        packages.install(folder / "root/prefix", run.clean(os.environ), Recorded())
        script = 'ip link set lo up && exec "$0" "$@"'
        command = (
            sys.executable,
            str(Path(__file__).with_name("cycle.py")),
            f"{folder}/root",
            f"{folder}/home",
        )
        environ = run.clean(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
        done = subprocess.run(
            ("unshare", "--net", "--", "sh", "-c", script, *command),
            env=environ,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        yield seen
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_it_runs_in_its_own_prefix(life: dict[str, Any]) -> None:
    status = life["status"]
    assert status["state"] == "ours"
    assert set(status["packages"]) == set(packages.PACKAGES)


def test_two_starts_at_once_start_one_engine(life: dict[str, Any]) -> None:
    assert life["starts"] == 1


def test_containers_see_the_hosts_folders_and_answer_on_published_ports(life: dict[str, Any]) -> None:
    assert life["served"] == "from the host; nested mounts work"


def test_compose_makes_a_network(life: dict[str, Any]) -> None:
    assert life["network"] == "bridge"
    assert len([link for link in life["during"]["links"] if link.startswith("br-")]) == 1


def test_a_running_engine_is_reused(life: dict[str, Any]) -> None:
    assert life["reused"]


def test_its_mounts_never_show_on_the_host(life: dict[str, Any]) -> None:
    assert life["during"]["mounts"] == []


def test_a_crashed_engine_comes_up_with_its_images(life: dict[str, Any]) -> None:
    assert len(life["images after a crash"]) == 1
    assert life["recovery_s"] < 3 * life["start_s"], "containerd waits for shims that are gone"


def test_a_killed_engine_is_cleaned_up_and_its_data_stays(life: dict[str, Any]) -> None:
    assert life["stopped"]
    assert life["after a killed engine"] == life["before"]
    assert life["data stays"]


def test_a_stopped_engine_leaves_nothing(life: dict[str, Any]) -> None:
    assert life["during"]["rules"] != life["before"]["rules"]
    assert life["after"] == life["before"]
    assert not life["root"]
    assert not life["again"]
