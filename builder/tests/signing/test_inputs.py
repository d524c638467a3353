"""The record of a build: every input by digest, and nothing claimed that is not known."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from esb_builder import locked, stamps
from esb_builder.artefacts import Artefacts
from esb_builder.cache import Layouts
from esb_builder.lock import recipes
from esb_builder.locked import Locked
from esb_builder.plan import FAMILY
from esb_builder.signing import inputs
from esb_builder.signing.inputs import Input
from esb_builder.signing.statement import provenance
from esb_builder.stamps import Stamp
from esb_builder.store import Store
from esb_builder.voice import Recorded
from esb_common.errors import BadInput
from esb_common.ids import Digest, digest_of

ROOT = Path(__file__).parents[3]
GATEWAY, NODE = "esb-gateway", "esb-runtime-node:firecracker"
ID = digest_of(b"the gateway")
BASE = digest_of(b"the base")
ONE = "1" * 64
STAND_INS = Artefacts("stand-ins", {"firecracker.tgz": "7" * 64})


@pytest.fixture(scope="module")
def lock() -> Locked:
    """This checkout's own lock; its store may be empty."""
    found = locked.read(ROOT)
    assert found is not None
    nowhere = Path("/nonexistent")
    return Locked(found, recipes.read(ROOT), Store(nowhere), Layouts(nowhere), nowhere, {}, Recorded())


def stamp(home: Path, lock: Locked | None, name: str = GATEWAY, **more: str) -> Stamp:
    """What a build on a locked (or not locked) python-base leaves."""
    base = Stamp({"the way of building": "1"}, BASE, "", "")
    stamps.write(home, "esb-python-base", base)
    keys = lock.keys(FAMILY[name]) if lock else {}
    parts = {
        "the way of building": "1",
        "services/gateway/Dockerfile": "2" * 64,
        "services/gateway/user.sh": "x" + "3" * 64,
        "argument ESB_UID": "10001",
        "argument ESB_ROOT_CA_SHA256": "4" * 64,
        **{f"context {context}": key for context, key in keys.items()},
        "parent esb-python-base": inputs.key_of(base.parts),
        **more,
    }
    found = Stamp(parts, ID, "", "", 1)
    stamps.write(home, name, found)
    return found


def test_files_parent_root_and_arguments_are_named(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, lock)
    record = inputs.of(GATEWAY, ID, tmp_path, lock, None)
    assert {
        Input("services/gateway/Dockerfile", "2" * 64),
        Input("services/gateway/user.sh", "3" * 64),
        Input("rootCA.crt", "4" * 64, "esb_root_ca"),
        Input("esb-python-base", BASE.removeprefix("sha256:")),
    } <= set(record.inputs)
    assert record.arguments == {"ESB_UID": "10001", "ESB_ROOT_CA_SHA256": "4" * 64}


def test_every_entry_of_the_lock_that_went_in_is_named(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, lock)
    record = inputs.of(GATEWAY, ID, tmp_path, lock, None)
    wheels = {one.sha256 for one in record.inputs if one.context in ("wheels", "uv-wheels")}
    sets = (lock.lock.wheels["gateway"], lock.lock.wheels["uv"])
    assert wheels == {pin.sha256 for one in sets for pin in one.wheels.values()}
    assert record.locked


def test_a_lock_that_moved_since_is_not_claimed(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, lock, **{"context wheels": ONE})
    record = inputs.of(GATEWAY, ID, tmp_path, lock, None)
    assert [one for one in record.inputs if one.context == "wheels"] == [
        Input("context wheels", ONE, "wheels")
    ]
    assert not record.locked


def test_a_build_that_fetched_for_itself_is_not_called_locked(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, None)
    assert not inputs.of(GATEWAY, ID, tmp_path, lock, None).locked
    assert not inputs.of(GATEWAY, ID, tmp_path, None, None).locked


def test_firecrackers_files_are_named_where_they_are_the_ones(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, lock, NODE, **{"context artefacts": STAND_INS.key})
    record = inputs.of(NODE, ID, tmp_path, lock, STAND_INS)
    assert Input("firecracker.tgz", "7" * 64, "artefacts") in record.inputs
    assert record.locked
    others = inputs.of(NODE, ID, tmp_path, lock, Artefacts("pinned", {"firecracker.tgz": "8" * 64}))
    assert Input("context artefacts", STAND_INS.key, "artefacts") in others.inputs
    assert not others.locked


def test_another_image_than_the_record_is_about_is_refused(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, lock)
    other = Digest("sha256:" + ONE)
    with pytest.raises(BadInput, match=f"no record of how {GATEWAY} {other} was built"):
        inputs.of(GATEWAY, other, tmp_path, lock, None)
    with pytest.raises(BadInput, match="no record"):
        inputs.of("esb-os-base", other, tmp_path, lock, None)


def test_a_parent_that_was_built_again_is_refused(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, lock)
    stamps.write(tmp_path, "esb-python-base", Stamp({"the way of building": "2"}, BASE, "", ""))
    with pytest.raises(BadInput, match="esb-python-base is another image now"):
        inputs.of(GATEWAY, ID, tmp_path, lock, None)


def test_the_provenance_names_every_input_of_the_record_by_digest(tmp_path: Path, lock: Locked) -> None:
    found = stamp(tmp_path, lock)
    record = inputs.of(GATEWAY, ID, tmp_path, lock, None)
    said = json.loads(provenance(record).encoded())
    assert said["subject"] == [{"name": GATEWAY, "digest": {"sha256": ID.removeprefix("sha256:")}}]
    assert (said["_type"], said["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    named = {(one["name"], one["digest"]["sha256"]) for one in _dependencies(said)}
    assert named == {(one.name, one.sha256) for one in record.inputs}
    key = hashlib.sha256(json.dumps(dict(found.parts), sort_keys=True).encode()).hexdigest()
    assert said["predicate"]["runDetails"]["metadata"]["invocationId"] == key


def test_the_provenance_is_the_same_however_the_record_is_ordered(tmp_path: Path, lock: Locked) -> None:
    stamp(tmp_path, lock)
    record = inputs.of(GATEWAY, ID, tmp_path, lock, None)
    other = replace(record, inputs=tuple(reversed(record.inputs)))
    assert provenance(other).encoded() == provenance(record).encoded()


def _dependencies(said: Any) -> list[Any]:
    found = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert isinstance(found, list)
    return found
