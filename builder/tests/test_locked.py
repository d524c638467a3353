import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from esb_builder import locked
from esb_builder.base import apt_of_machine
from esb_builder.cache import Layouts
from esb_builder.fetch import fetch
from esb_builder.fetch.needs import Finder
from esb_builder.lock import recipes, resolve, text
from esb_builder.lock.model import Lock
from esb_builder.plan import FAMILY, PLAIN, Image
from esb_builder.sources.http import Web
from esb_builder.sources.machine import Machine
from esb_builder.store import Store
from esb_builder.voice import Recorded
from esb_common.errors import BadInput
from locks import bootstrapped, deb

ROOT = Path(__file__).parents[2]
ASKED = recipes.read(ROOT, {name: FAMILY[name] for name in PLAIN})
IMAGES = [FAMILY[name] for name in PLAIN]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home / "store")


@pytest.fixture
def lock(store: Store) -> Lock:
    return bootstrapped(store, ASKED)


def over(lock: Lock, home: Path) -> locked.Locked:
    store = Store(home / "store")
    return locked.Locked(lock, ASKED, store, Layouts(home / "layouts"), home / "views", {}, Recorded())


def keys(lock: Lock, home: Path) -> dict[str, dict[str, str]]:
    return {image.name: over(lock, home).keys(image) for image in IMAGES}


def image(name: str) -> Image:
    return FAMILY[name]


def test_each_image_gets_its_own_contexts(lock: Lock, home: Path) -> None:
    found = keys(lock, home)
    assert found["esb-os-base"].keys() == {"debian", "debs"}
    assert found["esb-python-base"].keys() == {"python", "debs"}
    assert found["esb-gateway"].keys() == {"wheels", "uv-wheels"}
    assert found["esb-runtime-node"].keys() == {"debs", "wheels", "uv-wheels"}
    assert found["esb-lambda-python"].keys() == {"wheels", "uv-wheels"}


def test_a_moved_package_changes_the_key_of_its_step_alone(lock: Lock, store: Store, home: Path) -> None:
    before = keys(lock, home)
    step = lock.steps["runtime-node"]
    moved = replace(step, packages={**step.packages, "runc": replace(deb(store, "other"), version="2")})
    after = keys(replace(lock, steps={**lock.steps, "runtime-node": moved}), home)
    changed = [
        (name, key) for name in before for key in before[name] if before[name][key] != after[name][key]
    ]
    assert changed == [("esb-runtime-node", "debs")]


def test_a_view_holds_exactly_the_steps_files(lock: Lock, home: Path) -> None:
    shown = over(lock, home).show(image("esb-runtime-node"))
    names = {path.name for path in Path(shown["debs"]).iterdir()}
    assert names == {f"{one}_1.0_amd64.deb" for one in ASKED.asked["runtime-node"]}
    assert [path.name for path in Path(shown["wheels"]).iterdir()] == [
        "runtime-node-wheel-1.0-py3-none-any.whl"
    ]


def write(lock: Lock, root: Path) -> Path:
    """A checkout like this one with ``lock``."""
    for name in ("services", "builder"):
        (root / name).symlink_to(ROOT / name)
    (root / text.FILE).write_text(text.render(lock))
    return root


def inputs(root: Path, home: Path) -> locked.Locked | None:
    return locked.inputs(root, IMAGES, home, Layouts(home / "layouts"), {}, Recorded())


def test_a_checkout_without_a_lock_has_no_locked_inputs(tmp_path: Path, home: Path) -> None:
    assert inputs(tmp_path, home) is None


def test_a_full_store_answers(lock: Lock, tmp_path: Path, home: Path) -> None:
    found = inputs(write(lock, tmp_path), home)
    assert found is not None
    assert found.lock == lock


def test_what_the_store_lacks_is_named_with_the_way_on(
    lock: Lock, store: Store, tmp_path: Path, home: Path
) -> None:
    store.path(lock.steps["os-base"].packages["tzdata"].sha256).unlink()
    with pytest.raises(BadInput, match=r"lacks 1 files of esb\.lock: tzdata") as caught:
        inputs(write(lock, tmp_path), home)
    assert "./esb fetch" in caught.value.hint


def test_a_lock_that_does_not_fit_is_refused(lock: Lock, tmp_path: Path, home: Path) -> None:
    stale = replace(lock.wheels["gateway"], requirements_sha256="0" * 64)
    with pytest.raises(BadInput, match=r"gateway: .* has changed since it was locked"):
        inputs(write(replace(lock, wheels={**lock.wheels, "gateway": stale}), tmp_path), home)


def test_a_lock_of_another_architecture_is_refused(lock: Lock, tmp_path: Path, home: Path) -> None:
    with pytest.raises(BadInput, match="is for riscv64"):
        inputs(write(replace(lock, architecture="riscv64"), tmp_path), home)


def test_the_locked_interpreter_becomes_a_layout(lock: Lock, home: Path) -> None:
    shown = over(lock, home).show(image("esb-python-base"))
    assert shown["python"].startswith(f"oci-layout://{home}/layouts/python-")
    assert shown == over(lock, home).show(image("esb-python-base"))


def test_a_file_damaged_in_the_store_is_removed_and_named(lock: Lock, store: Store, home: Path) -> None:
    path = store.path(lock.steps["os-base"].packages["tzdata"].sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    one = replace(over(lock, home), layouts=Layouts(home / "layouts"))
    with pytest.raises(BadInput, match=r"tzdata_1\.0_amd64\.deb was damaged"):
        one.show(replace(image("esb-os-base"), contexts=()))
    assert not path.exists()


@pytest.mark.root
@pytest.mark.network
def test_the_base_is_a_function_of_its_locked_packages(tmp_path: Path) -> None:
    """Bootstrapped twice, the second time with another umask, time zone and locale."""
    lock = resolve.read(ROOT)
    assert lock is not None
    steps = {**lock.steps, "os-base": replace(lock.steps["os-base"], packages={})}
    wanted = replace(
        lock, archives={}, steps={"base": lock.steps["base"]}, wheels={}, artefacts={}, python=None
    )
    web = Web.of(os.environ, lambda _: None)
    machine = Machine(web, apt_of_machine(os.environ), {}, Path("uv"), {}, os.environ)
    store = Store(tmp_path / "store")
    fetch(Finder(wanted, ROOT, machine, store), Recorded())

    def made(name: str, environ: Mapping[str, str]) -> str:
        layouts = Layouts(tmp_path / name)
        one = locked.Locked(
            replace(lock, steps=steps), ASKED, store, layouts, tmp_path / "views", environ, Recorded()
        )
        return one.show(image("esb-os-base"))["debian"].rpartition("@")[2]

    first = made("one", os.environ)
    before = os.umask(0o077)
    try:
        assert made("two", {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C"}) == first
    finally:
        os.umask(before)
