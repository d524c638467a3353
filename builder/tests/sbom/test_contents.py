"""What programs list in themselves; nothing that a damaged one could make us believe or fall over."""

import io
import json
import zlib
from typing import Any

import pytest
from esb_builder.archive import Window
from esb_builder.sbom import contents
from hypothesis import given, settings
from hypothesis import strategies as st
from stocked_families import CRATES, auditable


def window(content: bytes) -> Window:
    return Window(io.BytesIO(content), 0, len(content))


def listing(packages: Any) -> bytes:
    return auditable(zlib.compress(json.dumps({"packages": packages}).encode()))


def test_crates_are_read_with_what_they_need() -> None:
    found = contents.crates(window(listing(CRATES)))
    assert [(one.name, one.needs, one.root, one.built_in) for one in found] == [
        ("uv", (1, 2), True, True),
        ("serde", (), False, True),
        ("cc", (), False, False),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!/bin/sh\n",
        b"\x7fELF",
        auditable(b"not compressed"),
        auditable(zlib.compress(b"not json")),
        auditable(zlib.compress(b"[" * 100_000)),
        auditable(zlib.compress(b"[]")),
        listing([{"name": "x"}]),
        listing([{"name": "x", "version": "1", "dependencies": [7]}]),
        listing([{"name": "x", "version": "1", "dependencies": ["y"]}]),
        listing([1]),
        listing(7),
    ],
)
def test_a_program_that_lists_nothing_readable_has_no_crates(content: bytes) -> None:
    assert contents.crates(window(content)) == ()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_a_damaged_program_is_never_a_crash(noise: bytes, place: int) -> None:
    whole = listing(CRATES)
    contents.crates(window(whole[:place] + noise + whole[place + len(noise) :]))


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"..3.12.1\0..", "3.12.1"),
        (b"/usr/local/3.12.1\0 3.12.1\0", "3.12.1"),
        (b"3.13.0rc2\0", "3.13.0rc2"),
        (b"3.12.1+\0", "3.12.1+"),
        (b"3.12.1\0 and 3.12.2\0", ""),
        (b"3.12\0", ""),
        (b"", ""),
    ],
)
def test_cpython_says_one_version_or_none(content: bytes, version: str) -> None:
    assert contents.cpython(window(content)) == version


def test_a_version_across_two_pieces_is_found() -> None:
    chunk = 1 << 20
    for at in range(chunk - 8, chunk + 1):
        assert contents.cpython(window(b"." * at + b"3.12.1\0" + b"." * 10)) == "3.12.1"
