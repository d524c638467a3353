"""S4, S5, S7: images are made of what their Dockerfiles name, and nothing else can change or break them."""

import re
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conformance import checkouts
from conformance.conftest import ROOT, Workbench
from esb_builder import build, plan, run
from esb_builder.verify import recipes

pytestmark = pytest.mark.engine

UNRELATED = (
    "README.md",
    "pyproject.toml",
    "cli/src/esb_cli/app.py",
    "builder/src/esb_builder/plan.py",
    "services/runtime-node/src/esb_node/app.py",
    "services/runtime-node/requirements.lock",
    "services/worker/src/bootstrap.py",
    "services/gateway/Dockerfile.firecracker",
    "services/gateway/tests/test_main.py",
)
CODE = "services/gateway/src/esb_gateway/app.py"


@pytest.mark.shows("S4", "pruned tree")
def test_s4_a_tree_without_any_other_file_gives_the_same_images(bench: Workbench, tmp_path: Path) -> None:
    shop = replace(bench.shop, root=checkouts.pruned(tmp_path))
    assert not (tmp_path / "README.md").exists()
    assert build.shelve(shop, list(plan.FAMILY)) == bench.ids


@pytest.mark.network
@pytest.mark.shows("S5", "lock recompiled", *recipes.FOLDERS)
@pytest.mark.parametrize("service", sorted(set(recipes.FOLDERS.values())))
def test_s5_recompiling_its_own_definition_gives_the_same_lock(
    service: str, bench: Workbench, tmp_path: Path
) -> None:
    """From its pyproject.toml and the house's constraints alone; what the lock names is not moved."""
    folder, lock = ROOT / "services" / service, tmp_path / "requirements.lock"
    lock.write_bytes((folder / "requirements.lock").read_bytes())
    words = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version=3.12"]
    words += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"]
    words += [f"--constraints={ROOT / 'constraints.txt'}", f"--output-file={lock}"]
    uv = ROOT / ".esb/uv/bin/uv"
    environ = {**bench.shop.environ, "UV_SYSTEM_CERTS": "1"}
    subprocess.run([uv, *words, folder / "pyproject.toml"], env=environ, cwd=tmp_path, check=True)
    assert lock.read_text() == (folder / "requirements.lock").read_text()


@pytest.fixture
def steps(bench: Workbench, secrets: list[str]) -> Callable[[Path], dict[str, bool]]:
    """Builds the gateway from a checkout with the engine's cache: each step, and whether it was cached."""

    def build_gateway(place: Path) -> dict[str, bool]:
        words = ["buildx", "build", "--progress=plain", "--provenance=false", *secrets]
        words += ["--file=services/gateway/Dockerfile", "--build-arg=SOURCE_DATE_EPOCH=1735689600", "."]
        told = run.run(("docker", *words), environ=bench.engine.environ, cwd=place).stderr
        named = re.findall(r"^#(\d+) \[(\w+ +\d+/\d+\] (?!FROM).*)$", told, re.MULTILINE)
        cached = set(re.findall(r"^#(\d+) CACHED$", told, re.MULTILINE))
        return {step: number in cached for number, step in named}

    return build_gateway


def touch(path: Path) -> None:
    """Add a line that no earlier run has added: the engine remembers those."""
    with path.open("a") as out:
        out.write(f"\n# {uuid.uuid4()}\n")


@pytest.mark.shows("S7", "unrelated change", "esb-gateway")
def test_s7_a_change_elsewhere_runs_no_step_of_the_gateway_again(
    steps: Callable[[Path], dict[str, bool]], tmp_path: Path
) -> None:
    place = checkouts.whole(tmp_path)
    first = steps(place)
    for path in UNRELATED:
        touch(place / path)
    again = steps(place)
    assert again.keys() == first.keys()
    assert len(again) > 10
    assert [step for step, cached in again.items() if not cached] == []
    touch(place / CODE)
    anew = [step for step, cached in steps(place).items() if not cached]
    assert any("COPY services/gateway/src" in step for step in anew), "the same steps can miss the cache"
    assert not any("wheels.sh" in step for step in anew), "code comes after dependencies"
