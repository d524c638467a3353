"""A person's own lines in ``.env`` survive us."""

from __future__ import annotations

import pytest
from esb_cli import dotenv


def test_ours_are_set_in_place_and_theirs_stay() -> None:
    old = "# mine\nCOMPOSE_PROFILES=x\nESB_PORT=1\n\nexport ESB_UID = 5\nnot an assignment\n"
    assert dotenv.merge(old, {"ESB_UID": "7", "ESB_PORT": "8443", "ESB_GID": "8"}) == (
        "# mine\nCOMPOSE_PROFILES=x\nESB_PORT=8443\n\nESB_UID=7\nnot an assignment\nESB_GID=8\n"
    )


def test_merging_twice_changes_nothing() -> None:
    values = {"A": "with space", "B": "x"}
    once = dotenv.merge("", values)
    assert dotenv.merge(once, values) == once


def test_a_name_that_stands_twice_is_set_once() -> None:
    assert dotenv.merge("A=1\nA=2\n", {"A": "3"}) == "A=3\n"


def test_a_commented_name_is_a_comment() -> None:
    assert dotenv.merge("# A=1\n", {"A": "2"}) == "# A=1\nA=2\n"


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("/plain/path-1.2_3", "/plain/path-1.2_3"),
        ("a b", "'a b'"),
        ("$HOME", "'$HOME'"),
        ("it's", r"'it\'s'"),
        ("", ""),
    ],
)
def test_values_are_taken_literally(value: str, quoted: str) -> None:
    assert dotenv.quote(value) == quoted
