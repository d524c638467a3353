"""Images of the miniature family, each wrong in the one respect that its row is about."""

from __future__ import annotations

from collections.abc import Callable

import families
from esb_builder.ca import issue
from esb_builder.oci import Entry
from esb_builder.verify import firecracker
from esb_builder.verify.trust import BAKED, BUNDLE, STORE, subject_hash
from families import LIB, Family, elf, entries

SITE = "app/.venv/lib/python3.12/site-packages"
Spoil = Callable[[Family], None]


def everywhere(drafts: Family, path: str, **changes: object) -> None:
    for draft in drafts.values():
        draft.alter(path, **changes)


def parents_package_installed_again(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("var/lib/dpkg/info/libc6:amd64.list", content=b"/.\n"))


def renamed_system(drafts: Family) -> None:
    drafts["esb-gateway"].put(
        Entry("usr/lib/os-release", content=b'ID=debian\nVERSION_ID="12"\nVARIANT="edge"\n')
    )


def entrypoint_that_updates_the_store(drafts: Family) -> None:
    drafts["esb-gateway"].alter("app/entrypoint.sh", content=b"#!/bin/sh\nupdate-ca-certificates\n")


def command_that_updates_the_store(drafts: Family) -> None:
    drafts["esb-runtime-node"].config["Cmd"] = ["sh", "-c", "update-ca-certificates; exec agent"]


def store_of_the_gateways_user(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry(STORE, "directory", 0o755, *families.USER))


def store_for_its_group(drafts: Family) -> None:
    everywhere(drafts, BUNDLE, mode=0o664)


def other_entrypoint(drafts: Family) -> None:
    drafts["esb-gateway"].config["Entrypoint"] = ["python", "-m", "esb_gateway"]


def entrypoint_for_root_alone(drafts: Family) -> None:
    drafts["esb-runtime-node"].alter("app/entrypoint.sh", mode=0o700)


def package_beyond_the_lock(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry(f"{SITE}/requests-2.32.3.dist-info/METADATA"))


def locked_package_not_installed(drafts: Family) -> None:
    drafts["esb-runtime-node"].alter(
        "app/services/runtime-node/requirements.lock", content=b"grpcio==1.80.0 \\\n    --hash=sha256:0\n"
    )


def no_uv(drafts: Family) -> None:
    drafts["esb-gateway"].drop("usr/local/bin/uv")


def uv_for_root_alone(drafts: Family) -> None:
    drafts["esb-gateway"].alter("usr/local/bin/uv", mode=0o700)


def uv_that_is_a_script(drafts: Family) -> None:
    drafts["esb-runtime-node"].alter("usr/local/bin/uv", content=b"#!/bin/sh\nexec pip\n")


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
    ("S3", "esb-gateway", parents_package_installed_again, "again, or gone"),
    ("S3", "esb-gateway", renamed_system, "again, or gone"),
    ("S5", "esb-gateway", package_beyond_the_lock, "requests 2.32.3: the lock lacks it"),
    ("S5", "esb-runtime-node", locked_package_not_installed, "grpcio 1.80.0: the venv lacks it"),
    ("S6", "esb-gateway", other_service, "not the service's own"),
    ("S6", "esb-gateway", shipped_tests, "not the service's own"),
    ("S6", "esb-gateway", stale_byte_code, "not the service's own"),
    ("S6", "esb-runtime-node", stray_file, "not the service's own"),
    ("S6", "esb-gateway", no_entrypoint, "missing"),
    ("S6", "esb-gateway", no_venv, "no venv"),
    ("S9", "esb-gateway", entrypoint_that_updates_the_store, "updates the trust store at run time"),
    ("S9", "esb-runtime-node", command_that_updates_the_store, "command updates the trust store"),
    ("S9", "esb-gateway", store_of_the_gateways_user, "owner 10001"),
    ("S9", "esb-os-base", store_for_its_group, "mode 0664"),
    ("S12", "esb-gateway", other_entrypoint, "starts the service"),
    ("S12", "esb-runtime-node", entrypoint_for_root_alone, "not everybody may run"),
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
    ("S18", "esb-gateway", no_uv, "not in the image"),
    ("S18", "esb-gateway", uv_for_root_alone, "mode 0700"),
    ("S18", "esb-runtime-node", uv_that_is_a_script, "no program"),
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
