"""S19: the node's image takes Firecracker's pinned files, stand-ins that are declared, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import stand_ins
from conformance.conftest import ROOT, Workbench
from esb_builder import artefacts, run
from esb_builder.verify import firecracker

pytestmark = pytest.mark.engine

DOCKERFILE = "services/runtime-node/Dockerfile.firecracker"
INSTALL = ROOT / "services/runtime-node/artefacts.sh"


def install(bench: Workbench, given: Path, kind: str, pins: Path | None = None) -> run.Completed:
    """What the Dockerfile's step does with a folder, in a throw-away container; then what it left."""
    mounts = (
        f"--volume={given}:/run/artefacts:ro",
        f"--volume={pins or ROOT / artefacts.PINS}:/run/artefacts.sha256:ro",
        f"--volume={INSTALL}:/run/artefacts.sh:ro",
        "--network=none",
    )
    script = (
        f"sh /run/artefacts.sh {kind} && cat /{firecracker.TAKEN} && stat -c '%a %n' /usr/local/bin/[fj]*"
    )
    return bench.run("esb-python-base:latest", "sh", "-c", script, options=mounts)


def test_a_build_without_the_files_stops_and_names_both_ways_to_them(
    bench: Workbench, secrets: list[str]
) -> None:
    words = ["buildx", "build", "--progress=plain", "--provenance=false", f"--file={DOCKERFILE}"]
    done = run.run(("docker", *words, *secrets, "."), environ=bench.engine.environ, cwd=ROOT, check=False)
    assert done.code != 0
    assert "Firecracker's artefacts: none were given" in done.stderr
    assert "'./esb fetch'" in done.stderr
    assert "'./esb build --artefacts DIR'" in done.stderr


def test_the_pinned_files_are_installed_as_what_they_are(bench: Workbench, tmp_path: Path) -> None:
    """With the pins of these files, as if Firecracker's project had published them."""
    given = stand_ins.write(tmp_path / "given", listed=False)
    pins = tmp_path / "artefacts.sha256"
    pins.write_text(stand_ins.sums(given))
    done = install(bench, given, "pinned", pins)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[0] == "pinned"
    assert done.stdout.splitlines()[-2:] == ["755 /usr/local/bin/firecracker", "755 /usr/local/bin/jailer"]


def test_stand_ins_are_installed_and_written_down(bench: Workbench, tmp_path: Path) -> None:
    given = stand_ins.write(tmp_path / "given")
    done = install(bench, given, "stand-ins")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("stand-ins\n")
    assert all(line in done.stdout for line in (given / artefacts.STAND_INS).read_text().splitlines())


@pytest.mark.parametrize("kind", ["pinned", "other", ""])
def test_stand_ins_never_pass_for_anything_else(kind: str, bench: Workbench, tmp_path: Path) -> None:
    done = install(bench, stand_ins.write(tmp_path / "given"), f"'{kind}'")
    assert done.code == 1
    assert "755 " not in done.stdout, "something was installed"
    wanted = "a file is not the one that artefacts.sha256 names" if kind == "pinned" else "neither pinned nor"
    assert wanted in done.stderr


def test_undeclared_and_damaged_stand_ins_are_refused(bench: Workbench, tmp_path: Path) -> None:
    undeclared = install(bench, stand_ins.write(tmp_path / "bare", listed=False), "stand-ins")
    assert undeclared.code == 1
    assert "stand-ins.sha256 is not in the folder" in undeclared.stderr
    given = stand_ins.write(tmp_path / "given")
    next(given.glob("vmlinux-*")).write_bytes(b"damaged")
    damaged = install(bench, given, "stand-ins")
    assert damaged.code == 1
    assert "a file is not the one that stand-ins.sha256 names" in damaged.stderr


def test_a_stand_in_starts_no_microvm(bench: Workbench) -> None:
    done = bench.run(firecracker.NODE, "firecracker", "--version")
    assert done.code == 1
    assert "a stand-in starts no microVM" in done.stderr
