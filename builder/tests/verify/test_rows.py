"""Every check holds on a right family and fails on images that are wrong in its one respect."""

from __future__ import annotations

import hashlib
from pathlib import Path

import families
import pytest
from esb_builder.archive import Archive
from esb_builder.oci import Entry
from esb_builder.verify import CHECKS, firecracker, subjects, table
from families import LIB, elf
from mutations import contents, recipes, rows
from mutations.rows import Spoil, missing_library

WANTED, WANTING = "libwanted.so.1", "/opt/a/want.so"
IMAGES = [*rows.MUTATIONS, *contents.MUTATIONS]


def test_every_row_holds_on_a_right_family(tmp_path: Path) -> None:
    with families.judged(tmp_path, families.family()) as verdicts:
        assert {key: one for key, one in verdicts.items() if one.status != "pass"} == {}
        assert {row for row, _ in verdicts} == {check.row for check in CHECKS}


@pytest.mark.parametrize(
    ("row", "image", "spoil", "said"), IMAGES, ids=lambda one: getattr(one, "__name__", None)
)
def test_a_wrong_image_fails_its_row_and_says_why(
    row: str, image: str, spoil: Spoil, said: str, tmp_path: Path
) -> None:
    drafts = families.family()
    spoil(drafts)
    with families.judged(tmp_path, drafts) as verdicts:
        verdict = verdicts[row, image]
    assert verdict.status == "fail"
    assert any(part in finding.what for finding in verdict.findings for part in said.split("|"))
    assert all(finding.where and finding.mend for finding in verdict.findings)


def test_every_check_has_a_mutation_that_fails_it() -> None:
    """Of an image, or of a Dockerfile (which ``test_recipes.py`` judges)."""
    spoilt = {one[0] for one in (*IMAGES, *recipes.MUTATIONS)}
    assert spoilt == {check.row for check in CHECKS}


def test_the_table_says_each_row_once() -> None:
    rows = [check.row for check in CHECKS]
    assert len(rows) == len(set(rows))
    assert rows[:23] == [f"S{number}" for number in range(1, 24)]


def test_an_image_alone_shows_only_what_needs_no_other(tmp_path: Path) -> None:
    drafts = {"esb-gateway": families.family()["esb-gateway"]}
    with families.judged(tmp_path, drafts) as verdicts:
        shown = {row: verdict.status for (row, _), verdict in verdicts.items()}
    assert shown == {
        row: "not shown" if row in {"S1", "S2", "S3", "S15", "origin"} else "pass" for row in shown
    }
    assert "esb-os-base" in verdicts["S1", "esb-gateway"].missing


def test_a_missing_library_names_its_debian_package(tmp_path: Path) -> None:
    drafts = families.family()
    missing_library(drafts)
    drafts["esb-gateway"].put(Entry("app/.venv/lib/_other.so", content=elf("libnobody.so.7")))
    with families.judged(tmp_path, drafts) as verdicts:
        mends = {finding.what: finding.mend for finding in verdicts["S23", "esb-gateway"].findings}
    assert "add libpq5" in mends["the shared library libpq.so.5 is missing"]
    assert "not known here" in mends["the shared library libnobody.so.7 is missing"]


def test_dpkg_of_another_image_of_the_family_names_the_package(tmp_path: Path) -> None:
    drafts = families.family()
    missing_library(drafts)
    listing = Entry("var/lib/dpkg/info/libpq5-of-ours:amd64.list", content=f"/{LIB}/libpq.so.5\n".encode())
    drafts["esb-runtime-node"].put(listing)
    with families.judged(tmp_path, drafts) as verdicts:
        (finding,) = verdicts["S23", "esb-gateway"].findings
    assert "add libpq5-of-ours" in finding.mend


