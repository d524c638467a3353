import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from authorities import NOW
from esb_builder.ca import issue
from esb_builder.sources.http import TRIES, Gone, Location, Unreachable, Web, download, obtain, read
from esb_builder.store import Blob, Corrupt, Store
from local_web import Site, serving

CONTENT = bytes(range(256)) * 2000
BLOB = Blob(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"/file": CONTENT})) as site:
        yield site


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def web(pauses: list[float]) -> Iterator[Web]:
    web = Web.of({}, pauses.append, timeout_s=5)
    yield web
    web.connections.close()


def at(site: Site, path: str = "/file") -> Location:
    return Location(site.address + path)


class Count:
    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, number: int) -> None:
        self.bytes += number


def test_a_file_comes_whole_and_is_counted(site: Site, store: Store, web: Web) -> None:
    count = Count()
    assert download(web, at(site), BLOB, store, count)
    assert store.is_sound(BLOB)
    assert count.bytes == len(CONTENT)
    assert not download(web, at(site), BLOB, store, count)
    assert len(site.asked) == 1


def test_what_broke_off_is_continued_by_range(site: Site, store: Store, web: Web) -> None:
    site.cut["/file"] = [100_000, 50_000]
    count = Count()
    download(web, at(site), BLOB, store, count)
    ranges = [headers.get("range") for headers in site.asked_for("/file")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert store.is_sound(BLOB)
    assert count.bytes == len(CONTENT)


def test_a_server_without_range_is_read_from_the_start(site: Site, store: Store, web: Web) -> None:
    site.ranges = False
    site.cut["/file"] = [100_000]
    count = Count()
    download(web, at(site), BLOB, store, count)
    assert store.is_sound(BLOB)
    assert count.bytes == len(CONTENT)


def test_a_server_that_answers_with_another_range_is_read_from_the_start(
    site: Site, store: Store, web: Web
) -> None:
    site.wrong_range = True
    site.cut["/file"] = [100_000]
    download(web, at(site), BLOB, store, Count())
    assert [headers.get("range") for headers in site.asked_for("/file")] == [None, "bytes=100000-", None]
    assert store.is_sound(BLOB)


@pytest.mark.parametrize("left", [CONTENT[:1000], CONTENT, b"\0" * 1000, CONTENT + b"x"])
def test_what_an_earlier_run_left_is_used_only_if_right(
    site: Site, store: Store, web: Web, left: bytes
) -> None:
    part = store.path(BLOB.sha256 + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    download(web, at(site), BLOB, store, Count())
    assert store.is_sound(BLOB)
    assert not part.exists()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again_after_growing_pauses(
    site: Site, store: Store, web: Web, pauses: list[float], status: int
) -> None:
    site.answers["/file"] = [status] * 3
    download(web, at(site), BLOB, store, Count())
    assert pauses == [0.5, 1.0, 2.0]
    assert store.is_sound(BLOB)


def test_trying_ends(site: Site, store: Store, web: Web) -> None:
    site.answers["/file"] = [503] * 99
    with pytest.raises(Unreachable, match="HTTP 503"):
        download(web, at(site), BLOB, store, Count())
    assert len(site.asked) == TRIES


def test_progress_renews_patience(site: Site, store: Store, web: Web) -> None:
    site.cut["/file"] = [20_000] * 2 * TRIES
    download(web, at(site), BLOB, store, Count())
    assert store.is_sound(BLOB)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Gone), (410, Gone), (403, Unreachable), (401, Unreachable)]
)
def test_a_clear_no_is_not_tried_again(
    site: Site, store: Store, web: Web, status: int, kind: type[Exception]
) -> None:
    site.answers["/file"] = [status]
    with pytest.raises(kind):
        download(web, at(site), BLOB, store, Count())
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "wrong", [CONTENT[:-1] + b"!", CONTENT + b"x", CONTENT[:-1]], ids=["corrupted", "too long", "too short"]
)
def test_other_bytes_are_refused_and_not_tried_again(
    site: Site, store: Store, web: Web, wrong: bytes
) -> None:
    site.files["/file"] = wrong
    with pytest.raises(Corrupt, match="has another file"):
        download(web, at(site), BLOB, store, Count())
    assert len(site.asked) == 1
    assert list((store.folder / "sha256").iterdir()) == []


def test_what_always_breaks_off_is_never_taken(site: Site, store: Store, web: Web) -> None:
    site.ranges = False
    site.cut["/file"] = [1000] * TRIES
    with pytest.raises(Unreachable, match="broke off after 1000 bytes"):
        download(web, at(site), BLOB, store, Count())
    assert not store.has(BLOB)


def test_a_dead_server_is_unreachable(store: Store, web: Web) -> None:
    with serving(Site()) as site:
        address = site.address
    with pytest.raises(Unreachable, match="tried 5 times"):
        download(web, Location(address + "/file"), BLOB, store, Count())


