from dataclasses import replace

import pytest
from esb_builder.lock.model import Deb, Lock, Pin, Step, WheelSet
from esb_builder.lock.moves import Update, assembled, differences, entries, merged, refuse_other_world
from esb_common.errors import Misuse
from hypothesis import given
from lock_strategies import LOCK, few


def deb(version: str) -> Deb:
    return Deb(version, "amd64", "bookworm", "0" * 64, 1, f"pool/{version}.deb")


def pin(version: str) -> Pin:
    return Pin(version, "1" * 64, 1, f"{version}.whl")


def lock(openssl: str = "1", boto3: str = "1", requirements: str = "a", **more: str) -> Lock:
    packages = {"openssl": deb(openssl)} | {name: deb(version) for name, version in more.items()}
    return Lock(
        "debian",
        "amd64",
        steps={"os-base": Step(("openssl",), packages)},
        wheels={
            "worker": WheelSet(
                "worker/requirements.lock", requirements * 64, {"boto3": pin(boto3), "six": pin("1")}
            )
        },
    )


def update(*names: str) -> Update:
    return Update(frozenset(names))


@few
@given(LOCK)
def test_a_lock_taken_apart_is_put_together_again(one: Lock) -> None:
    assert assembled(one, entries(one)) == one


@few
@given(LOCK)
def test_a_lock_does_not_differ_from_itself(one: Lock) -> None:
    assert differences(one, one) == []


@few
@given(LOCK, LOCK)
def test_everything_moves_only_when_everything_may(old: Lock, new: Lock) -> None:
    assert merged(old, new, Update(everything=True)) == new


@few
@given(LOCK, LOCK)
def test_nothing_that_was_pinned_moves_by_itself(old: Lock, new: Lock) -> None:
    after = entries(merged(old, replace(new, source=old.source, architecture=old.architecture), update()))
    pinned = {where: entry for where, entry in entries(old).items() if where[2] and where[0] != "archives"}
    assert {where: after.get(where) for where in pinned} == pinned


def test_only_what_is_named_moves() -> None:
    old, new = lock("1", "1", gzip="1"), lock("2", "2", gzip="2", requirements="b")
    assert merged(old, new, update("openssl")) == lock("2", "1", gzip="1")
    assert merged(old, new, update("os-base")) == lock("2", "1", gzip="2")
    assert merged(old, new, update("debian")) == lock("2", "1", gzip="2")


def test_a_wheel_set_moves_as_one_with_its_file() -> None:
    old, new = lock("1", "1"), lock("2", "2", requirements="b")
    for name in ("worker", "boto3", "wheels"):
        assert merged(old, new, update(name)) == lock("1", "2", requirements="b")
    assert merged(old, new, update()) == old


def test_gaps_are_filled() -> None:
    assert merged(lock("1"), lock("2", gzip="2"), update()) == lock("1", gzip="2")


def test_what_is_needed_no_more_goes_only_when_it_may() -> None:
    old, new = lock("1", gzip="1"), lock("1")
    assert merged(old, new, update()) == old
    assert merged(old, new, update("gzip")) == new


def test_a_name_that_covers_nothing_is_misuse() -> None:
    with pytest.raises(Misuse, match="nothing named opnessl"):
        update("opnessl").refuse_unknown(lock())
    update("six", "openssl", "os-base", "worker", "wheels").refuse_unknown(lock())


def test_another_source_or_architecture_must_be_said() -> None:
    refuse_other_world(lock(), "debian", "amd64")
    with pytest.raises(Misuse, match="not for registry"):
        refuse_other_world(lock(), "registry", "amd64")
    with pytest.raises(Misuse, match="on arm64"):
        refuse_other_world(lock(), "debian", "arm64")


def test_moves_read_as_sentences() -> None:
    old = lock("1", "1", gzip="1")
    other = replace(old.steps["os-base"].packages["openssl"], version="2", size=2)
    new = replace(
        lock("1", "1", tar="3"), steps={"os-base": Step(("openssl",), {"openssl": other, "tar": deb("3")})}
    )
    assert [str(move) for move in differences(old, new)] == [
        "debian os-base gzip: no longer needed",
        "debian os-base openssl: 1 → 2",
        "debian os-base tar: new, 3",
    ]
    bytes_only = replace(
        old,
        wheels={
            "worker": replace(
                old.wheels["worker"], wheels={"boto3": replace(pin("1"), size=9), "six": pin("1")}
            )
        },
    )
    assert [str(move) for move in differences(old, bytes_only)] == ["wheels worker boto3: 1, other bytes"]
