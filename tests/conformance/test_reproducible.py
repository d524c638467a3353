"""Two cold builds on two different machines, as far as one machine can play two, give the same ids.

They differ in host name, resolver, time zone, locale, umask, user's name and home, path and file times of
the checkout, and in everything that ESB keeps; they share the certificate authority, the gateway's user
and the locked inputs. Both equal what a build with the engine's cache gives.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conformance.conftest import ROOT, Workbench
from esb_builder import plan
from esb_builder.archive import Archive, Tree
from esb_builder.build import shelve
from esb_builder.canonical import Shelf
from esb_builder.store import Store
from esb_common.ids import Digest

pytestmark = [pytest.mark.engine, pytest.mark.root]

IMAGES = plan.PLAIN
BECOME = """
hostname "$1"; mount --bind "$2" /etc/hostname; mount --bind "$3" /etc/resolv.conf; umask "$4"
shift 4; exec "$@"
"""
SHOWN = 20


@dataclass(frozen=True)
class Machine:
    """What one machine is like."""

    name: str
    umask: str
    modified: int
    environ: Mapping[str, str]


FACTORY = Machine("factory-7", "0077", 1_000_000_000, {"TZ": "Asia/Tokyo", "LC_ALL": "C", "USER": "maya"})
OFFICE = Machine(
    "office.example", "0000", 1_800_000_000, {"TZ": "America/St_Johns", "LC_ALL": "C.UTF-8", "USER": "root"}
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This checkout as it is now, whatever is edited while the test builds."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    for source in (ROOT / name for name in names if name):
        if source.is_file():
            target = tmp_path / "checkout" / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return tmp_path / "checkout"


def clone(checkout: Path, place: Path, machine: Machine) -> None:
    """The checkout as somebody with this umask and clock has it."""
    hidden = int(machine.umask, 8)
    for source in (path for path in checkout.rglob("*") if path.is_file()):
        target = place / source.relative_to(checkout)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod((0o777 if os.access(source, os.X_OK) else 0o666) & ~hidden)
        os.utime(target, (machine.modified, machine.modified))


def lend_store(source: Store, target: Path) -> None:
    """The locked inputs, without what was built from them."""
    (target / "sha256").mkdir(parents=True)
    for path in (source.folder / "sha256").iterdir():
        os.link(path, target / "sha256" / path.name)


def build(bench: Workbench, checkout: Path, place: Path, machine: Machine) -> tuple[Shelf, dict[str, Digest]]:
    """Build :data:`IMAGES` as ``machine``, cold."""
    clone(checkout, place / "checkout", machine)
    lend_store(bench.shop.store, place / "home/store")
    (place / "hostname").write_text(f"{machine.name}\n")
    resolver = Path("/etc/resolv.conf").read_text()
    (place / "resolv.conf").write_text(f"# of {machine.name}\n{resolver}search {machine.name}\n")
    environ = {
        **bench.engine.environ,
        **machine.environ,
        "HOME": str(place),
        "ESB_HOME": str(place / "home"),
        "ESB_CERT_DIR": str(bench.shop.root_ca.parent),
        "PYTHONPATH": os.pathsep.join(str(ROOT / path / "src") for path in ("builder", "services/common")),
    }
    become = ["unshare", "--uts", "--mount", "sh", "-euc", BECOME, "sh"]
    told = [machine.name, str(place / "hostname"), str(place / "resolv.conf"), machine.umask]
    script = [sys.executable, str(ROOT / "tests/conformance/cold_build.py"), str(place / "checkout"), *IMAGES]
    done = subprocess.run(
        [*become, *told, *script], env=environ, cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Shelf(Store(place / "home/store")), json.loads(done.stdout)


def differences(place: Path, one: tuple[Shelf, Digest], other: tuple[Shelf, Digest]) -> list[str]:
    """Paths that differ between two images, for whoever must find the cause."""
    place.mkdir()
    one[0].layout(place / "one", {"one:latest": one[1]})
    other[0].layout(place / "other", {"other:latest": other[1]})
    with Archive(place / "one") as left, Archive(place / "other") as right:
        first, second = (opened.images()[0] for opened in (left, right))
        trees = [_facts(first.tree()), _facts(second.tree())]
        paths = sorted(
            path for path in trees[0].keys() | trees[1].keys() if trees[0].get(path) != trees[1].get(path)
        )
        config = [] if first.config.get("config") == second.config.get("config") else ["(configuration)"]
    return [*config, *paths]


def _facts(tree: Tree) -> dict[str, object]:
    return {
        path: (node.kind, node.mode, node.uid, node.gid, node.mtime, node.target, _content(tree, path))
        for path, node in tree.nodes.items()
    }


def _content(tree: Tree, path: str) -> bytes:
    node = tree.nodes[path]
    return tree.open(node).read() if node.kind == "file" else b""


def test_two_machines_build_the_same_images(bench: Workbench, checkout: Path, tmp_path: Path) -> None:
    built = [build(bench, checkout, tmp_path / one.name, one) for one in (FACTORY, OFFICE)]
    built.append((bench.shop.shelf, shelve(replace(bench.shop, root=checkout), IMAGES)))
    for name in IMAGES:
        first, *others = [(shelf, ids[name]) for shelf, ids in built]
        for other in (one for one in others if one[1] != first[1]):
            found = differences(Path(tempfile.mkdtemp(dir=tmp_path), "trees"), first, other)
            pytest.fail(f"{name}: {len(found)} paths differ: {found[:SHOWN]}")
