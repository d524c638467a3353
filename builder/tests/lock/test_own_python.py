from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from esb_builder.lock import interpreter, own_python
from esb_builder.lock.model import Pin
from esb_builder.store import Store
from esb_builder.voice import Recorded
from fetching import World, blob_of
from local_web import Site, serving

FOREIGN = Pin("3.12.99", blob_of(b"a build of elsewhere").sha256, 20, "cpython-3.12.99-amd64.tar")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(Site()) as site:
        yield World(site, tmp_path, {}, mirrors="")


def test_another_build_gives_way_to_the_machines_own_and_says_so(world: World, tmp_path: Path) -> None:
    lock, machine, voice = replace(world.lock, python=FOREIGN), world.finder().machine, Recorded()
    taken = own_python.adopted(lock, tmp_path, machine, world.store, voice)
    assert taken.python
    assert world.store.has(taken.python.blob)
    assert any("is not the locked build of 3.12.99" in said for said in voice.said)
    assert own_python.applied(lock, tmp_path, world.store) == taken
    assert replace(taken, python=FOREIGN) == lock


def test_a_home_that_took_nothing_keeps_to_the_lock(world: World, tmp_path: Path) -> None:
    lock = replace(world.lock, python=FOREIGN)
    assert own_python.applied(lock, tmp_path, world.store) == lock


def test_the_very_build_that_was_locked_is_no_exception(world: World, tmp_path: Path) -> None:
    machine = world.finder().machine
    pinned = interpreter.pack(machine, Store(tmp_path / "elsewhere"), Recorded())
    lock, voice = replace(world.lock, python=pinned), Recorded()
    assert own_python.adopted(lock, tmp_path, machine, world.store, voice) == lock
    assert not (tmp_path / own_python.NAME).exists()
    assert world.store.has(pinned.blob)


def test_the_locked_pack_ends_the_exception(world: World, tmp_path: Path) -> None:
    lock = replace(world.lock, python=FOREIGN)
    own_python.adopted(lock, tmp_path, world.finder().machine, world.store, Recorded())
    (tmp_path / "pack").write_bytes(b"a build of elsewhere")
    world.store.add(tmp_path / "pack")
    assert own_python.applied(lock, tmp_path, world.store) == lock


def test_a_mirror_that_may_have_it_is_asked_first(world: World, tmp_path: Path) -> None:
    lock = replace(world.lock, python=FOREIGN)
    world.mirrors = f"store={tmp_path}"
    assert own_python.adopted(lock, tmp_path, world.finder().machine, world.store, Recorded()) == lock
