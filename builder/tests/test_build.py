"""Building on a stand-in engine: what runs, what is kept, and what a failure says."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from authorities import NOW
from esb_builder import build, dockerfile, plan, rotation, run, stamps
from esb_builder.archive import image_id
from esb_builder.build import Workshop
from esb_builder.ca import issue
from esb_builder.lock import recipes
from esb_builder.lock.text import render
from esb_builder.plan import Ingredients
from esb_builder.rotation import generation
from esb_builder.voice import Recorded
from esb_common import settings
from esb_common.errors import BadInput, Broken, Misuse
from locks import bootstrapped, of_registry, pin

ROOT = Path(__file__).parents[2]


@dataclass
class Engine:
    """The stand-in of ``tests/docker_stand_in.py``; ``asked`` are the builds that ran."""

    place: Path
    environ: dict[str, str] = field(default_factory=dict)

    def docker(self, *args: str | Path, check: bool = True) -> run.Completed:
        return run.run(("docker", *args), environ=self.environ, check=check)

    @property
    def asked(self) -> list[list[str]]:
        path = self.place / "asked"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def built(self) -> list[str]:
        names = {f"--file={image.dockerfile}": name for name, image in plan.FAMILY.items()}
        return [names[word].removeprefix("esb-") for words in self.asked for word in words if word in names]

    def stand(self, **parents: str) -> None:
        """Let Dockerfiles of images stand on others than in the family."""
        usual = {image.dockerfile: image.parent or "" for image in plan.FAMILY.values()}
        other = {plan.FAMILY[name.replace("_", "-")].dockerfile: below for name, below in parents.items()}
        (self.place / "parents.json").write_text(json.dumps(usual | other))

    def lose(self, name: str) -> None:
        (self.place / f"{name}:latest.tar").unlink()

    def forget(self) -> None:
        (self.place / "asked").unlink(missing_ok=True)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    place = tmp_path / "engine"
    place.mkdir()
    (place / "seed").write_text("1")
    program = place / "docker"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/docker_stand_in.py "$@"\n')
    program.chmod(0o755)
    paths = os.pathsep.join(str(ROOT / path / "src") for path in ("builder", "services/common"))
    made = Engine(
        place,
        {"PATH": f"{place}:{os.environ['PATH']}", "STAND_IN": str(place), "PYTHONPATH": paths},
    )
    made.stand()
    return made


@pytest.fixture
def shop(engine: Engine, tmp_path: Path) -> Workshop:
    """A workshop on a copy of the checkout, with a root CA, taking its bases from public images."""
    checkout = tmp_path / "checkout"
    for image in plan.FAMILY.values():
        text = (ROOT / image.dockerfile).read_text()
        copy(checkout, image.dockerfile)
        for source in plan.files(ROOT, dockerfile.parse(text).sources):
            copy(checkout, source)
    certs = tmp_path / "home/certs"
    certs.mkdir(parents=True)
    key = issue.new_key()
    (certs / "rootCA.crt").write_bytes(issue.pem(issue.root(key, "factory", NOW)))
    environ = {
        "ESB_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
        "HTTPS_PROXY": "http://u:secret@p:1",
    }
    return Workshop.from_environ(checkout, engine, environ, Recorded(), "registry")


def copy(checkout: Path, path: str) -> None:
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_bytes((ROOT / path).read_bytes())


def said(shop: Workshop) -> list[str]:
    assert isinstance(shop.voice, Recorded)
    return shop.voice.said


def test_the_first_build_makes_everything_and_the_second_nothing(shop: Workshop, engine: Engine) -> None:
    first = build.build(shop, ["gateway", "runtime-node"])
    assert engine.built == ["os-base", "python-base", "gateway", "runtime-node"]
    assert all(one.why == "first build" for one in first)
    engine.forget()
    second = build.build(shop, ["gateway", "runtime-node"])
    assert engine.built == []
    assert [(one.name, one.id) for one in second] == [(one.name, one.id) for one in first]
    assert not any(one.why for one in second)


def edit(shop: Workshop, engine: Engine) -> None:
    """Change a file of the gateway, and what building it gives."""
    (shop.root / "services/gateway/entrypoint.sh").write_text("#!/bin/sh\n")
    (engine.place / "seed").write_text("2")


def test_a_changed_file_builds_what_takes_it_and_says_so(shop: Workshop, engine: Engine) -> None:
    build.build(shop, ["gateway", "runtime-node"])
    engine.forget()
    (shop.root / "services/gateway/entrypoint.sh").write_text("#!/bin/sh\n")
    build.build(shop, ["gateway", "runtime-node"])
    assert engine.built == ["gateway"]
    assert said(shop)[-2:] == [
        "build esb-gateway (services/gateway/entrypoint.sh changed)",
        "load esb-gateway",
    ]


def test_a_new_root_ca_builds_the_whole_family(shop: Workshop, engine: Engine) -> None:
    """S17."""
    build.build(shop, ["gateway"])
    engine.forget()
    shop.root_ca.write_bytes(issue.pem(issue.root(issue.new_key(), "factory", NOW)))
    build.build(shop, ["gateway"])
    assert engine.built == ["os-base", "python-base", "gateway"]


def test_an_image_that_the_engine_lost_is_loaded_again_and_not_built(shop: Workshop, engine: Engine) -> None:
    first = build.build(shop, ["gateway"])[-1]
    engine.forget()
    engine.lose("esb-gateway")
    again = build.build(shop, ["gateway"])[-1]
    assert (again.why, again.id) == ("the engine does not have it", first.id)
    assert engine.built == []
    assert build.kept(shop)["esb-gateway"] == first.id


def test_an_image_under_our_tag_that_we_did_not_make_is_replaced_by_ours(
    shop: Workshop, engine: Engine
) -> None:
    """What ``docker compose build`` leaves."""
    first = build.build(shop, ["gateway"])[-1]
    (engine.place / "esb-gateway:latest.tar").write_bytes(
        (engine.place / "esb-os-base:latest.tar").read_bytes()
    )
    again = build.build(shop, ["gateway"])[-1]
    assert (again.why, again.id) == ("the engine does not have it", first.id)


def test_an_image_that_the_store_lost_is_built_again(shop: Workshop, engine: Engine) -> None:
    first = build.build(shop, ["gateway"])[-1]
    engine.forget()
    shop.store.path(shop.shelf.layers(first.id)[-1].removeprefix("sha256:")).unlink()
    again = build.build(shop, ["gateway"])[-1]
    assert (again.why, again.id) == ("the store does not have it", first.id)
    assert engine.built == ["gateway"]


def test_a_base_that_became_another_image_moves_what_stands_on_it(shop: Workshop, engine: Engine) -> None:
    build.build(shop, ["gateway"])
    engine.forget()
    (engine.place / "seed").write_text("2")
    (shop.home / "stamps/esb-python-base.json").unlink()
    whys = [one.why for one in build.build(shop, ["gateway"])]
    assert whys == ["", "first build", "esb-python-base is another image now"]


def test_a_child_on_an_unexpected_parent_is_refused(shop: Workshop, engine: Engine) -> None:
    build.build(shop, ["esb-python-base"])
    engine.stand(esb_gateway="esb-os-base")
    with pytest.raises(Broken, match="esb-gateway was not built on the layers of its canonical parent"):
        build.build(shop, ["gateway"])
    assert "esb-gateway" not in build.kept(shop)


def test_an_older_canonical_form_is_built_anew(shop: Workshop, engine: Engine) -> None:
    build.build(shop, ["os-base"])
    stamp = stamps.read(shop.home, "esb-os-base")
    assert stamp is not None
    stamps.write(shop.home, "esb-os-base", replace(stamp, form=0))
    assert build.build(shop, ["os-base"])[-1].why == "the canonical form changed"


def test_a_tag_that_moves_in_the_middle_leaves_the_child_on_its_parent(
    shop: Workshop, engine: Engine
) -> None:
    below = build.build(shop, ["python-base"])
    steps = plan.plan(shop.root, plan.chosen(["gateway"]), Ingredients({}, {}))
    engine.lose("esb-python-base")
    made = build.make(shop, steps[-1], {}, below[-1].id)
    assert shop.shelf.layers(made)[:-1] == shop.shelf.layers(below[-1].id)
    assert not (engine.place / "esb-gateway:latest.tar").exists()


def test_an_engine_is_lent_the_layers_that_it_need_not_export(shop: Workshop, engine: Engine) -> None:
    built = {one.name: one.id for one in build.build(shop, ["gateway"])}
    lent = json.loads((engine.place / "lent").read_text())
    assert lent == sorted(one.removeprefix("sha256:") for one in shop.shelf.layers(built["esb-python-base"]))


def test_an_engine_is_given_only_the_layers_that_it_lacks(shop: Workshop, engine: Engine) -> None:
    before = build.build(shop, ["gateway"])[-1]
    edit(shop, engine)
    after = build.build(shop, ["gateway"])[-1]
    given = json.loads((engine.place / "given").read_text())
    below = shop.shelf.layers(before.id)[:-1]
    assert shop.shelf.layers(after.id)[:-1] == below
    assert not {one.removeprefix("sha256:") for one in below} & set(given)
    assert shop.shelf.layers(after.id)[-1].removeprefix("sha256:") in given


def test_an_engine_that_lost_a_layer_is_given_all_of_them(shop: Workshop, engine: Engine) -> None:
    build.build(shop, ["gateway"])
    edit(shop, engine)
    for layer in (engine.place / "content").iterdir():
        layer.unlink()
    after = build.build(shop, ["gateway"])[-1]
    given = json.loads((engine.place / "given").read_text())
    assert {one.removeprefix("sha256:") for one in shop.shelf.layers(after.id)} <= set(given)
    assert build.kept(shop)["esb-gateway"] == after.id


def test_an_engine_that_cannot_export_gives_the_same_images(shop: Workshop, engine: Engine) -> None:
    """Without containerd's image store: by a name of the build's own, which is forgotten again."""
    exported = build.build(shop, ["gateway"])
    shutil.rmtree(shop.home / "stamps")
    (engine.place / "no-store").touch()
    saved = build.build(shop, ["gateway"])
    assert [one.id for one in saved] == [one.id for one in exported]
    assert not list(engine.place.glob("esb-built*"))


def test_secrets_are_files_and_a_proxy_is_passed_by_name(shop: Workshop, engine: Engine) -> None:
    build.build(shop, ["os-base"])
    (words,) = engine.asked
    assert f"--secret=id=esb_root_ca,src={shop.root_ca}" in words
    assert "--build-arg=HTTPS_PROXY" in words
    assert "--provenance=false" in words
    assert not [word for word in words if "secret@" in word]


def test_only_the_first_image_carries_the_label_of_the_root_ca(shop: Workshop, engine: Engine) -> None:
    build.build(shop, ["python-base"])
    labels = [[word for word in words if word.startswith("--label=")] for words in engine.asked]
    assert [len(one) for one in labels] == [1, 0]


def test_a_failed_step_says_what_it_said_itself(shop: Workshop, engine: Engine) -> None:
    (engine.place / "fails").write_text(
        "#5 [root-ca 1/1] RUN sh\n------\n > [root-ca 1/1] RUN sh:\n"
        "0.214 esb_root_ca: the file is empty\n------\nDockerfile:9\nERROR: failed to solve: exit code: 1"
    )
    with pytest.raises(Broken) as caught:
        build.build(shop, ["os-base"])
    assert caught.value.fact == "esb-os-base was not built"
    assert caught.value.hint == "esb_root_ca: the file is empty"


def test_another_failure_keeps_the_command_to_paste(shop: Workshop, engine: Engine) -> None:
    (engine.place / "fails").write_text("ERROR: no builder")
    with pytest.raises(Broken, match=r"docker buildx build .*\n.*ERROR: no builder"):
        build.build(shop, ["os-base"])


def test_without_a_root_ca_nothing_starts(shop: Workshop, engine: Engine) -> None:
    shop.root_ca.unlink()
    with pytest.raises(BadInput, match="esb ca init"):
        build.build(shop)
    assert engine.asked == []


def test_a_certificate_that_is_no_authority_is_refused_before_anything_starts(
    shop: Workshop, engine: Engine
) -> None:
    shop.root_ca.write_text("not a certificate")
    with pytest.raises(BadInput, match="not a PEM certificate"):
        build.build(shop)
    assert engine.asked == []


def test_the_function_image_is_saved_for_the_node(shop: Workshop, engine: Engine) -> None:
    built = build.build(shop, ["lambda-python"])[-1]
    assert image_id(shop.archive) == built.id
    assert [path.name for path in shop.archive.parent.iterdir()] == ["esb-lambda-python.tar"]


def test_images_of_an_earlier_build_are_known_while_the_engine_has_them(
    shop: Workshop, engine: Engine
) -> None:
    built = {one.name: one.id for one in build.build(shop, ["gateway"])}
    assert build.kept(shop) == built
    engine.lose("esb-gateway")
    assert build.kept(shop).keys() == {"esb-os-base", "esb-python-base"}


@pytest.mark.parametrize(
    ("environ", "owner", "expected"),
    [
        ({}, (1000, 1001), (1000, 1001)),
        ({}, (0, 0), (10001, 10001)),
        ({"ESB_UID": "5", "ESB_GID": "6"}, (0, 0), (5, 6)),
    ],
)
def test_the_gateway_is_built_for_who_builds_and_never_for_root(
    environ: dict[str, str], owner: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert settings.gateway_user(environ, *owner) == expected


def lock_up(shop: Workshop) -> None:
    """Give the checkout a lock of public images, with everything in the store."""
    asked = recipes.read(shop.root)
    (shop.root / "esb.lock").write_text(render(of_registry(shop.store, asked)))


def test_with_a_lock_no_step_has_a_network_and_the_machine_stays_out(shop: Workshop, engine: Engine) -> None:
    lock_up(shop)
    build.build(shop, ["gateway"])
    assert engine.built == ["os-base", "python-base", "gateway"]
    for words in engine.asked:
        assert "--network=none" in words
        assert [word for word in words if word.startswith("--secret=")] == [
            f"--secret=id=esb_root_ca,src={shop.root_ca}"
        ]
        assert not [word for word in words if "proxy" in word.lower()]


def test_with_a_lock_every_input_is_a_context_out_of_the_store(shop: Workshop, engine: Engine) -> None:
    lock_up(shop)
    build.build(shop, ["gateway"])
    contexts = [
        {
            word.removeprefix("--build-context=").partition("=")[0]
            for word in words
            if word.startswith("--build-context=")
        }
        for words in engine.asked
    ]
    assert {"debian", "debs"} <= contexts[0]
    assert {"python", "debs"} <= contexts[1]
    assert {"wheels", "uv-wheels"} <= contexts[2]


def test_a_moved_pin_builds_what_takes_it_and_says_so(shop: Workshop, engine: Engine) -> None:
    lock_up(shop)
    build.build(shop, ["gateway", "runtime-node"])
    engine.forget()
    lock = of_registry(shop.store, recipes.read(shop.root))
    wheels = replace(lock.wheels["gateway"], wheels={"x": pin(shop.store, "moved")})
    (shop.root / "esb.lock").write_text(render(replace(lock, wheels={**lock.wheels, "gateway": wheels})))
    build.build(shop, ["gateway", "runtime-node"])
    assert engine.built == ["gateway"]
    assert "build esb-gateway (context wheels changed)" in said(shop)


def test_a_store_that_lacks_something_builds_nothing(shop: Workshop, engine: Engine) -> None:
    lock_up(shop)
    shop.store.path(pin(shop.store, "gateway-wheel").sha256).unlink()
    with pytest.raises(BadInput, match="lacks 1 files"):
        build.build(shop, ["gateway"])
    assert engine.asked == []


def test_another_source_than_the_locks_is_misuse(shop: Workshop) -> None:
    asked = recipes.read(shop.root)
    (shop.root / "esb.lock").write_text(render(bootstrapped(shop.store, asked)))
    with pytest.raises(Misuse, match="comes from debian"):
        build.build(shop, ["gateway"])


def other_root(shop: Workshop, place: Path) -> Workshop:
    """The same workshop, baking another root CA."""
    place.mkdir()
    (place / "rootCA.crt").write_bytes(issue.pem(issue.root(issue.new_key(), "another", NOW)))
    return replace(shop, environ={**shop.environ, "ESB_CERT_DIR": str(place)})


def fingerprint(shop: Workshop) -> str:
    return generation.fingerprint(shop.root_ca)


def test_a_family_made_ready_beside_changes_nothing_until_it_is_adopted(
    shop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    lock_up(shop)
    before = {one.name: one.id for one in build.build(shop, ["gateway", "lambda-python"])}
    old = {name: stamps.read(shop.home, name) for name in before}
    other = other_root(shop, tmp_path / "other")
    ready = build.prepare(other, ["gateway", "lambda-python"])
    assert build.kept(shop) == before
    assert not rotation.carriers(engine, fingerprint(other), tmp_path)
    build.adopt(shop, ready)
    assert not rotation.carriers(engine, fingerprint(shop), tmp_path)
    assert len(rotation.carriers(engine, fingerprint(other), tmp_path)) == 4
    assert image_id(shop.archive) == ready["esb-lambda-python"].id
    build.adopt(shop, {name: stamp for name, stamp in old.items() if stamp})
    assert not rotation.carriers(engine, fingerprint(other), tmp_path)
    assert build.kept(shop) == before


def test_after_adoption_a_build_has_nothing_to_do(shop: Workshop, engine: Engine, tmp_path: Path) -> None:
    lock_up(shop)
    build.build(shop, ["gateway"])
    other = other_root(shop, tmp_path / "other")
    build.adopt(shop, build.prepare(other, ["gateway"]))
    engine.forget()
    assert [one.why for one in build.build(other, ["gateway"])] == ["", "", ""]
    assert engine.asked == []


def test_another_root_ca_moves_the_trust_layer_of_the_base_and_what_says_so(
    shop: Workshop, tmp_path: Path
) -> None:
    lock_up(shop)
    first = build.prepare(shop, ["gateway"])
    second = build.prepare(other_root(shop, tmp_path / "other"), ["gateway"])
    assert "esb-os-base trust" in rotation.moved(shop.shelf, first, second)
    assert rotation.moved(shop.shelf, first, first) == []
