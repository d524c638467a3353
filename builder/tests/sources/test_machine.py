from dataclasses import replace
from pathlib import Path

import pytest
from esb_builder.base import Apt
from esb_builder.sources.http import Web
from esb_builder.sources.machine import Machine, mirrors_of, suites_of
from esb_common.errors import Misuse, NotPossibleHere

SOURCES = (
    "deb http://one.invalid/debian bookworm main",
    "deb http://two.invalid/debian bookworm main",
    "deb http://one.invalid/debian-security bookworm-security main",
    "deb copy:/srv/mirror bookworm-updates main",
    "deb tor+http://onion.invalid/debian bookworm-backports main",
)


def machine(settings: str = "", **mirrors: str) -> Machine:
    web = Web.of({}, lambda _: None)
    return Machine(web, Apt(SOURCES, settings), mirrors, Path("uv"), {}, {})


def test_a_pool_path_is_looked_for_at_every_source_of_its_suite() -> None:
    found = [one.address for one in machine().archive("bookworm", "pool/a.deb")]
    assert found == ["http://one.invalid/debian/pool/a.deb", "http://two.invalid/debian/pool/a.deb"]
    assert suites_of(Apt(SOURCES, ""))[:3] == ["bookworm", "bookworm-security", "bookworm-updates"]


def test_sources_on_disk_are_read_from_disk() -> None:
    assert machine().archive("bookworm-updates", "a")[0].address == "file:///srv/mirror/a"


def test_a_way_that_we_do_not_speak_is_named() -> None:
    with pytest.raises(NotPossibleHere, match=r"tor\+http:"):
        machine().archive("bookworm-backports", "a")
    with pytest.raises(NotPossibleHere, match="no source for trixie"):
        machine().archive("trixie", "a")


@pytest.mark.parametrize(
    ("setting", "proxy"),
    [
        ("", None),
        ('Acquire::http::Proxy "http://proxy.invalid:3128";', "http://proxy.invalid:3128"),
        ('Acquire::http::Proxy "DIRECT";', ""),
        ('Acquire::http::Proxy "http://all.invalid";\nAcquire::http::Proxy::one.invalid "DIRECT";', ""),
        (
            'Acquire::http::Proxy "http://all.invalid";\nAcquire::http::Proxy::x "DIRECT";',
            "http://all.invalid",
        ),
    ],
)
def test_apts_proxy_holds_for_apts_mirrors_only(setting: str, proxy: str | None) -> None:
    here = machine(setting, store="https://esb.invalid/store")
    assert here.archive("bookworm", "a")[0].proxy == proxy
    assert here.blob("0" * 64)[0].proxy is None


def test_named_mirrors_are_addresses_or_folders() -> None:
    found = mirrors_of(
        "store=https://esb.invalid/store  registry=/srv/an image guests=file:///x".replace("n i", "n-i")
    )
    assert found == {
        "store": "https://esb.invalid/store",
        "registry": "file:///srv/an-image",
        "guests": "file:///x",
    }
    here = machine(store="https://esb.invalid/store/")
    assert here.blob("ab")[0].address == "https://esb.invalid/store/sha256/ab"
    assert here.mirror("guests", "a") == []


def test_an_indexs_password_goes_to_its_own_host_only() -> None:
    here = replace(machine(), uv_environ={"UV_DEFAULT_INDEX": "https://me:secret@index.invalid/simple"})
    assert here.indexed("https://index.invalid/f/a.whl").address == "https://me:secret@index.invalid/f/a.whl"
    assert here.indexed("https://files.invalid/a.whl").address == "https://files.invalid/a.whl"
    assert machine().indexed("https://index.invalid/a.whl").address == "https://index.invalid/a.whl"


@pytest.mark.parametrize("text", ["store", "=x", "store=ftp://x", "Store=http://x", "store=relative/path"])
def test_other_words_are_misuse(text: str) -> None:
    with pytest.raises(Misuse, match="ESB_MIRRORS"):
        mirrors_of(text)
