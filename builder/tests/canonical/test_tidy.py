"""What of a built image counts: each habit dropped, each trace made constant, each mistake refused."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from esb_builder import oci
from esb_builder.archive import Node
from esb_builder.canonical.tape import Item
from esb_builder.canonical.tidy import CONSTANT, tidy
from esb_common.errors import BadInput
from esb_common.ids import Digest
from hypothesis import given
from hypothesis import strategies as st

FILE = Node("file", 0o644, 0, 0, 3, layer=Digest("sha256:1"), mtime=5)
FOLDER = Node("directory", 0o755, 0, 0, mtime=2_000_000_000)
LATE = oci.INSTANT + 1


def tidied(nodes: dict[str, Node], content: bytes = b"") -> dict[str, Item]:
    """The tidy tree without the constant files; ``content`` is that of every file."""
    found = tidy(nodes, lambda _, most: content[:most])
    return {path: item for path, item in found.items.items() if path not in CONSTANT}


def pyc(flags: int, mtime: int) -> bytes:
    return b"\xcb\x0d\x0d\x0a" + struct.pack("<III", flags, mtime, 7)


@pytest.mark.parametrize(
    "path",
    [
        ".dockerenv",
        "dev/console",
        "dev/pts",
        "proc/1",
        "sys/kernel",
        "run/.containerenv",
        "var/log/dpkg.log",
        "var/log/apt/history.log",
        "var/log/lastlog",
        "var/cache/ldconfig/aux-cache",
        "var/cache/apt/pkgcache.bin",
        "var/cache/apt/archives/a_1_amd64.deb",
        "var/cache/debconf/config.dat-old",
        "var/lib/dpkg/status-old",
        "var/lib/apt/lists/mirror_dists_InRelease",
        "etc/passwd-",
        "etc/subuid-",
    ],
)
def test_habits_are_dropped_and_named(path: str) -> None:
    found = tidy({path: FILE}, lambda _, __: b"")
    assert path not in found.items
    assert found.dropped == (path,)


@pytest.mark.parametrize(
    "path",
    [
        "dev",
        "proc",
        "sys",
        "run/lock",
        "var/log",
        "var/log/apt",
        "var/lib/apt/lists",
        "var/lib/dpkg",
        "development/x",
    ],
)
def test_folders_that_programs_expect_stay(path: str) -> None:
    assert list(tidy({path: FOLDER}, lambda _, __: b"").items) == [path]


@pytest.mark.parametrize(
    "path", ["var/lib/dpkg/status", "etc/passwd", "var/cache/debconf/config.dat", "var/log/readme"]
)
def test_files_that_say_something_stay(path: str) -> None:
    assert list(tidied({path: FILE})) == [path]


def test_what_an_engine_mounts_over_is_constant_whatever_was_there() -> None:
    machine = tidy({"etc": FOLDER, "etc/hostname": FILE, "etc/resolv.conf": FILE}, lambda _, __: b"factory-7")
    nothing = tidy({"etc": FOLDER}, lambda _, __: b"")
    assert machine.items == nothing.items
    assert {path: machine.items[path].content for path in CONSTANT} == dict(CONSTANT)


@given(st.integers(0, 2**40))
def test_no_time_is_later_than_the_epoch_and_earlier_ones_stay(mtime: int) -> None:
    (item,) = tidied({"usr/a": replace(FILE, mtime=mtime)}).values()
    assert item.mtime == min(mtime, oci.INSTANT)


def test_folders_and_the_checkout_have_one_time() -> None:
    found = tidied({"etc": replace(FOLDER, mtime=7), "app/services/x": replace(FILE, mtime=7)})
    assert {item.mtime for item in found.values()} == {oci.INSTANT}


def test_the_day_of_a_password_change_is_bounded() -> None:
    (item,) = tidied({"etc/shadow": FILE}, b"root:*:99999:0:99999:7:::\nesb:!:3:::::\n").values()
    assert item.content == b"root:*:20089:0:99999:7:::\nesb:!:3:::::\n"


def test_capabilities_and_owners_stay() -> None:
    node = replace(FILE, capability=b"\x01", uid=7, gid=8, mode=0o4755)
    (item,) = tidied({"usr/bin/ping": node}).values()
    assert (item.capability, item.uid, item.gid, item.mode) == (b"\x01", 7, 8, 0o4755)


def test_an_empty_place_of_secrets_is_dropped() -> None:
    assert tidied({"run/secrets": FOLDER, "run": FOLDER}) == tidied({"run": FOLDER})


@pytest.mark.parametrize("node", [FILE, replace(FILE, size=0)])
def test_a_secret_left_behind_is_refused_even_when_it_is_empty(node: Node) -> None:
    with pytest.raises(BadInput, match="/run/secrets/esb_root_ca was left in the image by a secret"):
        tidied({"run/secrets": FOLDER, "run/secrets/esb_root_ca": node})


def test_a_device_is_refused_outside_dev() -> None:
    with pytest.raises(BadInput, match="/srv/queue is a device, a socket or a FIFO"):
        tidied({"srv/queue": Node("other", 0o600, 0, 0)})
    assert tidied({"dev/null": Node("other", 0o666, 0, 0)}) == {}


def test_byte_code_that_is_bound_to_a_time_of_this_build_is_refused() -> None:
    with pytest.raises(BadInput, match=r"a\.pyc is bound to its source's time"):
        tidied({"a/b/a": FILE, "a/a.pyc": FILE}, pyc(0, LATE))


@pytest.mark.parametrize("head", [pyc(1, LATE), pyc(3, LATE), pyc(0, oci.INSTANT), b""])
def test_other_byte_code_stays(head: bytes) -> None:
    assert list(tidied({"a.pyc": FILE}, head)) == ["a.pyc"]


@pytest.mark.parametrize("nodes", [{"a\udcff": FILE}, {"a": Node("symlink", 0o777, 0, 0, target="\udcff")}])
def test_a_name_that_is_not_utf_8_is_refused(nodes: dict[str, Node]) -> None:
    with pytest.raises(BadInput, match="not UTF-8"):
        tidy(nodes, lambda _, __: b"")
