"""A root CA is rotated on a machine with engine, images and a running box; broken off, killed, rolled back.

The machine is a network namespace with a home, a checkout and an engine of its own, and no way out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkouts import copy_checkout, lend_store
from conformance.conftest import ROOT, Workbench

pytestmark = [pytest.mark.engine, pytest.mark.root]

ENVIRONMENTS = ("uv", "cli", "gateway", "node", "runtime", "example-packed")
UNTIL_IT_SWITCHES = """
until grep -qs '"target": "ca' "$ESB_HOME/ca/rotation.json"; do
    kill -0 $rotation || exit 1; sleep 0.02
done
"""
CALL_ALL_THE_TIME = """
(until [ -e "$ESB_HOME/done" ]; do
    if ./esb invoke hello > /dev/null 2>&1; then echo 0; else echo $?; fi
done) > "$ESB_HOME/codes" & calls=$!
"""


@dataclass(frozen=True)
class Elsewhere:
    """A network namespace that lives as long as ``keeper``."""

    place: Path
    keeper: int

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in its checkout; ``esb`` is the command line, speaking JSON."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.place),
            "ESB_HOME": str(self.place / "home"),
            "ESB_ENGINE_ROOT": str(self.place / "engine"),
            "ESB_PORT": "18643",
        }
        there = f'cd "{self.place}/checkout"; esb() {{ ./esb --json "$@"; }}; {script}'
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.keeper}/ns/net", "sh", "-euc", there],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def esb(self, *words: str) -> dict[str, object]:
        """One command that must succeed; its answer."""
        done = self.run(f"esb {' '.join(words)}")
        assert done.returncode == 0, done.stderr
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    def fingerprint(self) -> object:
        return self.esb("ca", "show")["fingerprint"]

    def unchanged(self) -> bool:
        """Whether a build has nothing to do."""
        images = self.esb("build", "gateway")["images"]
        assert isinstance(images, dict)
        return not any(one["built"] for one in images.values())


@pytest.fixture(scope="module")
def elsewhere(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    if bench.engine.prefix is None:
        pytest.skip("a second engine needs the packages of ours")
    place = tmp_path_factory.mktemp("elsewhere")
    copy_checkout(place / "checkout")
    (place / "checkout/.esb").mkdir()
    for name in ENVIRONMENTS:
        if (made := ROOT / ".esb" / name).exists():
            shutil.copytree(made, place / "checkout/.esb" / name, symlinks=True, copy_function=os.link)
    lend_store(bench.shop.store, place / "home/store")
    (place / "engine").mkdir()
    shutil.copytree(bench.engine.prefix, place / "engine/prefix", symlinks=True)
    keeper = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == b"up\n"
    made_elsewhere = Elsewhere(place, keeper.pid)
    try:
        made_elsewhere.esb("ca", "init")
        made_elsewhere.esb("build", "gateway")
        made_elsewhere.esb("up", "--embedded")
        yield made_elsewhere
    finally:
        made_elsewhere.run("esb down; esb engine stop")
        keeper.terminate()
        keeper.wait()


def test_no_image_keeps_the_old_root_and_one_layer_changes(elsewhere: Elsewhere) -> None:
    old = elsewhere.fingerprint()
    done = elsewhere.run(f'{CALL_ALL_THE_TIME} esb ca rotate; touch "$ESB_HOME/done"; wait $calls')
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["old"] == old
    assert told["keep_the_old"] == []
    assert told["changed_layers"] == ["esb-os-base trust"]
    assert elsewhere.fingerprint() == told["new"] != old
    assert elsewhere.unchanged()
    codes = (elsewhere.place / "home/codes").read_text().split()
    assert set(codes) <= {"0", "4"}, "a call is answered, or told that the box does not answer"
    assert elsewhere.esb("invoke", "hello")["function_error"] is None


def test_the_way_back_and_forward_again_builds_nothing(elsewhere: Elsewhere) -> None:
    there = elsewhere.fingerprint()
    before = elsewhere.esb("ca", "rollback")
    assert before["old"] == there
    assert before["keep_the_old"] == []
    assert elsewhere.unchanged()
    assert elsewhere.esb("ca", "rollback")["new"] == there
    assert elsewhere.unchanged()


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_broken_off_in_the_middle_of_the_switch_it_is_old_or_new(elsewhere: Elsewhere, signal: str) -> None:
    old = elsewhere.fingerprint()
    script = f"./esb ca rotate > /dev/null & rotation=$!; {UNTIL_IT_SWITCHES} kill -{signal} $rotation"
    done = elsewhere.run(f"{script}; wait $rotation || true")
    assert done.returncode == 0, done.stderr
    now = elsewhere.fingerprint()
    assert (now == old) == (signal == "TERM"), "a killed switch is finished, a stopped one is undone"
    assert elsewhere.unchanged()
    assert elsewhere.esb("invoke", "hello")["function_error"] is None
