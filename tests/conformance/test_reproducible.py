"""Two cold builds on two different machines, as far as one machine can play two, give the same ids.

They differ in host name, resolver, time zone, locale, umask, user's name and home, path and file times of
the checkout, and in everything that ESB keeps; they share the certificate authority, the gateway's user
and the locked inputs. The first also equals the build that the engine's cache was warm for.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from conformance.conftest import ROOT, Workbench
from esb_builder import plan
from esb_builder.archive import Archive, Tree
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


def copy_checkout(place: Path, machine: Machine) -> None:
    """The checkout as somebody with this umask and clock has it."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    hidden = int(machine.umask, 8)
    for source in (ROOT / name for name in names if name):
        if source.is_file():
            target = place / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod((0o777 if os.access(source, os.X_OK) else 0o666) & ~hidden)
            os.utime(target, (machine.modified, machine.modified))


def lend_store(source: Store, target: Path) -> None:
    """The locked inputs, without what was built from them."""
    (target / "sha256").mkdir(parents=True)
    for path in (source.folder / "sha256").iterdir():
        os.link(path, target / "sha256" / path.name)


def build(bench: Workbench, place: Path, machine: Machine) -> tuple[Shelf, dict[str, Digest]]:
    """Build :data:`IMAGES` as ``machine``, cold."""
    copy_checkout(place / "checkout", machine)
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


def test_two_machines_build_the_same_images(bench: Workbench, tmp_path: Path) -> None:
    shelves, ids = zip(*(build(bench, tmp_path / one.name, one) for one in (FACTORY, OFFICE)), strict=True)
    for name in IMAGES:
        pair = [(shelf, made[name]) for shelf, made in zip(shelves, ids, strict=True)]
        if pair[0][1] != pair[1][1]:
            found = differences(tmp_path / f"differences-{name}", *pair)
            pytest.fail(f"{name}: {len(found)} paths differ: {found[:SHOWN]}")
    assert ids[0] == {name: bench.ids[name] for name in IMAGES}, "a cold build differs from a warm one"