def test_the_next_place_is_asked_where_one_fails(site: Site, store: Store, web: Web) -> None:
    site.files["/bad"] = b"other"
    assert obtain(web, [at(site, "/absent"), at(site, "/bad"), at(site)], BLOB, store)
    assert store.is_sound(BLOB)


def test_where_none_has_it_all_are_named(site: Site, store: Store, web: Web) -> None:
    with pytest.raises(Gone) as caught:
        obtain(web, [at(site, "/one"), at(site, "/two")], BLOB, store)
    assert "/two" in caught.value.fact
    assert "/one" in caught.value.hint


def test_a_file_address_is_read_from_disk(tmp_path: Path, store: Store, web: Web) -> None:
    (tmp_path / "a file").write_bytes(CONTENT)
    download(web, Location(f"file://{tmp_path}/a%20file"), BLOB, store, Count())
    assert store.is_sound(BLOB)
    with pytest.raises(Gone):
        read(web, Location(f"file://{tmp_path}/absent"), 10)


def test_connections_are_used_again(site: Site, web: Web) -> None:
    for _ in range(5):
        assert read(web, at(site), 1 << 20) == CONTENT
    assert len(site.asked) == 5
    [idle] = web.connections._idle.values()
    assert len(idle) == 1


def test_a_kept_connection_that_died_is_replaced(web: Web) -> None:
    site = Site({"/file": CONTENT})
    with serving(site):
        read(web, at(site), 1 << 20)
        port = int(site.address.rpartition(":")[2])
        [idle] = web.connections._idle.values()
        idle[0].sock.shutdown(2)
        assert read(web, at(site), 1 << 20) == CONTENT
    assert port


def test_passwords_go_to_their_server_and_not_where_it_redirects(site: Site, web: Web) -> None:
    with serving(Site({"/file": CONTENT})) as other:
        site.redirects["/moved"] = f"{other.address}/file"
        host = site.address.removeprefix("http://")
        location = Location(f"http://me:p%40ss@{host}/moved")
        assert read(web, location, 1 << 20) == CONTENT
        assert site.asked_for("/moved")[0]["authorization"] == "Basic bWU6cEBzcw=="
        assert "authorization" not in other.asked_for("/file")[0]
        assert "p%40ss" not in location.shown
        assert "p%40ss" not in repr(location)


def test_circles_of_redirects_end(site: Site, web: Web) -> None:
    site.redirects["/a"] = "/a"
    with pytest.raises(Unreachable, match="redirects"):
        read(web, at(site, "/a"), 10)


def test_the_environments_proxy_is_used_unless_excepted(site: Site, web: Web) -> None:
    proxied = replace(web, environ={"http_proxy": site.address})
    site.files["http://esb.invalid/file"] = CONTENT
    assert read(proxied, Location("http://esb.invalid/file"), 1 << 20) == CONTENT
    host = site.address.removeprefix("http://").partition(":")[0]
    excepted = replace(web, environ={"http_proxy": "http://127.0.0.1:1", "no_proxy": f"esb.invalid, {host}"})
    assert read(excepted, at(site), 1 << 20) == CONTENT


def test_a_locations_own_proxy_wins(site: Site, web: Web) -> None:
    elsewhere = replace(web, environ={"http_proxy": "http://127.0.0.1:1"})
    site.files["http://esb.invalid/file"] = CONTENT
    with_password = site.address.replace("http://", "http://me:secret@")
    assert read(elsewhere, Location("http://esb.invalid/file", proxy=with_password), 1 << 20) == CONTENT
    assert site.asked[0][1]["proxy-authorization"] == "Basic bWU6c2VjcmV0"
    assert read(elsewhere, replace(at(site), proxy=""), 1 << 20) == CONTENT


def test_an_endless_index_is_refused(site: Site, web: Web) -> None:
    with pytest.raises(Corrupt, match="larger than 10 bytes"):
        read(web, at(site), 10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root CA that nobody trusts yet, and a server certificate beside it."""
    key, server_key = issue.new_key(), issue.new_key()
    authority = issue.root(key, "proxy", NOW)
    (tmp_path / "root.pem").write_bytes(issue.pem(authority))
    leaf = issue.leaf(server_key, frozenset({"127.0.0.1"}), authority, key, NOW)
    (tmp_path / "server.pem").write_bytes(issue.pem(leaf) + issue.key_bytes(server_key))
    return tmp_path / "root.pem"


def test_tls_is_verified_against_the_systems_store_or_the_one_named(root: Path, pauses: list[float]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(root.with_name("server.pem"))
    with serving(Site({"/file": CONTENT}), context) as site:
        with pytest.raises(Unreachable, match="certificate is not trusted here") as caught:
            read(Web.of({}, pauses.append, timeout_s=5), at(site), 1 << 20)
        assert "update-ca-certificates" in caught.value.hint
        assert site.asked == []
        trusting = Web.of({"SSL_CERT_FILE": str(root)}, pauses.append, timeout_s=5)
        assert read(trusting, at(site), 1 << 20) == CONTENT
        trusting.connections.close()
    assert pauses == []
