from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from esb_builder import artefacts
from esb_builder.lock import firecracker, recipes, text
from esb_builder.lock.model import Lock, WheelSet
from esb_builder.lock.moves import Update
from esb_builder.lock.resolve import Desk, complete, gaps, stale
from esb_builder.store import Store
from esb_builder.voice import Recorded
from esb_common.errors import Misuse, NotPossibleHere
from fetching import World, blob_of
from local_web import Site, serving
from locks import bootstrapped, pin

ROOT = Path(__file__).parents[3]
ASKED = recipes.read(ROOT)
REQUIREMENTS = "x==1.0 --hash=sha256:"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def lock(store: Store) -> Lock:
    return bootstrapped(store, ASKED)


def test_the_lock_of_this_checkout_fits_it() -> None:
    assert stale(text.parse((ROOT / text.FILE).read_text()), ASKED) == []


def test_firecrackers_pins_are_those_that_the_image_takes() -> None:
    for architecture, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
        ours = {one.pin.sha256 for one in firecracker.ARTEFACTS[architecture].values()}
        assert ours <= set(artefacts.pinned(ROOT, machine).values())


def test_a_whole_lock_has_no_gap_and_is_not_stale(lock: Lock) -> None:
    assert not gaps(lock, ASKED)
    assert stale(lock, ASKED) == []


@pytest.mark.parametrize("lost", ["step", "wheels", "python", "base", "artefact"])
def test_what_is_missing_is_a_gap_and_named(lock: Lock, lost: str) -> None:
    without = {
        "step": replace(lock, steps={name: one for name, one in lock.steps.items() if name != "os-base"}),
        "base": replace(lock, steps={name: one for name, one in lock.steps.items() if name != "base"}),
        "wheels": replace(lock, wheels={name: one for name, one in lock.wheels.items() if name != "gateway"}),
        "python": replace(lock, python=None),
        "artefact": replace(lock, artefacts={}),
    }[lost]
    assert gaps(without, ASKED)
    assert any(said.endswith("not locked") for said in stale(without, ASKED))


def test_a_changed_requirements_file_is_stale_and_no_gap(lock: Lock) -> None:
    other = replace(lock.wheels["gateway"], requirements_sha256="0" * 64)
    changed = replace(lock, wheels={**lock.wheels, "gateway": other})
    assert not gaps(changed, ASKED)
    assert stale(changed, ASKED) == [
        "gateway: services/gateway/requirements.lock has changed since it was locked"
    ]


def test_a_dockerfile_that_asks_for_more_is_a_gap(lock: Lock) -> None:
    asked = replace(ASKED, asked={**ASKED.asked, "os-base": ("more", *ASKED.asked["os-base"])})
    assert gaps(lock, asked)
    assert stale(lock, asked) == ["os-base: its Dockerfile asks for other packages than the lock"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(Site()) as site:
        yield World(site, tmp_path, {})


def desk(world: World, store: Store) -> Desk:
    """A checkout whose gateway asks for one wheel, on a machine whose apt knows no mirror."""
    path = world.folder / "services/gateway/requirements.lock"
    path.parent.mkdir(parents=True)
    path.write_text(REQUIREMENTS + blob_of(world.wheel).sha256 + "\n")
    asked = {**ASKED.requirements, "gateway": ("services/gateway/requirements.lock", "1" * 64)}
    machine = world.finder().machine
    machine = replace(machine, apt=replace(machine.apt, sources=()))
    return Desk(world.folder, replace(ASKED, requirements=asked), machine, store, Recorded(), "amd64")


def test_a_missing_wheel_set_is_asked_for_and_nothing_else(world: World, store: Store, lock: Lock) -> None:
    without = replace(lock, wheels={name: one for name, one in lock.wheels.items() if name != "gateway"})
    after = complete(desk(world, store), "debian", without, Update())
    found = after.wheels["gateway"]
    assert (found.requirements_sha256, found.wheels["x"].sha256) == ("1" * 64, blob_of(world.wheel).sha256)
    assert replace(after, wheels=without.wheels) == without


def test_a_stale_wheel_set_stays_until_it_is_named(world: World, store: Store, lock: Lock) -> None:
    old = replace(lock, wheels={**lock.wheels, "gateway": WheelSet("a", "0" * 64, {"x": pin(store, "old")})})
    here = desk(world, store)
    assert complete(here, "debian", old, Update()) == old
    after = complete(here, "debian", old, Update(frozenset({"gateway"})))
    assert after.wheels["gateway"].wheels["x"].sha256 == blob_of(world.wheel).sha256
    assert after.steps == old.steps


def test_debian_is_asked_only_where_something_of_it_may_move(world: World, store: Store, lock: Lock) -> None:
    here = desk(world, store)
    with pytest.raises(NotPossibleHere, match="apt knows no mirror"):
        complete(here, "debian", lock, Update(frozenset({"tzdata"})))
    with pytest.raises(Misuse, match="nothing named nosuch"):
        complete(here, "debian", lock, Update(frozenset({"nosuch"})))


def test_a_lock_is_written_whole_and_only_when_it_changed(world: World, store: Store, lock: Lock) -> None:
    here = desk(world, store)
    assert here.read() is None
    assert here.write(lock)
    assert not here.write(lock)
    assert here.read() == lock
    assert [path.name for path in world.folder.glob("*esb.lock*")] == [text.FILE]
