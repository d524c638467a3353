import tomllib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from esb_builder.lock.model import Lock
from esb_builder.lock.text import parse, render
from esb_common.errors import BadInput
from hypothesis import given
from hypothesis import strategies as st
from lock_strategies import LOCK, few

HEX = "0" * 64
DEB = f'version = "1", architecture = "all", suite = "bookworm", size = 1, sha256 = "{HEX}"'
SMALL = f"""
schema = 1
source = "debian"
architecture = "amd64"
[debian.os-base]
asked = ["tzdata"]
[debian.os-base.packages]
tzdata = {{ {DEB}, path = "pool/a.deb" }}
"""


@few
@given(LOCK)
def test_what_was_written_is_read(lock: Lock) -> None:
    assert parse(render(lock)) == lock


def turned[T](table: Mapping[str, T]) -> dict[str, T]:
    return dict(reversed(list(table.items())))


@few
@given(LOCK)
def test_equal_locks_give_equal_text_in_whatever_order_they_were_made(lock: Lock) -> None:
    other = replace(
        lock,
        archives=turned(lock.archives),
        steps=turned(lock.steps),
        wheels=turned(lock.wheels),
        artefacts=turned(lock.artefacts),
        images=turned(lock.images),
    )
    assert render(other) == render(lock)


@few
@given(LOCK)
def test_the_text_is_one_that_every_reader_of_toml_takes(lock: Lock) -> None:
    assert tomllib.loads(render(lock))["schema"] == 1


@few
@given(st.text())
def test_junk_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@few
@given(LOCK, st.data())
def test_a_damaged_lock_is_refused_or_another_lock(lock: Lock, data: st.DataObject) -> None:
    text = render(lock)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    try:
        parse(text[:start] + data.draw(st.text(max_size=4)) + text[end:])
    except BadInput as error:
        assert error.fact.startswith("esb.lock")  # noqa: PT017 -- both outcomes are right


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema = 1", "schema = 2", "schema 2; this ESB knows 1"),
        ("schema = 1", "", "schema None"),
        ('source = "debian"', 'source = "ubuntu"', "source is 'ubuntu', not one of: debian, registry"),
        ('source = "debian"', "", "source is missing"),
        ('architecture = "amd64"', "architecture = 64", "architecture is not of type str"),
        (HEX, "0" * 63, "debian.os-base.packages.tzdata: sha256 is"),
        ("size = 1", "size = -1", "size is -1"),
        ("size = 1", "size = true", "size is not of type int"),
        ("size = 1", 'size = "1"', "size is not of type int"),
        ("pool/a.deb", "pool/../../etc/passwd", "path is"),
        ("pool/a.deb", "/etc/passwd", "path is"),
        ("pool/a.deb", "https://host/a.deb", "path is"),
        ('version = "1", ', "", "version is missing"),
        ('version = "1"', 'version = "1", extra = "x"', "extra is not known to this ESB"),
        ('asked = ["tzdata"]', "asked = [1]", "asked holds something that is no name"),
        ("schema = 1", 'schema = 1\nunknown = "x"', "unknown is not known to this ESB"),
        ("[debian.os-base]", "[debian.os-base", "esb.lock: "),
    ],
)
def test_each_fault_is_named_with_its_place(old: str, new: str, said: str) -> None:
    parse(SMALL)
    with pytest.raises(BadInput) as caught:
        parse(SMALL.replace(old, new, 1))
    assert said in caught.value.fact