@pytest.mark.parametrize(
    ("where", "wanting", "loader"),
    [
        ("usr/local/lib", elf(WANTED), elf(WANTING)),
        ("usr/lib", elf(WANTED), elf(WANTING)),
        ("opt/libs", elf(WANTED, runpath="/nowhere:/opt/libs"), elf(WANTING)),
        ("opt/x.libs", elf(WANTED, rpath="${ORIGIN}/../x.libs"), elf(WANTING)),
        ("opt/lent", elf(WANTED), elf(WANTING, rpath="/opt/lent")),
    ],
)
def test_a_library_is_found_where_the_loader_looks(
    where: str, wanting: bytes, loader: bytes, tmp_path: Path
) -> None:
    drafts = families.family()
    gateway = drafts["esb-gateway"]
    gateway.put(Entry("opt/a/want.so", content=wanting))
    gateway.put(Entry("opt/a/program", content=loader))
    gateway.put(Entry(f"{where}/libwanted.so.1.2", content=elf("libc.so.6")))
    gateway.put(Entry(f"{where}/libwanted.so.1", "symlink", 0o777, target="libwanted.so.1.2"))
    with families.judged(tmp_path, drafts) as verdicts:
        assert verdicts["S23", "esb-gateway"].findings == ()


def test_a_runpath_does_not_serve_what_it_loads(tmp_path: Path) -> None:
    drafts = families.family()
    gateway = drafts["esb-gateway"]
    gateway.put(Entry("opt/a/want.so", content=elf(WANTED)))
    gateway.put(Entry("opt/a/program", content=elf(WANTING, runpath="/opt/lent")))
    gateway.put(Entry("opt/lent/libwanted.so.1", content=elf()))
    with families.judged(tmp_path, drafts) as verdicts:
        assert [one.what for one in verdicts["S23", "esb-gateway"].findings] == [
            "the shared library libwanted.so.1 is missing"
        ]


def test_firecracker_is_found_under_any_name_by_its_bytes(tmp_path: Path) -> None:
    drafts = families.family()
    drafts["esb-runtime-node"].put(Entry("usr/bin/innocent", mode=0o755, content=b"firecracker itself"))
    known = {18: hashlib.sha256(b"firecracker itself").hexdigest()}
    with Archive(families.write(tmp_path, "esb-runtime-node", drafts["esb-runtime-node"])) as archive:
        node = subjects([archive])["esb-runtime-node"]
        assert [one.where for one in firecracker.no_firecracker(node, known)] == ["usr/bin/innocent"]
        assert list(firecracker.no_firecracker(node, {18: "0" * 64})) == []


def test_what_holds_with_stand_ins_says_so(tmp_path: Path) -> None:
    with families.judged(tmp_path, families.family()) as verdicts:
        shown = table(list(verdicts.values()), {image: "sha256:0" for _, image in verdicts})
    assert verdicts["S19", "esb-runtime-node:firecracker"].note == "stand-ins"
    (line,) = [line for line in shown.splitlines() if line.startswith("S19")]
    assert line.count("holds (stand-ins)") == 1
    assert line.count("holds") == len({image for _, image in verdicts})


def test_a_root_ca_that_ends_within_90_days_is_a_warning_and_no_failure(tmp_path: Path) -> None:
    drafts = families.family()
    for draft in drafts.values():
        families.refresh(draft, families.certificate(days=80))
    with families.judged(tmp_path, drafts) as verdicts:
        verdict = verdicts["S13", "esb-os-base"]
        shown = table(list(verdicts.values()), {image: "sha256:0" for _, image in verdicts})
    assert verdict.status == "pass"
    (finding,) = verdict.findings
    assert (finding.level, finding.what) == ("warning", "the root CA expires in 80 days")
    assert "holds (warns)" in shown
    assert "warning: the root CA expires" in shown


def test_a_secret_that_spans_two_pieces_of_a_large_file_is_found(tmp_path: Path) -> None:
    drafts = families.family()
    content = b"." * ((8 << 20) - 40) + contents.KEY
    drafts["esb-gateway"].put(Entry("opt/large", content=content))
    with families.judged(tmp_path, drafts) as verdicts:
        assert [one.what for one in verdicts["secrets", "esb-gateway"].findings] == [
            "a private key is in a layer"
        ]


def test_frames_of_keys_and_examples_are_no_secrets(tmp_path: Path) -> None:
    drafts = families.family()
    lines = (
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\n" + b"MIIB" * 40,
        b"AKIAIOSFODNN7EXAMPLE\n",
        b"https://user:password@host.example/\n",
        b"https://username:password@host.example/\n",
        b"ghp_short sha256:" + b"a" * 64,
    )
    drafts["esb-gateway"].put(Entry("opt/manual", content=b"".join(lines)))
    with families.judged(tmp_path, drafts) as verdicts:
        assert verdicts["secrets", "esb-gateway"].findings == ()
