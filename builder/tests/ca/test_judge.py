"""What may stand in ``rootCA.crt``, and what each wrong file is told."""

from __future__ import annotations

import datetime as dt

import pytest
from authorities import NOW, Company, authority
from cryptography.hazmat.primitives.serialization import Encoding
from esb_builder.ca import issue, judge
from esb_common.errors import BadInput

KEY = issue.new_key()
ROOT = issue.root(KEY, "factory", NOW)
OTHER = issue.root(issue.new_key(), "other", NOW)
LEAF = authority(KEY, "server", KEY, "server", NOW, days=100, ca=False)


def test_our_own_root_is_accepted() -> None:
    assert judge.root(issue.pem(ROOT), "rootCA.crt", NOW) == ROOT


def test_text_around_the_certificate_is_fine() -> None:
    assert judge.root(b"Bag Attributes\n" + issue.pem(ROOT) + b"\n\n", "rootCA.crt", NOW) == ROOT


@pytest.mark.parametrize(
    ("content", "when", "said"),
    [
        (b"", NOW, "is empty"),
        (b" \n", NOW, "is empty"),
        (b"garbage", NOW, "is not a PEM certificate"),
        (ROOT.public_bytes(Encoding.DER), NOW, "is not a PEM certificate"),
        (issue.pem(ROOT)[:200], NOW, "is not a PEM certificate"),
        (issue.pem(ROOT) + issue.pem(OTHER), NOW, "holds 2 certificates"),
        (issue.pem(LEAF), NOW, "is not a certificate authority"),
        (issue.pem(ROOT), NOW + dt.timedelta(days=4000), "expired on"),
        (issue.pem(ROOT), NOW - dt.timedelta(days=2), "is not valid before"),
        (issue.pem(ROOT) + issue.key_bytes(KEY), NOW, "holds a private key"),
    ],
)
def test_a_wrong_root_is_refused_with_the_reason(content: bytes, when: dt.datetime, said: str) -> None:
    with pytest.raises(BadInput, match=f"rootCA.crt {said}") as caught:
        judge.root(content, "rootCA.crt", when)
    assert caught.value.hint


def test_a_certificate_is_due_when_a_name_is_missing_or_its_end_is_near() -> None:
    names = frozenset({"localhost", "::1"})
    leaf = issue.leaf(issue.new_key(), names, ROOT, KEY, NOW)
    assert judge.names(leaf) == names
    assert judge.due(leaf, names, NOW) is None
    assert judge.due(leaf, names | {"gateway"}, NOW) == "it lacks gateway"
    near = leaf.not_valid_after_utc - dt.timedelta(days=29)
    assert judge.due(leaf, names, near) == f"it ends on {leaf.not_valid_after_utc:%Y-%m-%d}"
    assert judge.due(leaf, names, NOW - dt.timedelta(days=1)) == "it is not yet valid"


def test_signed_by_means_that_key_and_no_other() -> None:
    leaf = issue.leaf(issue.new_key(), ["localhost"], ROOT, KEY, NOW)
    assert judge.is_signed_by(leaf, ROOT)
    assert not judge.is_signed_by(leaf, issue.root(issue.new_key(), "factory", NOW))
    assert not judge.is_signed_by(leaf, Company().root)
