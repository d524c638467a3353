"""Every check holds on a right family and fails on images that are wrong in its one respect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import families
import pytest
from esb_builder.archive import Archive
from esb_builder.ca import issue
from esb_builder.oci import Entry
from esb_builder.verify import CHECKS, firecracker, subjects, table
from esb_builder.verify.trust import BAKED, BUNDLE, STORE, subject_hash
from families import LIB, Family, elf, entries

WANTED, WANTING = "libwanted.so.1", "/opt/a/want.so"
Spoil = Callable[[Family], None]


def everywhere(drafts: Family, path: str, **changes: object) -> None:
    for draft in drafts.values():
        draft.alter(path, **changes)


def other_system(drafts: Family) -> None:
    everywhere(drafts, "usr/lib/os-release", content=b'ID=alpine\nVERSION_ID="3.20"\n')


def other_release(drafts: Family) -> None:
    everywhere(drafts, "usr/lib/os-release", content=b'ID=debian\nVERSION_ID="13"\n')


def no_libc(drafts: Family) -> None:
    for draft in drafts.values():
        draft.drop(f"{LIB}/libc.so.6")


def second_libc(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("usr/lib/ld-musl-x86_64.so.1", mode=0o755, content=elf()))


def foreign_base(drafts: Family) -> None:
    drafts["esb-gateway"].layers[0] = families.folders("etc", "usr", "opt")


def python_without_its_base(drafts: Family) -> None:
    gateway = drafts["esb-gateway"]
    gateway.layers = [*gateway.layers[:3], {**gateway.layers[3], **gateway.layers[4]}, gateway.layers[5]]


def other_service(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("app/services/runtime-node/src/esb_node/__init__.py"))


def shipped_tests(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("app/services/gateway/src/esb_gateway/tests/test_it.py"))


def stale_byte_code(drafts: Family) -> None:
    path = "app/services/gateway/src/esb_gateway/__pycache__/gone.cpython-312.pyc"
    drafts["esb-gateway"].put(Entry(path))


def stray_file(drafts: Family) -> None:
    drafts["esb-runtime-node"].put(Entry("app/.env", content=b"ESB_PORT=1\n"))


def no_entrypoint(drafts: Family) -> None:
    drafts["esb-gateway"].drop("app/entrypoint.sh")


def no_venv(drafts: Family) -> None:
    drafts["esb-gateway"].drop("app/.venv/bin/python")


def no_root_ca(drafts: Family) -> None:
    drafts["esb-os-base"].drop(BAKED)


def linked_root_ca(drafts: Family) -> None:
    drafts["esb-os-base"].alter(BAKED, kind="symlink", target="/etc/ssl/certs/ca-certificates.crt")


def unreadable_root_ca(drafts: Family) -> None:
    everywhere(drafts, BAKED, mode=0o400)


def owned_root_ca(drafts: Family) -> None:
    everywhere(drafts, BAKED, uid=10001)


def two_certificates(drafts: Family) -> None:
    both = issue.pem(families.ROOT_CA) + issue.pem(families.OTHER_CA)
    everywhere(drafts, BAKED, content=both)


def no_certificate(drafts: Family) -> None:
    everywhere(drafts, BAKED, content=b"not a certificate\n")


def expired(drafts: Family) -> None:
    for draft in drafts.values():
        families.refresh(draft, families.certificate(days=5, begins=-30))


def not_yet_valid(drafts: Family) -> None:
    for draft in drafts.values():
        families.refresh(draft, families.certificate(begins=10))


def no_authority(drafts: Family) -> None:
    for draft in drafts.values():
        families.refresh(draft, families.certificate(ca=False))


def label_of_another(drafts: Family) -> None:
    drafts["esb-os-base"].config["Labels"] = {"esb.root_ca.file_sha256": "0" * 64}


def fingerprint_of_another(drafts: Family) -> None:
    labels = drafts["esb-os-base"].config["Labels"]
    assert isinstance(labels, dict)
    drafts["esb-os-base"].config["Labels"] = labels | {"esb.root_ca.fingerprint": "0" * 64}


def no_label(drafts: Family) -> None:
    del drafts["esb-os-base"].config["Labels"]


def not_in_bundle(drafts: Family) -> None:
    everywhere(drafts, BUNDLE, content=issue.pem(families.OTHER_CA))


def no_hash_link(drafts: Family) -> None:
    for draft in drafts.values():
        draft.drop(f"{STORE}/{subject_hash(families.ROOT_CA)}.0")


def hash_link_of_another_name(drafts: Family) -> None:
    no_hash_link(drafts)
    drafts["esb-os-base"].put(
        Entry(f"{STORE}/{subject_hash(families.OTHER_CA)}.0", "symlink", target="esb-rootCA.pem")
    )


def older_store(drafts: Family) -> None:
    families.refresh(drafts["esb-python-base"], families.OTHER_CA)


def added_authority(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry(f"{STORE}/extra.pem", content=issue.pem(families.OTHER_CA)))


def removed_authority(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry(f"{STORE}/.wh.esb-rootCA.pem"))


def root_user(drafts: Family) -> None:
    drafts["esb-gateway"].config["User"] = "0:0"


def no_user(drafts: Family) -> None:
    del drafts["esb-gateway"].config["User"]


def named_user(drafts: Family) -> None:
    drafts["esb-gateway"].config["User"] = "esb"


def root_group(drafts: Family) -> None:
    drafts["esb-gateway"].config["User"] = "10001:0"


def foreign_certificates_place(drafts: Family) -> None:
    drafts["esb-gateway"].alter("home/esb/.esb/certs", uid=0)


def missing_library(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("app/.venv/lib/_psycopg.so", content=elf("libpq.so.5", "libc.so.6")))


def removed_library(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("usr/local/lib/.wh.libpython3.12.so.1.0"))


def library_of_another_machine(drafts: Family) -> None:
    drafts["esb-lambda-python"].layers[-1] = entries(
        Entry("var/runtime/one.so", content=elf("libother.so.1", runpath="$ORIGIN")),
        Entry("var/runtime/libother.so.1", content=elf(machine=183)),
    )


def missing_loader(drafts: Family) -> None:
    program = elf("libc.so.6", interpreter="/lib/ld-musl-x86_64.so.1")
    drafts["esb-runtime-node"].put(Entry("usr/bin/foreign", mode=0o755, content=program))


def damaged_program(drafts: Family) -> None:
    drafts["esb-runtime-node"].put(Entry("usr/bin/damaged", mode=0o755, content=elf("libc.so.6")[:100]))


def firecracker_in_containerd_mode(drafts: Family) -> None:
    drafts["esb-runtime-node"].put(Entry("usr/local/bin/firecracker-v1.15.1-x86_64", mode=0o755))


def guest_kernel_in_the_gateway(drafts: Family) -> None:
    drafts["esb-gateway:firecracker"].put(Entry("boot/vmlinux-6.1.155"))


def no_jailer(drafts: Family) -> None:
    drafts["esb-runtime-node:firecracker"].drop("usr/local/bin/jailer")


def stand_ins_as_pinned(drafts: Family) -> None:
    node = drafts["esb-runtime-node:firecracker"]
    relabel(drafts, "pinned")
    node.alter(firecracker.TAKEN, content=b"pinned\n")


def stand_ins_with_another_label(drafts: Family) -> None:
    relabel(drafts, "pinned")


def firecracker_without_a_label(drafts: Family) -> None:
    relabel(drafts, "")


def relabel(drafts: Family, kind: str) -> None:
    config = drafts["esb-runtime-node:firecracker"].config
    assert isinstance(config["Labels"], dict)
    config["Labels"] = config["Labels"] | {"esb.artefacts": kind}


def wireguard_tools_in_the_plain_gateway(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("usr/bin/wg", mode=0o755))


def user_space_wireguard_in_the_plain_node(drafts: Family) -> None:
    drafts["esb-runtime-node"].put(Entry("opt/wireguard-go", mode=0o755))


def wireguards_package_in_the_plain_gateway(drafts: Family) -> None:
    drafts["esb-gateway"].put(
        Entry("var/lib/dpkg/status", content=b"Package: libc6\n\nPackage: wireguard-tools\n")
    )


def no_user_space_wireguard(drafts: Family) -> None:
    drafts["esb-gateway:firecracker"].drop("usr/bin/wireguard-go")


def tunnel_that_cannot_run(drafts: Family) -> None:
    drafts["esb-runtime-node:firecracker"].alter("usr/local/bin/esb-tunnel", mode=0o644)


def tunnel_without_root(drafts: Family) -> None:
    drafts["esb-gateway:firecracker"].config["User"] = "10001:10001"


MUTATIONS: list[tuple[str, str, Spoil, str]] = [
    ("S1", "esb-os-base", other_system, "alpine|nothing"),
    ("S1", "esb-gateway", other_release, "not Debian 12"),
    ("S1", "esb-os-base", no_libc, "no glibc"),
    ("S1", "esb-gateway", second_libc, "musl"),
    ("S1", "esb-gateway", foreign_base, "does not stand on esb-os-base"),
    ("S2", "esb-gateway", foreign_base, "does not stand on esb-python-base"),
    ("S2", "esb-gateway", python_without_its_base, "does not stand on esb-python-base: layer 4"),
    ("S6", "esb-gateway", other_service, "not the service's own"),
    ("S6", "esb-gateway", shipped_tests, "not the service's own"),
    ("S6", "esb-gateway", stale_byte_code, "not the service's own"),
    ("S6", "esb-runtime-node", stray_file, "not the service's own"),
    ("S6", "esb-gateway", no_entrypoint, "missing"),
    ("S6", "esb-gateway", no_venv, "no venv"),
    ("S13", "esb-os-base", no_root_ca, "not baked in"),
    ("S13", "esb-os-base", linked_root_ca, "not baked in"),
    ("S13", "esb-gateway", unreadable_root_ca, "0400"),
    ("S13", "esb-gateway", owned_root_ca, "10001"),
    ("S13", "esb-os-base", two_certificates, "2 readable certificates"),
    ("S13", "esb-os-base", no_certificate, "0 readable certificates"),
    ("S13", "esb-os-base", expired, "expired on"),
    ("S13", "esb-os-base", not_yet_valid, "not valid before"),
    ("S13", "esb-os-base", no_authority, "not a CA"),
    ("S13", "esb-os-base", label_of_another, "label esb.root_ca.file_sha256"),
    ("S13", "esb-os-base", fingerprint_of_another, "label esb.root_ca.fingerprint"),
    ("S13", "esb-os-base", no_label, "says nothing"),
    ("S14", "esb-os-base", not_in_bundle, "not in the bundle"),
    ("S14", "esb-os-base", no_hash_link, "no hash link"),
    ("S14", "esb-os-base", hash_link_of_another_name, "no hash link"),
    ("S14", "esb-os-base", no_root_ca, "no one baked root CA"),
    ("S15", "esb-python-base", older_store, "differs from esb-os-base's"),
    ("S15", "esb-gateway", added_authority, "differs from esb-os-base's"),
    ("S15", "esb-gateway", removed_authority, "differs from esb-os-base's"),
    ("S19", "esb-runtime-node", firecracker_in_containerd_mode, "a file of Firecracker's is in the image"),
    (
        "S19",
        "esb-gateway:firecracker",
        guest_kernel_in_the_gateway,
        "a file of Firecracker's is in the image",
    ),
    ("S19", "esb-runtime-node:firecracker", no_jailer, "is missing"),
    ("S19", "esb-runtime-node:firecracker", stand_ins_as_pinned, "not the pinned file"),
    ("S19", "esb-runtime-node:firecracker", stand_ins_with_another_label, "says pinned, the image stand-ins"),
    ("S19", "esb-runtime-node:firecracker", firecracker_without_a_label, "says nothing"),
    ("S20", "esb-gateway", wireguard_tools_in_the_plain_gateway, "WireGuard program"),
    ("S20", "esb-runtime-node", user_space_wireguard_in_the_plain_node, "WireGuard program"),
    ("S20", "esb-gateway", wireguards_package_in_the_plain_gateway, "wireguard-tools is installed"),
    ("S20", "esb-gateway:firecracker", no_user_space_wireguard, "is missing"),
    ("S20", "esb-runtime-node:firecracker", tunnel_that_cannot_run, "is missing"),
    ("S21", "esb-gateway", root_user, "0:0"),
    ("S21", "esb-gateway", no_user, "root"),
    ("S21", "esb-gateway", named_user, "esb"),
    ("S21", "esb-gateway", root_group, "10001:0"),
    ("S21", "esb-gateway", foreign_certificates_place, "belongs to 0:10001"),
    ("S22", "esb-gateway:firecracker", tunnel_without_root, "10001:10001, not root"),
    ("S23", "esb-gateway", missing_library, "libpq.so.5 is missing"),
    ("S23", "esb-gateway", removed_library, "libpython3.12.so.1.0 is missing"),
    ("S23", "esb-lambda-python", library_of_another_machine, "libother.so.1 is missing"),
    ("S23", "esb-runtime-node", missing_loader, "loader"),
    ("S23", "esb-runtime-node", damaged_program, "damaged"),
]


def test_every_row_holds_on_a_right_family(tmp_path: Path) -> None:
    with families.judged(tmp_path, families.family()) as verdicts:
        assert {key: one for key, one in verdicts.items() if one.status != "pass"} == {}
        assert {row for row, _ in verdicts} == {check.row for check in CHECKS}


@pytest.mark.parametrize(
    ("row", "image", "spoil", "said"), MUTATIONS, ids=lambda one: getattr(one, "__name__", None)
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
    assert {row for row, *_ in MUTATIONS} == {check.row for check in CHECKS}


def test_an_image_alone_shows_only_what_needs_no_other(tmp_path: Path) -> None:
    drafts = {"esb-gateway": families.family()["esb-gateway"]}
    with families.judged(tmp_path, drafts) as verdicts:
        shown = {row: verdict.status for (row, _), verdict in verdicts.items()}
    assert shown == {row: "not shown" if row in {"S1", "S2", "S15"} else "pass" for row in shown}
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
