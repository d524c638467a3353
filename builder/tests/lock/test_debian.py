"""apt, gpgv and Debian's archive, for real."""

import os
import shutil
from pathlib import Path

import pytest
from esb_builder import base, oci
from esb_builder.base import apt_of_machine
from esb_builder.lock import debian, recipes
from esb_builder.lock.model import Deb
from esb_builder.sources.http import Web
from esb_builder.sources.machine import Machine
from esb_builder.store import Store
from esb_builder.voice import Recorded
from esb_common.errors import BadInput

ROOT = Path(__file__).parents[3]
RECIPES = recipes.Recipes({"os-base": ("netbase", "tzdata")}, {"os-base": "base"}, {}, {}, {})


@pytest.mark.skipif(
    shutil.which("gpgv") is None or not base.KEYRING.exists(), reason="needs gpgv and Debian's keyring"
)
@pytest.mark.parametrize(
    "signed", [b"", b"not signed", b"-----BEGIN PGP SIGNED MESSAGE-----\n\nOrigin: Debian\n"]
)
def test_what_debian_has_not_signed_is_refused(signed: bytes) -> None:
    with pytest.raises(BadInput, match="not signed by Debian"):
        debian.verify(signed, "InRelease", os.environ)


@pytest.fixture(scope="module")
def machine() -> Machine:
    web = Web.of(os.environ, lambda _: None)
    return Machine(web, apt_of_machine(os.environ), {}, Path("uv"), {}, os.environ)


def solve(machine: Machine, store: Store, stays: dict[str, Deb]) -> debian.Solved:
    return debian.solve(oci.architecture(), RECIPES, debian.Ground(stays), machine, store, Recorded())


@pytest.mark.network
def test_apt_resolves_on_a_verified_index_and_holds_what_must_stay(machine: Machine, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    solved = solve(machine, store, {})
    assert {"apt", "dpkg", "libc6", "usr-is-merged"} <= solved.steps["base"].packages.keys()
    assert "perl" not in solved.steps["base"].packages
    added = solved.steps["os-base"].packages
    assert {"netbase", "tzdata"} <= added.keys()
    assert not added.keys() & solved.steps["base"].packages.keys()
    for archive in solved.archives.values():
        assert store.is_sound(archive.inrelease)
        assert store.is_sound(archive.packages)
    stays = {"netbase": added["netbase"], **solved.steps["base"].packages}
    assert solve(machine, store, stays) == solved
    with pytest.raises(BadInput, match="locked version of netbase no more"):
        solve(machine, store, {"netbase": Deb("0", "all", "bookworm", "0" * 64, 1, "pool/x.deb")})
