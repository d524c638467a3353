"""``ca init`` and ``ca check``: our own authority, a company's, and everything that can be wrong."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from authorities import NOW, Company, authority, folders
from esb_builder import ca
from esb_builder.ca import Folders, files, handshake, issue
from esb_common.errors import BadInput


@pytest.fixture
def place(tmp_path: Path) -> Folders:
    return folders(tmp_path)


def contents(place: Folders) -> dict[str, bytes]:
    everything = (place.root, place.certificate, place.key, place.request, place.own_root, place.own_key)
    return {str(path): path.read_bytes() for path in everything if path.exists()}


def give_root(place: Folders, content: bytes) -> None:
    place.certificates.mkdir(parents=True, exist_ok=True)
    place.root.write_bytes(content)


# --- our own authority ----------------------------------------------------------------------


def test_a_first_init_makes_an_authority_and_a_certificate_that_clients_accept(place: Folders) -> None:
    trust = ca.init(place)
    assert trust.client_trust_file == place.root
    assert not trust.company
    assert trust.request_file is None
    assert trust.root_file_sha256 == hashlib.sha256(place.root.read_bytes()).hexdigest()
    assert set(trust.certificate_names) == place.names
    for name in ("localhost", "127.0.0.1", "::1", "gateway", "factory"):
        assert handshake.complaint(place.root, place.certificate, place.key, name) is None
    assert handshake.complaint(place.root, place.certificate, place.key, "elsewhere") is not None


def test_keys_are_for_their_owners_alone_and_the_root_is_for_everybody(place: Folders) -> None:
    ca.init(place)
    modes = {
        path: path.stat().st_mode & 0o777 for path in (place.root, place.key, place.own_key, place.authority)
    }
    assert list(modes.values()) == [0o644, 0o600, 0o600, 0o700]
    assert place.own_key.parent != place.certificates


def test_a_second_init_changes_nothing(place: Folders) -> None:
    first = ca.init(place)
    before = contents(place)
    assert ca.init(place) == first
    assert contents(place) == before


def test_a_certificate_near_its_end_is_renewed_with_the_same_key(place: Folders) -> None:
    first = ca.init(place, NOW - dt.timedelta(days=800))
    key, root = place.key.read_bytes(), place.root.read_bytes()
    second = ca.init(place)
    assert second.certificate_not_after > first.certificate_not_after
    assert (place.key.read_bytes(), place.root.read_bytes()) == (key, root)


def test_a_new_host_name_gives_a_new_certificate(place: Folders) -> None:
    ca.init(place)
    renamed = Folders(place.certificates, place.authority, place.uid, place.gid, place.names | {"moved"})
    assert "moved" in ca.init(renamed).certificate_names


@pytest.mark.parametrize("lost", ["certificate", "key", "own_root"])
def test_a_lost_file_is_made_again_under_the_same_root(place: Folders, lost: str) -> None:
    root = ca.init(place).fingerprint
    path: Path = getattr(place, lost)
    path.unlink()
    assert ca.init(place).fingerprint == root
    assert path.exists()


def test_a_lost_root_is_put_back_from_the_authoritys_folder(place: Folders) -> None:
    root = ca.init(place).fingerprint
    place.root.unlink()
    assert ca.init(place).fingerprint == root


def test_a_certificate_not_of_our_making_is_kept_aside(place: Folders, tmp_path: Path) -> None:
    ca.init(place)
    other = folders(tmp_path / "other")
    ca.init(other)
    shutil.copy(other.certificate, place.certificate)
    ca.init(place)
    assert place.certificate.with_suffix(".crt.old").read_bytes() == other.certificate.read_bytes()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_key_belongs_to_the_gateways_user(place: Folders) -> None:
    given = Folders(place.certificates, place.authority, 10001, 10002, place.names)
    ca.init(place)
    ca.init(given)
    seen = place.key.stat()
    assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o777) == (10001, 10002, 0o600)
    assert place.own_key.stat().st_uid == 0


# --- a company's root without its key -------------------------------------------------------


def test_a_companys_root_is_kept_and_asked(place: Folders) -> None:
    company = Company()
    give_root(place, issue.pem(company.root))
    trust = ca.init(place)
    assert place.root.read_bytes() == issue.pem(company.root)
    assert trust.company
    assert trust.request_file == place.request
    assert trust.client_trust_file == place.own_root
    assert handshake.complaint(place.own_root, place.certificate, place.key) is None
    assert ca.init(place) == trust


def test_the_companys_answer_is_accepted_with_its_chain(place: Folders) -> None:
    company = Company()
    give_root(place, issue.pem(company.root))
    ca.init(place)
    key = place.key.read_bytes()
    answer = company.sign(place.request.read_bytes())
    place.certificate.write_bytes(answer)
    trust = ca.init(place)
    assert trust.client_trust_file == place.root
    assert trust.request_file is None
    assert place.certificate.read_bytes() == answer
    assert place.key.read_bytes() == key


def test_an_answer_without_the_authority_between_is_refused(place: Folders) -> None:
    company = Company()
    give_root(place, issue.pem(company.root))
    ca.init(place)
    answer = company.sign(place.request.read_bytes())
    alone = answer[: answer.index(b"-----END CERTIFICATE-----") + 26]
    place.certificate.write_bytes(alone)
    with pytest.raises(BadInput, match="is not accepted by a client that trusts") as caught:
        ca.init(place)
    assert "authorities between" in caught.value.hint
    assert place.certificate.read_bytes() == alone


def test_an_answer_for_another_key_is_refused_and_kept(place: Folders) -> None:
    company = Company()
    give_root(place, issue.pem(company.root))
    ca.init(place)
    answer = company.sign(issue.pem(issue.request(issue.new_key(), place.names)))
    place.certificate.write_bytes(answer)
    with pytest.raises(BadInput, match=r"gateway.crt does not belong to .*gateway.key"):
        ca.init(place)
    assert place.certificate.read_bytes() == answer


def test_an_expired_answer_is_refused_and_kept(place: Folders) -> None:
    company = Company(NOW - dt.timedelta(days=500))
    give_root(place, issue.pem(company.root))
    ca.init(place)
    answer = company.sign(place.request.read_bytes(), NOW - dt.timedelta(days=400))
    place.certificate.write_bytes(answer)
    with pytest.raises(BadInput, match=r"gateway.crt expired on"):
        ca.init(place)
    assert place.certificate.read_bytes() == answer


def test_a_company_that_replaces_our_root_is_respected(place: Folders) -> None:
    ca.init(place)
    company = Company()
    give_root(place, issue.pem(company.root))
    trust = ca.init(place)
    assert trust.company
    assert trust.client_trust_file == place.own_root


# --- what is wrong is refused, with nothing written -----------------------------------------


def expired() -> bytes:
    key = issue.new_key()
    return issue.pem(authority(key, "old", key, "old", NOW - dt.timedelta(days=100), days=50))


def future() -> bytes:
    key = issue.new_key()
    return issue.pem(authority(key, "new", key, "new", NOW + dt.timedelta(days=100), days=50))


def no_authority() -> bytes:
    key = issue.new_key()
    return issue.pem(authority(key, "leaf", key, "leaf", NOW, days=50, ca=False))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\0\0", "is not a PEM certificate"),
        (expired(), "expired on"),
        (future(), "is not valid before"),
        (no_authority(), "is not a certificate authority"),
        (expired() + future(), "holds 2 certificates"),
    ],
)
def test_a_wrong_root_stops_before_anything_is_written(place: Folders, content: bytes, said: str) -> None:
    give_root(place, content)
    for command in (ca.init, ca.check):
        with pytest.raises(BadInput, match=said):
            command(place)
    assert contents(place) == {str(place.root): content}
    assert not place.authority.exists()


def test_a_root_that_cannot_be_read_is_named(place: Folders) -> None:
    place.root.mkdir(parents=True)
    with pytest.raises(BadInput, match=r"rootCA.crt cannot be read: Is a directory"):
        ca.init(place)


def test_an_authority_whose_files_do_not_fit_is_refused(place: Folders) -> None:
    ca.init(place)
    place.own_key.write_bytes(issue.key_bytes(issue.new_key()))
    before = contents(place)
    with pytest.raises(BadInput, match=r"rootCA.key is not the key of"):
        ca.init(place)
    assert contents(place) == before


def test_check_before_init_names_the_command(place: Folders) -> None:
    with pytest.raises(BadInput, match=r"rootCA.crt is missing") as caught:
        ca.check(place)
    assert caught.value.hint == "run: ./esb ca init"


def test_check_sees_a_key_that_does_not_fit_and_init_mends_it(place: Folders) -> None:
    ca.init(place)
    place.key.write_bytes(issue.key_bytes(issue.new_key()))
    with pytest.raises(BadInput, match="does not belong to"):
        ca.check(place)
    assert ca.init(place).client_trust_file == place.root


# --- files ----------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    (tmp_path / ".key.new").write_text("left over from a broken-off run")
    files.write(path, b"one", 0o600)
    files.write(path, b"two", 0o640)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("host", "kept"),
    [("Factory-7", {"factory-7"}), ("under_score", set()), ("", set()), ("a.b.example", {"a.b.example"})],
)
def test_only_a_host_name_that_dns_allows_is_certified(host: str, kept: set[str]) -> None:
    assert files.server_names(host) - {"localhost", "127.0.0.1", "::1", "gateway"} == kept


def test_folders_follow_the_settings(tmp_path: Path) -> None:
    found = Folders.from_environ({"ESB_HOME": str(tmp_path), "ESB_UID": "77", "ESB_GID": "78"})
    assert (found.certificates, found.authority) == (tmp_path / "certs", tmp_path / "ca")
    assert (found.uid, found.gid) == (77, 78)
    assert Folders.from_environ({"ESB_CERT_DIR": str(tmp_path / "c")}).certificates == tmp_path / "c"
