import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from esb_builder.fetch import fetch
from esb_builder.lock.model import Deb
from esb_builder.sources import http
from esb_builder.store import Store
from esb_builder.voice import Recorded
from esb_common.errors import BadInput, Broken, NotPossibleHere, Unhealthy
from fetching import PACKAGES, World, blob_of, pin
from local_web import Site, serving

DEBS = {f"package{number}": bytes([number]) * (1000 * number + 1) for number in range(20)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(Site()) as site:
        world = World(site, tmp_path, DEBS, mirrors=f"guests={site.address}/guests")
        world.publish()
        yield world


def holds_only_right_files(store: Store) -> bool:
    files = [path for path in (store.folder / "sha256").iterdir() if path.suffix != ".part"]
    return all(path.name == blob_of(path.read_bytes()).sha256 for path in files)


def test_everything_comes_from_where_this_machine_says(world: World) -> None:
    done = fetch(world.finder(), Recorded())
    assert (done.files, done.present, done.unaddressed, done.moved_on) == (24, 0, (), ())
    assert done.bytes == sum(map(len, [*DEBS.values(), world.wheel, world.artefact, b"signed", PACKAGES]))
    assert all(world.store.is_sound(blob) for _, blob in world.lock.blobs())


def test_a_second_run_asks_nobody(world: World) -> None:
    fetch(world.finder(), Recorded())
    asked = len(world.site.asked)
    done = fetch(world.finder(), Recorded())
    assert (done.files, done.bytes, done.present) == (0, 0, 22)
    assert len(world.site.asked) == asked


def test_what_several_steps_name_comes_once(world: World) -> None:
    steps = {"base": world.lock.steps["base"], "os-base": world.lock.steps["base"]}
    fetch(world.finder(replace(world.lock, steps=steps)), Recorded())
    assert len(world.site.asked_for("/debian/pool/main/package1.deb")) == 1


def test_a_mirror_without_an_address_is_named_not_fatal(world: World) -> None:
    world.mirrors = ""
    done = fetch(world.finder(), Recorded())
    assert done.unaddressed == (("guest-kernel", "guests"),)
    assert world.missing() == []


@pytest.mark.parametrize("now", [b"signed anew", b"sign", b"SIGNED"], ids=["longer", "shorter", "other"])
def test_a_proof_that_the_archive_has_replaced_is_told_not_fatal(world: World, now: bytes) -> None:
    world.site.files["/debian/dists/bookworm/InRelease"] = now
    done = fetch(world.finder(), Recorded())
    assert done.moved_on == ("bookworm InRelease",)
    assert world.missing() == []


def test_a_file_that_is_gone_names_how_to_go_on_and_the_rest_comes(world: World) -> None:
    del world.site.files["/debian/pool/main/package3.deb"]
    with pytest.raises(BadInput) as caught:
        fetch(world.finder(), Recorded())
    assert "1 of 24 files" in caught.value.fact
    assert "package3 1.0" in caught.value.fact
    assert "./esb lock --update package3" in caught.value.hint
    assert world.missing() == ["package3"]


def test_a_file_with_other_bytes_is_refused(world: World) -> None:
    world.site.files["/debian/pool/main/package3.deb"] = b"\xff" * 3001
    with pytest.raises(BadInput, match="has another file"):
        fetch(world.finder(), Recorded())
    assert holds_only_right_files(world.store)


def test_a_wheel_that_the_index_has_no_more_names_its_set(world: World) -> None:
    gone = replace(world.lock.wheels["gateway"], wheels={"x": pin(b"yanked", "x-1-py3-none-any.whl")})
    with pytest.raises(BadInput) as caught:
        fetch(world.finder(replace(world.lock, wheels={"gateway": gone})), Recorded())
    assert "./esb lock --update gateway" in caught.value.hint


def test_a_mirror_that_is_down_is_unhealthy_and_what_came_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE_S", 0.001)
    world.site.answers["/debian/pool/main/package3.deb"] = [503] * 99
    with pytest.raises(Unhealthy, match="HTTP 503"):
        fetch(world.finder(), Recorded())
    assert world.missing() == ["package3"]


def test_a_suite_that_apt_has_no_source_for_is_named(world: World) -> None:
    packages = world.lock.steps["base"].packages
    one: Deb = replace(packages["package3"], suite="bookworm-security")
    steps = {"base": replace(world.lock.steps["base"], packages={**packages, "package3": one})}
    with pytest.raises(NotPossibleHere, match="apt has no source for bookworm-security"):
        fetch(world.finder(replace(world.lock, steps=steps)), Recorded())


def test_another_esbs_store_is_asked_first_and_for_everything(world: World, tmp_path: Path) -> None:
    fetch(world.finder(), Recorded())
    world.site.files.clear()
    world.site.asked.clear()
    here = World(world.site, tmp_path / "here", DEBS, mirrors=f"store={world.store.folder}")
    here.folder.mkdir()
    done = fetch(here.finder(), Recorded())
    assert (done.files, done.unaddressed) == (24, ())
    assert world.site.asked == []


def test_no_more_are_on_their_way_than_wanted(world: World) -> None:
    world.site.pause_s = 0.01
    fetch(world.finder(), Recorded(), at_once=3)
    assert world.site.most_busy == 3


def test_two_at_once_share_the_work_and_agree(world: World) -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(world.finder(), Recorded()).files))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 2
    assert all(len(world.site.asked_for(f"/debian/pool/main/{name}.deb")) == 1 for name in DEBS)
    assert holds_only_right_files(world.store)


def test_an_interpreter_that_is_another_build_is_refused(world: World) -> None:
    lock = replace(world.lock, python=pin(b"another build", "cpython.tar"))
    with pytest.raises((NotPossibleHere, Broken), match="CPython"):
        fetch(world.finder(lock), Recorded())
